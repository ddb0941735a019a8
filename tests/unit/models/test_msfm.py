"""MSFM-GAN's generator: its size, how far it looks, the sizes that it takes, and that it can be exported."""

from __future__ import annotations

import pytest
import torch
from made_networks import network
from torch import nn

from hpc_sr.errors import ShapeError
from hpc_sr.export.graphs import as_tuple, capture
from hpc_sr.models.build import count_parameters
from hpc_sr.models.filters import bicubic
from hpc_sr.models.msfm import MSFM
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name


def msfm(scale: int, **options: object) -> MSFM:
    made = network(parse_model({"family": "msfm", **options}, "a test"), task_by_name(f"sisr_x{scale}"), 16 * scale)
    assert isinstance(made, MSFM)
    return made


@pytest.mark.parametrize(("width", "count"), [(64, 11_945_027), (32, 2_995_747)])
def test_msfm_has_the_published_size(width: int, count: int) -> None:
    with torch.device("meta"):
        generator = msfm(4, width=width)
    assert count_parameters(generator) == count
    layers = [part for part in generator.modules() if isinstance(part, nn.Conv2d)]
    assert len(layers) - 2 == 23, "the decoder's sub-pixel convolutions are not counted"


@pytest.mark.parametrize(("scale", "outer_px"), [(2, 9), (3, 5), (4, 9), (4, 7)])
def test_msfm_looks_exactly_as_far_as_it_says(scale: int, outer_px: int) -> None:
    """With positive weights nothing cancels, and a bright column is every maximum that it can be."""
    generator = msfm(scale, width=2, outer_px=outer_px).double()
    for name, parameter in generator.named_parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel() if name.endswith("weight") else 0.0)
    assert generator.reach is not None and generator.reach.after_px == 0
    width = 4 * (-(-generator.reach.before_px // (2 * scale)) + 1)
    plain = torch.ones(1, 3, 4, width, dtype=torch.double)
    farthest = 0
    with torch.no_grad():
        (before,) = generator(plain).targets
        for column in range(width // 2 // 4 * 4, width // 2 // 4 * 4 + 4):
            changed = plain.clone()
            changed[..., column] += 1e9
            (after,) = generator(changed).targets
            places = (after != before).any(2).any(1)[0].nonzero()[:, 0]
            left, right = column * scale - int(places.min()), int(places.max()) - (column * scale + scale - 1)
            farthest = max(farthest, left, right)
    assert farthest == generator.reach.before_px


def test_a_window_on_a_multiple_is_what_the_whole_is() -> None:
    generator = msfm(2, width=2).double()
    halo, unit = generator.halo_px // 2, generator.multiple_px // 2
    size = 2 * halo + 3 * unit
    picture = torch.rand(1, 3, size, size, dtype=torch.double)
    with torch.no_grad():
        (whole,) = generator(picture).targets
        (part,) = generator(picture[..., unit:-unit, unit:-unit]).targets
    core, outer = (slice(2 * start, 2 * (start + unit)) for start in (halo, halo + unit))
    torch.testing.assert_close(part[..., core, core], whole[..., outer, outer], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_step_reaches_all_of_msfm(scale: int) -> None:
    generator = msfm(scale, width=8).train()
    (estimate,) = generator(torch.rand(2, 3, 12, 8)).targets
    assert estimate.shape == (2, 3, 12 * scale, 8 * scale)
    estimate.square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_sizes_that_cannot_be_pooled_are_refused() -> None:
    generator = msfm(3, width=2)
    assert generator.multiple_px == 12
    with pytest.raises(ShapeError, match="6 x 8 px is no multiple of 4"):
        generator(torch.rand(1, 3, 6, 8))


def test_msfm_is_a_graph_for_pictures_of_any_size() -> None:
    generator = msfm(4, width=4)
    module = capture(generator).module()
    for rows, columns in ((8, 12), (16, 16), (36, 8)):
        picture = 255 * torch.rand(1, 3, rows, columns)
        (found,), (expected,) = as_tuple(module(picture)), generator.estimate(picture)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_on_a_base_it_begins_as_its_base_and_goes_on_learning() -> None:
    """With ReLUs and a random last layer, nothing of it learns after 20 such steps."""
    torch.manual_seed(0)
    generator = msfm(4, width=4, base="bicubic").train()
    coarse, wanted = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 32, 32)
    (begun,) = generator(coarse).targets
    assert torch.equal(begun, bicubic(coarse, 4))
    assert count_parameters(generator) == count_parameters(msfm(4, width=4))
    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        (generator(coarse).targets[0] - wanted).abs().mean().backward()
        optimizer.step()
    assert [name for name, p in generator.named_parameters() if not p.grad.abs().max() > 0] == []
