"""NIQE and LPIPS together: additive, silent where nothing was given, and the same as each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpc_sr.evaluate.metrics.lpips import Lpips, measure_lpips
from hpc_sr.evaluate.metrics.niqe import FEATURES, NiqeModel, measure_niqe, niqe
from hpc_sr.evaluate.metrics.perceptual import PERCEPTUAL_CONTEXT_PX, Perceptual
from hpc_sr.models.vgg import VGG

BANDS = ("R", "G", "B", "N")


class Brightness(Lpips):
    """Stands in for the network: the distance of two pictures is that of their means, colours weighing 1, 2, 4."""

    def __init__(self) -> None:
        super().__init__(VGG((torch.zeros(0), torch.zeros(0)), {}), (torch.zeros(1),))

    def distances(self, x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> torch.Tensor:
        return ((x_BCHW - y_BCHW).mean((2, 3)) @ torch.tensor([1.0, 2.0, 4.0])).abs()


@pytest.fixture(scope="module")
def pair(shared_data) -> tuple[torch.Tensor, torch.Tensor]:
    scene = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")["d10"][:300, :400, [2, 1, 0, 3]]
    image = torch.from_numpy(scene.astype(np.float32).transpose(2, 0, 1).copy())
    return image, 0.9 * image + 0.1 * image.roll(1, 2)


@pytest.fixture(scope="module")
def asked() -> Perceptual:
    return Perceptual(NiqeModel(np.zeros(FEATURES), np.eye(FEATURES), 4000.0), Brightness())


def test_windows_and_ranks_add_up_to_each_metric_alone(pair, asked):
    x, y = pair
    total = asked.zero()
    for top, bottom in ((0, 192), (192, 300)):
        above = max(top - PERCEPTUAL_CONTEXT_PX, 0)
        window = (..., slice(above, bottom + PERCEPTUAL_CONTEXT_PX), slice(None))
        total += asked.measure(x[window], y[window], BANDS, core=(slice(top - above, bottom - above), slice(None)))
    alone = sum((measure_niqe(band, 4000.0) for band in y[1:]), measure_niqe(y[0], 4000.0))
    parts = [(slice(0, 3), slice(0, 192)), (slice(0, 3), slice(192, 300))]
    expected = np.mean([measure_lpips(asked.lpips, x[p][None], y[p][None])[0] for p in parts])
    assert asked.finish(total) == pytest.approx({"niqe": niqe(alone, asked.niqe), "lpips": expected}, rel=1e-6)
    assert expected > 0


def test_what_was_not_given_has_no_score(pair, asked):
    x, y = pair
    for given, names in ((Perceptual(), set()), (Perceptual(niqe=asked.niqe), {"niqe"})):
        assert given.finish(given.measure(x, y, BANDS)).keys() == names


def test_colours_are_found_by_name(pair, asked):
    x, y = pair
    y = y + torch.tensor([10.0, 20.0, 40.0, 5000.0])[:, None, None]
    found = asked.measure(x, y, BANDS)[-2:]
    np.testing.assert_array_equal(asked.measure(x.flip(0), y.flip(0), BANDS[::-1])[-2:], found)


def test_bands_without_colours_and_images_too_small_have_none(pair, asked):
    x, y = (image[:, :90, :90] for image in pair)
    assert asked.finish(asked.measure(x, y, ("B05", "B06", "B07", "B8A"))) == {"niqe": None, "lpips": None}
    assert asked.finish(asked.measure(x[:, :15], y[:, :15], BANDS)) == {"niqe": None, "lpips": None}


def test_a_batch_is_the_sum_of_its_images_and_masks_are_heard(pair, asked):
    x, y = (torch.stack([image[:, :200, :200], image[:, 100:300, 150:350]]) for image in pair)
    mask = torch.ones(2, 200, 200, dtype=torch.bool)
    mask[1, 5, 5] = False
    both = asked.measure(x, y, BANDS, mask)
    apart = [asked.measure(a, b, BANDS, valid) for a, b, valid in zip(x, y, mask, strict=True)]
    np.testing.assert_allclose(both, sum(apart), rtol=1e-6)
    assert both[-1] == 1
    assert both[0] == 4 * (4 + 3)
    nowhere = asked.measure(x, y, BANDS, torch.zeros(200, 200))
    assert asked.finish(nowhere) == {"niqe": None, "lpips": None}
