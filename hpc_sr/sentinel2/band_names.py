"""What files of other software call the bands: B2, B02_10m, "SR B5 (705 nm)", blue, nir08, "Red Edge 1"."""

from __future__ import annotations

import re

from hpc_sr.sentinel2.bands import BANDS

#: What catalogues call each band (STAC, extension electro-optical 2.0).
COMMON_NAMES = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B11": "swir16",
    "B12": "swir22",
}
#: Further words, without spaces, dashes and capitals, as data cubes have them.
_WORDS = {word: name for name, word in COMMON_NAMES.items()} | {
    "coastalaerosol": "B01",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "narrownir": "B8A",
    "nirnarrow": "B8A",
    "watervapour": "B09",
    "watervapor": "B09",
    "cirrus": "B10",
    "swir1": "B11",
    "swir2": "B12",
}
_NUMBER = re.compile(r"(?<![A-Z0-9])B(\d{1,2}A?)(?![A-Z0-9])", re.IGNORECASE)
_RESOLUTION = re.compile(r"[ _-]*\d{2}m$", re.IGNORECASE)


def band_named(text: str | None) -> str | None:
    """Return the band that a description, or a file's name without its suffix, names; None if it names none or two."""
    found = {f"B{number.upper().zfill(2)}" for number in _NUMBER.findall(text or "")}
    if found:
        return next(iter(found)) if len(found) == 1 and found <= BANDS.keys() else None
    return _WORDS.get(re.sub(r"[^a-z0-9]", "", _RESOLUTION.sub("", text or "").lower()))
