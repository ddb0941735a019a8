"""The scene classification on other grids."""

from __future__ import annotations

import numpy as np
from scipy.stats import mode

from hpc_sr.evaluate.protocols.land_cover import CLASSES, class_masks, classes_on


def test_finer_grids_repeat_and_coarser_ones_take_the_most_frequent() -> None:
    scl = np.random.default_rng(0).integers(0, 12, (30, 36)).astype(np.uint8)
    fine = classes_on(scl, 10, (59, 72))
    assert fine.shape == (59, 72) and (fine[::2, ::2] == scl).all() and (fine[1::2, 1::2] == scl[:29]).all()
    assert (classes_on(scl, 20, (30, 33)) == scl[:, :33]).all()
    coarse = classes_on(scl, 60, (9, 12))
    blocks = scl[:27].reshape(9, 3, 12, 3).transpose(0, 2, 1, 3).reshape(9, 12, 9)
    assert (coarse == mode(blocks, axis=-1).mode).all()


def test_every_pixel_that_is_a_measurement_is_of_one_class() -> None:
    codes = np.random.default_rng(1).integers(0, 12, (40, 50)).astype(np.uint8)
    masks = class_masks(codes)
    assert set(masks) == set(CLASSES.values())
    assert (np.sum(list(masks.values()), axis=0) == (codes > 1)).all()
    assert (masks["cloud"] == ((codes == 8) | (codes == 9))).all()
    assert (
        list(class_masks(np.full((3, 3), 6, np.uint8))) == ["water"] and class_masks(np.zeros((3, 3), np.uint8)) == {}
    )
