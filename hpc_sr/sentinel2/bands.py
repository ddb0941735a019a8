"""The bands of the MultiSpectral Instrument: grid, metadata index and MTF.

`band_id` is the index that product metadata use (B8A counts between B08 and B09). MTF values are at the Nyquist
frequency of the band's own grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpc_sr.errors import UnknownBandError, UnknownSatelliteError

SATELLITES = ("S2A", "S2B", "S2C")


@dataclass(frozen=True)
class Band:
    """One spectral band: its index in product metadata, native GSD in metres, centre and full width in nanometres.

    The width is that at half of the maximum.
    """

    name: str
    band_id: int
    gsd_m: int
    wavelength_nm: int
    width_nm: int


#: In the order of band_id. Wavelengths and widths: nominal values of the Sentinel-2 User Handbook (ESA, 2015).
BANDS = {
    name: Band(name, band_id, gsd_m, wavelength_nm, width_nm)
    for band_id, (name, gsd_m, wavelength_nm, width_nm) in enumerate(
        [
            ("B01", 60, 443, 20),
            ("B02", 10, 490, 65),
            ("B03", 10, 560, 35),
            ("B04", 10, 665, 30),
            ("B05", 20, 705, 15),
            ("B06", 20, 740, 15),
            ("B07", 20, 783, 20),
            ("B08", 10, 842, 115),
            ("B8A", 20, 865, 20),
            ("B09", 60, 945, 20),
            ("B10", 60, 1375, 30),
            ("B11", 20, 1610, 90),
            ("B12", 20, 2190, 180),
        ]
    )
}

#: The name of the band that metadata call by its index.
BAND_BY_ID = {str(band.band_id): name for name, band in BANDS.items()}

#: Where the MTF values are from; stamped into every store that uses them.
MTF_SOURCE = "Lanaras et al. 2017 (SupReME), after ESA's Data Quality Report"
# B10 is not tabulated. The reports' tables per
# spacecraft could not be obtained, so the three satellites share one column until they are: a value that differs
# belongs here and nowhere else.
_MTF_ESA_DQR = {
    "B01": 0.32,
    "B02": 0.26,
    "B03": 0.28,
    "B04": 0.24,
    "B05": 0.38,
    "B06": 0.34,
    "B07": 0.34,
    "B08": 0.26,
    "B8A": 0.33,
    "B09": 0.26,
    "B11": 0.22,
    "B12": 0.23,
}
MTF_NYQUIST = {satellite: dict(_MTF_ESA_DQR) for satellite in SATELLITES}


def band(name: str) -> Band:
    """Return the band called `name` ("B02", "B8A"). Raises UnknownBandError for any other spelling."""
    if name not in BANDS:
        raise UnknownBandError(f"unknown band {name!r}", cure=f"choose from {', '.join(BANDS)}")
    return BANDS[name]


def mtf_nyquist(name: str, satellite: str) -> float:
    """Return the band's MTF at its own Nyquist frequency, 0..1.

    Raises UnknownSatelliteError or UnknownBandError: there is no default value for an instrument nobody described.
    """
    if satellite not in MTF_NYQUIST:
        raise UnknownSatelliteError(
            f"no MTF is known for satellite {satellite!r}", cure=f"known: {', '.join(MTF_NYQUIST)}"
        )
    table = MTF_NYQUIST[satellite]
    if band(name).name not in table:
        raise UnknownBandError(f"no MTF is tabulated for band {name}", cure=f"tabulated: {', '.join(table)}")
    return table[name]
