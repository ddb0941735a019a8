"""Landscapes follow their seed, join without seams, and have optics and correlations worth learning from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import data_prep.landscape as ground
from data_prep.landscape import landscape
from data_prep.safe_writer import SCENE_BANDS
from hpc_sr.errors import ShapeError
from hpc_sr.sentinel2.bands import MTF_NYQUIST
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import BANDS_10M, BANDS_20M


def test_the_same_seed_is_the_same_landscape_and_another_is_another() -> None:
    first, again, other = landscape(240, seed=3), landscape(240, seed=3), landscape(240, seed=4)
    for name in SCENE_BANDS:
        assert first.dn[name].tobytes() == again.dn[name].tobytes()
        assert abs(np.corrcoef(first.dn[name].ravel(), other.dn[name].ravel())[0, 1]) < 0.3
    # Only the optics depend on the satellite; sizes follow the grids.
    assert [first.dn[name].shape for name in ("B02", "B05", "B01")] == [(240, 240), (120, 120), (40, 40)]


def test_strips_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "_NOISE_DN", {10: 0.0, 20: 0.0, 60: 0.0})
    whole = landscape(120, seed=6)
    monkeypatch.setattr(ground, "_STRIP_PX", 36)
    for name, dn in landscape(120, seed=6).dn.items():
        assert np.abs(dn.astype(int) - whole.dn[name]).max() <= 1


def test_landscapes_are_plausible_and_bands_correlate_but_do_not_repeat() -> None:
    dn = {name: band.astype(float) for name, band in landscape(360, seed=0).dn.items()}
    for name, band in dn.items():
        assert band.min() >= 1 and band.max() < 7000 and 500 < band.mean() < 4500 and band.std() > 100, name

    def fine(image: np.ndarray) -> np.ndarray:
        return (image - gaussian_filter(image, 1.2)).ravel()

    coarse = {name: dn[name].reshape(180, 2, 180, 2).mean((1, 3)) for name in BANDS_10M}
    guides = np.stack([fine(coarse[name]) for name in BANDS_10M], 1)
    for name in BANDS_20M:
        detail = fine(dn[name])
        left = detail - guides @ np.linalg.lstsq(guides, detail, rcond=None)[0]
        # Of the variance of real scenes' detail 0.3 to 0.95 is explained so.
        assert 0.4 < 1 - left.var() / detail.var() < 0.99, name


def test_coarse_bands_are_what_the_degradation_makes_of_fine_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one spectrum, one MTF and no noise for all bands, coarse bands are degraded fine ones."""
    monkeypatch.setattr(ground, "_NOISE_DN", {10: 0.0, 20: 0.0, 60: 0.0})
    monkeypatch.setattr(ground, "_VAPOUR", {})
    monkeypatch.setattr(ground, "_HAZE", (0.05,) * 12)
    for table in ("_SPECTRA", "_SENSITIVITY"):
        monkeypatch.setattr(ground, table, {key: row[7:8] * 12 for key, row in getattr(ground, table).items()})
    for name in SCENE_BANDS:
        monkeypatch.setitem(MTF_NYQUIST["S2A"], name, 0.26)
    dn = landscape(240, seed=8).dn
    np.testing.assert_array_equal(dn["B08"], dn["B02"])
    for name, scale in (("B11", 2), ("B09", 6)):
        seen = degrade(dn["B02"][None].astype(float), kernel("mtf", scale, ("B02",), "S2A"))[0]
        inside = (slice(24 // scale, -24 // scale),) * 2
        np.testing.assert_allclose(dn[name][inside], seen[inside], rtol=0, atol=1.1)


def test_the_optics_of_a_10_m_band_have_its_mtf() -> None:
    stripes = np.broadcast_to(np.where(np.arange(40) % 2, -1.0, 1.0).astype(np.float32), (40, 40))
    for image in (stripes, stripes.T):
        seen = ground._optics(image, 0.26)[10:-10, 10:-10]
        # Pixels drawn as means of 10 m have 2/pi already.
        np.testing.assert_allclose(np.abs(seen) * 2 / np.pi, 0.26, atol=1e-6)


@pytest.mark.parametrize("size", [0, -6, 100])
def test_landscapes_have_whole_60_m_pixels(size: int) -> None:
    with pytest.raises(ShapeError, match=str(size)):
        landscape(size)
