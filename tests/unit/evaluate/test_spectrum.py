"""Spectra: of the scale and shape that scipy gives, additive, and able to tell detail from noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import fft
from scipy.ndimage import mean
from scipy.signal.windows import hann

from hpc_sr.classical.interpolation import bicubic
from hpc_sr.errors import NotFiniteError, ShapeError
from hpc_sr.evaluate.metrics.spectrum import RINGS, SPECTRUM_BLOCK_PX, SpectrumSums, measure_spectrum, spectra


def curves(x: torch.Tensor, y: torch.Tensor, **where) -> dict[str, np.ndarray]:
    return {name: np.array(curve) for name, curve in spectra(measure_spectrum(x, y, **where), ("B08",))["B08"].items()}


@pytest.fixture(scope="module")
def band(shared_data) -> torch.Tensor:
    """A real band, (1, 576, 576), DN."""
    scene = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")["d10"][:576, :576, 3]
    return torch.from_numpy(scene.astype(np.float64))[None]


def test_white_noise_has_its_variance_at_every_frequency_and_no_coherence_with_other_noise():
    noise = 30 * torch.randn(2, 1, 640, 640, generator=torch.Generator().manual_seed(1)).double()
    found = curves(noise[0], noise[1])
    np.testing.assert_allclose(found["power_reference"][1:], 900, rtol=0.1)
    assert found["power_reference"][1:].mean() == pytest.approx(900, rel=0.02)
    assert np.abs(found["coherence"][3:]).max() < 0.1


def test_real_pixels_have_the_spectra_that_scipy_gives(band):
    x, y = band[0, :128, :192].numpy(), band[0, 3:131, 5:197].numpy()
    window = np.outer(hann(64, sym=False), hann(64, sym=False))
    rings = np.rint(np.hypot(*np.meshgrid(fft.fftfreq(64, 1 / 64), fft.fftfreq(64, 1 / 64))))
    expected = np.zeros((3, RINGS))
    for row in range(0, 128, 64):
        for column in range(0, 192, 64):
            blocks = (image[row : row + 64, column : column + 64] for image in (x, y))
            a, b = (fft.fft2((one - np.average(one, weights=window)) * window) for one in blocks)
            for number, power in enumerate((abs(a) ** 2, abs(b) ** 2, (a * b.conj()).real)):
                expected[number] += mean(power, rings, range(1, RINGS + 1)) / (window**2).sum()
    found = measure_spectrum(*(torch.from_numpy(image)[None] for image in (x, y)))
    assert found.blocks == 6
    np.testing.assert_allclose(found.powers[:, 0], expected, rtol=1e-8, atol=1e-6)


def test_a_wave_lies_in_its_own_ring():
    columns = torch.arange(128).double()
    wave = (100 * torch.sin(2 * math.pi * columns * 16 / 64)).expand(1, 128, 128)
    found = curves(wave, -wave)
    assert found["frequency"][np.argmax(found["power_reference"])] == 16 / 64
    assert found["coherence"][15] == pytest.approx(-1.0)
    assert found["power_reference"][[5, 25]].max() < 1e-9 * found["power_reference"].max()


def test_a_gain_is_its_square_in_power_and_coherent(band):
    found = curves(band, 0.5 * band + 70)
    np.testing.assert_allclose(found["transfer"], 0.25, rtol=1e-9)
    np.testing.assert_allclose(found["coherence"], 1.0, rtol=1e-9)


def test_bicubic_enlargement_lacks_high_frequencies_and_noise_only_looks_like_them(band):
    small = torch.nn.functional.avg_pool2d(band[None], 2)
    enlarged = bicubic(small, 2)[0]
    plain = curves(band, enlarged)
    assert plain["transfer"][:4].min() > 0.8
    assert plain["transfer"][-4:].max() < 0.1
    noisy = curves(band, enlarged + 60 * torch.randn(band.shape, generator=torch.Generator().manual_seed(3)))
    assert noisy["transfer"][-1] > 5 * plain["transfer"][-1]
    assert noisy["coherence"][-1] < 0.2


def test_tiles_and_ranks_add_up_and_masks_leave_blocks_out(band):
    other = band.roll(1, 2)
    mask = torch.ones(576, 576, dtype=torch.bool)
    mask[100, 200] = False
    spoilt = other.clone()
    spoilt[0, 100, 200] = math.nan
    whole = measure_spectrum(band, spoilt, mask)
    assert whole.blocks == 80
    parts = SpectrumSums(0, np.zeros((3, 1, RINGS)))
    for core in ((slice(0, 192), slice(None)), (slice(192, 576), slice(0, 320)), (slice(192, 576), slice(320, 576))):
        parts += measure_spectrum(band, spoilt, mask, core)
    assert parts.blocks == whole.blocks
    np.testing.assert_allclose(parts.powers, whole.powers, rtol=1e-9)
    with pytest.raises(NotFiniteError):
        measure_spectrum(band, spoilt)


def test_no_block_has_no_spectrum_and_a_constant_has_zeros():
    tiny = torch.zeros(1, SPECTRUM_BLOCK_PX - 1, 200)
    assert spectra(measure_spectrum(tiny, tiny), ("B08",)) is None
    flat = torch.full((1, 64, 64), 500.0)
    found = curves(flat, flat)
    assert np.isfinite(np.concatenate(list(found.values()))).all()
    assert found["power_estimate"].max() < 1e-9


def test_shapes_that_do_not_fit_are_errors(band):
    with pytest.raises(ShapeError):
        measure_spectrum(band, band[..., :-1])
    with pytest.raises(ShapeError, match="mask"):
        measure_spectrum(band, band, torch.ones(3, 3))
    with pytest.raises(ShapeError, match="names"):
        spectra(measure_spectrum(band, band), ("a", "b"))
