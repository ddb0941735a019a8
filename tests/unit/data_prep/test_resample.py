"""Making low resolution: equal to the published files, to torch and scipy, and a partition of unity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from data_prep.resample import LAWS, downsample, response_taps, support_px
from hpc_sr.errors import DegradationError, ShapeError

SCALES = (2, 3, 4)
#: Bicubic PSNR on Y in dB as published for Set5, border of `scale` px left out.
PUBLISHED_DB = {2: 33.64, 3: 30.39, 4: 28.42}


def pairs(shared_data: Path, scale: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the (HR, LR) images of Set5, CHW uint8."""

    def pixels(file: Path) -> np.ndarray:
        with rasterio.open(file) as dataset:
            return dataset.read()

    folder = shared_data / "rgb" / "Set5" / f"image_SRF_{scale}"
    found = [(pixels(f), pixels(f.with_name(f.name.replace("_HR", "_LR")))) for f in sorted(folder.glob("*_HR.png"))]
    assert len(found) == 5
    return found


def along_rows(image: np.ndarray, taps: np.ndarray, scale: int) -> np.ndarray:
    """Return an 8-bit image filtered and decimated along its first axis as the imresize that made Set5 did."""
    beyond = (len(taps) - scale) // 2
    padded = np.pad(image.astype(float), ((beyond, beyond), (0, 0)), mode="edge")
    coarse = [taps @ padded[k * scale : k * scale + len(taps)] for k in range(len(image) // scale)]
    return np.clip(np.floor(np.stack(coarse) + 0.5), 0, 255)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_taps_give_the_published_files_to_the_last_bit(shared_data: Path, scale: int) -> None:
    taps = response_taps("bicubic", scale)
    for hr, lr in pairs(shared_data, scale):
        made = np.stack([along_rows(along_rows(band, taps, scale).T, taps, scale).T for band in hr])
        assert np.array_equal(made, lr)


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_differs_from_the_published_files_by_rounding_between_the_axes(shared_data: Path, scale: int) -> None:
    for hr, lr in pairs(shared_data, scale):
        made = np.clip(np.rint(downsample(hr, scale, "bicubic")), 0, 255)
        off = np.abs(made - lr)[:, 2:-2, 2:-2]
        assert off.max() <= 2 and (off > 1).mean() < 1e-4 and off.mean() < 0.2


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_is_torchs_antialiased_bicubic_in_the_interior(scale: int) -> None:
    image = np.random.default_rng(scale).random((2, 12 * scale, 15 * scale)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image).double()[None], scale_factor=1 / scale, mode="bicubic", antialias=True
    )[0].numpy()
    ours = downsample(image, scale, "bicubic")
    np.testing.assert_allclose(ours[:, 2:-2, 2:-2], theirs[:, 2:-2, 2:-2], atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_published_low_resolution_gives_the_published_bicubic_score(shared_data: Path, scale: int) -> None:
    """The yardstick itself: what later tables compare with is measured on the same pairs."""

    def luma(image: np.ndarray) -> np.ndarray:
        return np.round(np.tensordot([65.481, 128.553, 24.966], image / 255, 1) + 16)

    scores = []
    for hr, lr in pairs(shared_data, scale):
        enlarged = torch.nn.functional.interpolate(
            torch.from_numpy(luma(lr))[None, None], scale_factor=scale, mode="bicubic", antialias=True
        )
        off = (luma(hr) - enlarged[0, 0].round().clamp(0, 255).numpy())[scale:-scale, scale:-scale]
        scores.append(10 * np.log10(255**2 / (off**2).mean()))
    assert np.mean(scores) == pytest.approx(PUBLISHED_DB[scale], abs=0.01)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", LAWS)
def test_taps_are_symmetric_and_add_up_to_one_about_the_box(name: str, scale: int) -> None:
    taps = response_taps(name, scale)
    assert taps.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(taps, taps[::-1], atol=1e-16)
    assert len(taps) == scale + 2 * support_px(name, scale)


@given(st.sampled_from(LAWS), st.sampled_from(SCALES), st.integers(1, 9), st.integers(1, 9), st.integers(0, 32767))
@settings(max_examples=40, deadline=None)
def test_a_constant_stays_constant_whatever_the_size(
    name: str, scale: int, rows: int, columns: int, value: int
) -> None:
    image = np.full((2, rows * scale, columns * scale), value, np.int16)
    coarse = downsample(image, scale, name)
    assert coarse.shape == (2, rows, columns) and coarse.dtype == np.float32
    np.testing.assert_allclose(coarse, value, rtol=1e-6)


@given(st.sampled_from(LAWS), st.sampled_from(SCALES), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_pixel_reaches_as_far_as_the_support_says_and_no_farther(name: str, scale: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = 16 * scale
    row, column = rng.integers(0, size, 2)
    image = np.zeros((1, size, size), np.float32)
    image[0, row, column] = 1
    hit = np.argwhere(downsample(image, scale, name)[0] != 0)
    reach = support_px(name, scale)
    for place, pixel in zip(hit.T, (row, column), strict=True):
        assert (place * scale - reach <= pixel).all() and (pixel <= place * scale + scale - 1 + reach).all()


@pytest.mark.parametrize("scale", SCALES)
def test_gauss1_bicubic_is_scipys_gaussian_then_bicubic_up_to_the_border(scale: int) -> None:
    image = np.random.default_rng(scale).random((3, 10 * scale, 12 * scale)).astype(np.float32)
    blurred = np.stack([gaussian_filter(band.astype(float), 1.0, mode="reflect", truncate=4.0) for band in image])
    expected = downsample(blurred, scale, "bicubic")
    np.testing.assert_allclose(downsample(image, scale, "gauss1_bicubic"), expected, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_box_is_the_mean_of_each_box(scale: int) -> None:
    image = np.random.default_rng(scale).integers(0, 256, (3, 10 * scale, 12 * scale)).astype(np.uint8)
    expected = image.reshape(3, 10, scale, 12, scale).mean((2, 4))
    np.testing.assert_allclose(downsample(image, scale, "box"), expected, rtol=1e-6)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ShapeError, match="no multiple of 3"):
        downsample(np.zeros((1, 9, 10)), 3, "box")
    with pytest.raises(DegradationError, match="lanczos"):
        downsample(np.zeros((1, 8, 8)), 2, "lanczos")
