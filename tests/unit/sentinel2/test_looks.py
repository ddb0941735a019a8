"""What ground looks like: brightness of bands, and what of them guides do not tell."""

from __future__ import annotations

import numpy as np
import pytest

from hpc_sr.sentinel2.looks import blocks_of, looks_of_patches


def ground(seed: int, bands: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(1000.0, 100.0, (3, bands, 32, 32))


@pytest.mark.parametrize("alien", [0.0, 0.1, 1.0, 5.0])
def test_what_guides_explain_of_a_band_is_known(alien: float) -> None:
    guides = ground(0, 4)
    told = np.tensordot([0.2, 0.5, 0.0, 0.3], guides, ([0], [1]))[:, None]
    spread = (told - 1000).std()
    coarse = told + alien * spread / 100 * (ground(1, 1) - 1000)
    levels, unexplained = looks_of_patches(guides, coarse)
    np.testing.assert_allclose(levels, np.log2(np.concatenate((guides, coarse), 1).mean((2, 3))), atol=1e-5)
    np.testing.assert_allclose(2**unexplained, alien**2 / (1 + alien**2), rtol=0.1, atol=1e-3)


def test_units_do_not_matter_but_to_levels_and_flat_bands_have_nothing_explained() -> None:
    guides, coarse = ground(0, 4), ground(1, 2)
    once, twice = looks_of_patches(guides, coarse), looks_of_patches(2 * guides, 2 * coarse)
    np.testing.assert_allclose(twice[0], once[0] + 1, atol=1e-6)
    np.testing.assert_allclose(twice[1], once[1], atol=1e-3)
    levels, unexplained = looks_of_patches(np.zeros((1, 4, 8, 8)), np.zeros((1, 1, 8, 8)))
    assert not levels.any() and not unexplained.any()


def test_blocks_are_those_of_the_image() -> None:
    image = np.arange(2 * 7 * 9).reshape(2, 7, 9)
    blocks = blocks_of(image, 3)
    assert blocks.shape == (6, 2, 3, 3)
    np.testing.assert_array_equal(blocks[4], image[:, 3:6, 3:6])
    np.testing.assert_array_equal(blocks_of(image, 8)[0], image[:, :, :8])
