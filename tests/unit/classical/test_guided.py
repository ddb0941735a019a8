"""Guided sharpening: its equations, its reach, and the ratios that were published for the real scenes."""

from __future__ import annotations

import pytest
import torch
from wald_scenes import SCENES, law_of, ratio_to_bicubic, rmse, smooth_noise, wald_pair, worst_of_windows

from hpc_sr.classical.guided import guided, reach_px
from hpc_sr.classical.interpolation import bicubic
from hpc_sr.errors import ShapeError
from hpc_sr.sentinel2.degrade import degrade, kernel
from hpc_sr.tasks import BANDS_10M, S2X, S6X, Task

TWO = ("B05", "B11")


def laws(scale: int, degradation: str = "wald", bands: tuple[str, ...] = TWO):
    return kernel(degradation, scale, bands, "S2A"), kernel(degradation, scale, BANDS_10M, "S2A")


@pytest.mark.parametrize(
    ("task", "published"), [(S2X, (0.352, 0.371, 0.404, 0.364)), (S6X, (0.312, 0.310, 0.319, 0.259))]
)
def test_ratios_of_the_real_scenes(shared_data, task: Task, published):
    """The published ratios to bicubic, 1 %: `wald`, 10 m bands as guides at both scales."""
    for scene, ratio in zip(SCENES, published, strict=True):
        pair = wald_pair(shared_data, scene, task)
        law, guide_law = (law_of(layer, task.scale) for layer in (task.target.coarse, task.inputs[0]))
        estimate = guided(pair[task.target.coarse.name], pair["x10"], law, guide_law)
        assert ratio_to_bicubic(estimate, pair, task) == pytest.approx(ratio, rel=0.01), scene


@pytest.mark.parametrize("scale", [2, 6])
def test_what_is_linear_in_the_guides_comes_back(scale):
    guides = smooth_noise(4, 120, 96, 1)
    mixing = torch.tensor([[0.5, -0.2, 0.9, 0.1], [0.1, 1.2, 0.0, -0.4]]).double()
    truth = torch.einsum("ck,khw->chw", mixing, guides) + torch.tensor([300.0, 900.0])[:, None, None]
    law, guide_law = laws(scale)
    coarse = torch.from_numpy(degrade(truth.numpy(), law))
    missed = rmse(bicubic(coarse[None], scale)[0], truth)
    # The ridge holds back about its own share of the detail in each of four correlated directions.
    assert rmse(guided(coarse, guides, law, guide_law, rounds=0), truth) < 0.05 * missed


def test_flat_guides_leave_bicubic():
    coarse = smooth_noise(2, 24, 30, 2)
    flat = torch.full((4, 48, 60), 700.0).double()
    result = guided(coarse, flat, *laws(2), rounds=0)
    torch.testing.assert_close(result, bicubic(coarse[None], 2)[0])


def test_linear_in_the_bands_and_blind_to_the_guides_level():
    coarse, guides = smooth_noise(2, 24, 24, 3), smooth_noise(4, 48, 48, 4)
    result = guided(coarse, guides, *laws(2))
    torch.testing.assert_close(guided(3 * coarse + 50, guides, *laws(2)), 3 * result + 50)
    torch.testing.assert_close(guided(coarse, guides + 1000, *laws(2)), result, rtol=1e-7, atol=1e-5)


@pytest.mark.parametrize("degradation", ["wald", "mtf"])
@pytest.mark.parametrize("scale", [2, 6])
@pytest.mark.parametrize("rounds", [0, 3])
def test_windows_with_their_reach_equal_the_whole(scale, degradation, rounds):
    law, guide_law = laws(scale, degradation)
    guides, coarse = smooth_noise(4, 60 * scale, 48 * scale, 7), smooth_noise(2, 60, 48, 8)
    reach = reach_px(law, guide_law, rounds)

    def sharpen(coarse: torch.Tensor, guides: torch.Tensor) -> torch.Tensor:
        return guided(coarse, guides, law, guide_law, rounds)

    assert worst_of_windows(sharpen, coarse, guides, scale, reach) < 1e-9
    if not rounds:  # after several rounds, what comes from the rim is lost in rounding
        assert worst_of_windows(sharpen, coarse, guides, scale, reach - scale) > 1e-9


def test_rounds_bring_the_result_closer_to_what_was_measured(shared_data):
    pair = wald_pair(shared_data, "l1c_usa", S2X)
    law, guide_law = law_of(S2X.target.coarse, 2), law_of(S2X.inputs[0], 2)
    left = []
    for rounds in range(4):
        estimate = guided(pair["x20"], pair["x10"], law, guide_law, rounds)
        left.append(rmse(torch.from_numpy(degrade(estimate.numpy(), law)), pair["x20"]))
    assert all(after < 0.6 * before for before, after in zip(left, left[1:], strict=False)), left


def test_the_type_is_kept_and_misfits_are_refused():
    coarse, guides = smooth_noise(2, 24, 24, 9), smooth_noise(4, 48, 48, 10)
    law, guide_law = laws(2)
    single = guided(coarse.float(), guides.float(), law, guide_law)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), guided(coarse, guides, law, guide_law), rtol=1e-5, atol=1e-2)
    with pytest.raises(ShapeError, match="do not nest"):
        guided(coarse[:, :-1], guides, law, guide_law)
    with pytest.raises(ShapeError, match="x2.*x6"):
        guided(coarse, guides, law, laws(6)[1])
    with pytest.raises(ShapeError, match="law for 3"):
        guided(coarse, guides, kernel("wald", 2, ("B05", "B06", "B07"), "S2A"), guide_law)
