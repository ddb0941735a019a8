"""The degradation is measured as an instrument would be: with impulses, a cosine, and independent filters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hpc_sr.errors import DegradationError, ShapeError, UnknownBandError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import MTF_NYQUIST, SATELLITES
from hpc_sr.sentinel2.degrade import Kernel, degrade, kernel, response_taps, support_px

_BANDS = tuple(MTF_NYQUIST["S2A"])
_CASES = [(satellite, name, scale) for satellite in SATELLITES for name in _BANDS for scale in (2, 6)]

# Sigma of the Gaussian in fine pixels if it were not sampled: (s/pi) sqrt(-2 ln(M**(1 - 1/s**2) / B)), where
# B = 1/(s sin(pi/2s)) is the response of the mean.
_CONTINUOUS_SIGMA_PX = {
    2: {
        "B05": 0.554,
        "B06": 0.612,
        "B07": 0.612,
        "B8A": 0.627,
        "B11": 0.800,
        "B12": 0.783,
        "B02": 0.733,
        "B03": 0.702,
        "B04": 0.766,
        "B08": 0.733,
    },
    6: {
        "B01": 2.207,
        "B09": 2.519,
        "B02": 2.519,
        "B03": 2.412,
        "B04": 2.629,
        "B08": 2.519,
        "B05": 1.911,
        "B06": 2.107,
        "B07": 2.107,
        "B8A": 2.157,
        "B11": 2.744,
        "B12": 2.686,
    },
}


def _block_mean(image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape
    return image.reshape(height // scale, scale, width // scale, scale).mean((1, 3))


def _measured_taps(law: Kernel) -> np.ndarray:
    """Return the weights of one coarse pixel, from an impulse in every fine column."""
    scale, count = law.scale, 11
    weights = np.empty(scale * count)
    for column in range(scale * count):
        image = np.zeros((1, scale, scale * count))
        image[..., column] = 1
        weights[column] = degrade(image, law)[0, 0, count // 2]
    return weights


def test_wald_6_is_the_plain_mean(rng: np.random.Generator) -> None:
    image = rng.random((2, 36, 60))
    law = kernel("wald", 6, ("B01", "B09"), "S2A")
    means = np.stack([_block_mean(channel, 6) for channel in image])
    # The side taps of a Gaussian of sigma 1/6 px are 1.5e-8.
    np.testing.assert_allclose(degrade(image, law), means, rtol=0, atol=1.5e-8)


def test_wald_2_is_the_published_filter(rng: np.random.Generator) -> None:
    image = rng.random((40, 52))
    published = _block_mean(gaussian_filter(image, sigma=1 / 2, truncate=4, mode="reflect"), 2)
    ours = degrade(image[None], kernel("wald", 2, ("B05",), "S2A"))[0]
    np.testing.assert_allclose(ours, published, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 6])
def test_mtf_is_a_gaussian_and_a_mean(rng: np.random.Generator, scale: int) -> None:
    image = rng.random((96, 120))
    law = kernel("mtf", scale, ("B11",), "S2B")
    expected = _block_mean(gaussian_filter(image, sigma=law.sigma_px[0], truncate=4, mode="reflect"), scale)
    np.testing.assert_allclose(degrade(image[None], law)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("satellite", "name", "scale"), _CASES)
def test_response_at_the_coarse_nyquist_is_the_law(satellite: str, name: str, scale: int) -> None:
    weights = _measured_taps(kernel("mtf", scale, (name,), satellite))
    response = abs(np.sum(weights * np.exp(-1j * math.pi / scale * np.arange(len(weights)))))
    assert response == pytest.approx(MTF_NYQUIST[satellite][name] ** (1 - 1 / scale**2), abs=1e-3)


@pytest.mark.parametrize("scale", [2, 6])
@pytest.mark.parametrize("name", _BANDS)
def test_a_cosine_loses_what_the_response_says(name: str, scale: int) -> None:
    law = kernel("mtf", scale, (name,), "S2A")
    weights = _measured_taps(law)
    for cycles_per_coarse_px in (0.5, 0.45, 0.2):
        place = np.arange(scale * 60) - (scale - 1) / 2
        image = np.broadcast_to(np.cos(2 * math.pi * cycles_per_coarse_px / scale * place), (1, 60 * scale, 60 * scale))
        seen = degrade(np.ascontiguousarray(image), law)[0, 30, 10:50]
        carrier = np.cos(2 * math.pi * cycles_per_coarse_px * np.arange(10, 50))
        gain = seen @ carrier / (carrier @ carrier)
        phases = np.exp(-2j * math.pi * cycles_per_coarse_px / scale * np.arange(len(weights)))
        assert gain == pytest.approx(abs(weights @ phases), abs=1e-6)
        if cycles_per_coarse_px == 0.5:
            assert gain == pytest.approx(MTF_NYQUIST["S2A"][name] ** (1 - 1 / scale**2), abs=1e-3)


@pytest.mark.parametrize("scale", [2, 6])
def test_sampled_sigma_is_near_the_continuous_one(scale: int) -> None:
    for name, continuous in _CONTINUOUS_SIGMA_PX[scale].items():
        (sigma_px,) = kernel("mtf", scale, (name,), "S2A").sigma_px
        assert sigma_px == pytest.approx(continuous, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    scale=st.sampled_from([2, 3, 6]),
    name=st.sampled_from(["wald", "mtf"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_mean_is_kept(height: int, width: int, scale: int, name: str, seed: int) -> None:
    image = np.random.default_rng(seed).random((1, (height + 3) * scale, (width + 3) * scale))
    assert degrade(image, kernel(name, scale, ("B05",), "S2A")).mean() == pytest.approx(image.mean(), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(0, 47),
    column=st.integers(0, 59),
    scale=st.sampled_from([2, 6]),
    name=st.sampled_from(["wald", "mtf"]),
)
def test_nan_spreads_over_the_support_and_no_further(row: int, column: int, scale: int, name: str) -> None:
    image = np.ones((1, 48, 60), np.float32)
    image[0, row, column] = np.nan
    law = kernel(name, scale, ("B12",), "S2A")
    reach = support_px(law)
    first = np.arange(48 // scale) * scale, np.arange(60 // scale) * scale
    rows, columns = (
        (start - reach <= at) & (at < start + scale + reach) for start, at in zip(first, (row, column), strict=True)
    )
    np.testing.assert_array_equal(np.isnan(degrade(image, law)[0]), rows[:, None] & columns[None])


def test_support_is_the_widest_band_s() -> None:
    widths = [len(response_taps(sigma, 6)) for sigma in kernel("mtf", 6, ("B05", "B11"), "S2A").sigma_px]
    assert widths[0] < widths[1]
    assert support_px(kernel("mtf", 6, ("B05", "B11"), "S2A")) == (widths[1] - 6) // 2
    assert support_px(kernel("wald", 6, ("B01",), "S2A")) == 0


def test_bands_are_degraded_each_by_its_own_kernel(rng: np.random.Generator) -> None:
    image = rng.random((2, 24, 24))
    both = degrade(image, kernel("mtf", 2, ("B05", "B11"), "S2A"))
    for index, name in enumerate(("B05", "B11")):
        np.testing.assert_array_equal(
            both[index], degrade(image[index : index + 1], kernel("mtf", 2, (name,), "S2A"))[0]
        )
    assert both[0].std() > degrade(image[:1], kernel("mtf", 2, ("B11",), "S2A")).std()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_float_type_stays(dtype: type) -> None:
    assert degrade(np.ones((1, 12, 12), dtype), kernel("mtf", 6, ("B01",), "S2A")).dtype == dtype


def test_what_does_not_fit_is_refused() -> None:
    law = kernel("wald", 6, ("B01",), "S2A")
    for shape in ((1, 13, 12), (1, 12, 13)):
        with pytest.raises(ShapeError, match="no multiple of 6"):
            degrade(np.ones(shape), law)
    with pytest.raises(ShapeError, match="2 bands"):
        degrade(np.ones((2, 12, 12)), law)
    with pytest.raises(DegradationError, match="gauss"):
        kernel("gauss", 2, ("B05",), "S2A")
    with pytest.raises(UnknownBandError):
        kernel("mtf", 6, ("B10",), "S2A")
    with pytest.raises(UnknownSatelliteError):
        kernel("mtf", 2, ("B05",), "S3A")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
