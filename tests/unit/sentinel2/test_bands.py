"""The table of bands against the metadata of a real product, and its refusals."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hpc_sr.errors import UnknownBandError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import BANDS, SATELLITES, band, mtf_nyquist
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M


def test_table_agrees_with_a_real_product(shared_data: Path) -> None:
    (path,) = (shared_data / "safe").glob("S2B_MSIL1C_2023*/MTD_MSIL1C.xml")
    entries = list(ET.parse(path).getroot().iter("Spectral_Information"))
    assert len(entries) == len(BANDS)
    for entry in entries:
        name = entry.get("physicalBand")
        mine = band(name if len(name) == 3 else f"B0{name[1:]}")
        assert mine.band_id == int(entry.get("bandId"))
        assert mine.gsd_m == int(entry.findtext("RESOLUTION"))
        assert mine.wavelength_nm == pytest.approx(float(entry.findtext("Wavelength/CENTRAL")), abs=10)


def test_tasks_and_bands_agree_on_grids() -> None:
    for names, gsd_m in ((BANDS_10M, 10), (BANDS_20M, 20), (BANDS_60M, 60)):
        assert {band(name).gsd_m for name in names} == {gsd_m}
    assert {*BANDS_10M, *BANDS_20M, *BANDS_60M} == set(BANDS) - {"B10"}


@pytest.mark.parametrize("name", ["B2", "b02", "B13", "8A", ""])
def test_other_spellings_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownBandError, match="B8A"):
        band(name)


@pytest.mark.parametrize("satellite", SATELLITES)
def test_every_ground_band_has_an_mtf(satellite: str) -> None:
    for name in BANDS:
        if name != "B10":
            assert 0 < mtf_nyquist(name, satellite) < 1


def test_no_mtf_is_made_up() -> None:
    with pytest.raises(UnknownBandError, match="B10"):
        mtf_nyquist("B10", "S2A")
    with pytest.raises(UnknownBandError, match="B99"):
        mtf_nyquist("B99", "S2A")
    with pytest.raises(UnknownSatelliteError, match="S2D"):
        mtf_nyquist("B02", "S2D")
