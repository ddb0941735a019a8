"""EEGAN's generator: the picture before its edges are mended, what is taken out as edges, and units."""

from __future__ import annotations

import pytest
import torch
from made_networks import network
from torch import nn

from hpc_sr.models.eegan import EEGAN, laplacian
from hpc_sr.models.filters import bicubic
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name


def eegan(**options: object) -> EEGAN:
    told = parse_model({"family": "eegan", "width": 4, "blocks": 1, "edge_blocks": 1, **options}, "a test")
    made = network(told, task_by_name("sisr_x4"), 64)
    assert isinstance(made, EEGAN)
    return made


def zeroed(*layers: nn.Conv2d) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_detail_the_base_is_the_bicubic_enlargement(dtype: torch.dtype) -> None:
    generator, coarse = eegan().to(dtype), torch.rand(2, 3, 6, 9, dtype=dtype)
    zeroed(generator.head)
    targets, extras = generator(coarse)
    assert torch.equal(extras["base"], bicubic(coarse, 4)) and targets[0].shape == (2, 3, 24, 36)
    zeroed(generator.edge_head)
    (target,), extras = generator(coarse)
    torch.testing.assert_close(target, extras["base"] - laplacian(extras["base"]))


def test_edges_are_eight_times_a_pixel_less_its_neighbours() -> None:
    picture = torch.rand(2, 3, 7, 9, dtype=torch.double)
    kernel = torch.full((3, 1, 3, 3), -1.0, dtype=torch.double)
    kernel[:, :, 1, 1] = 8
    found = laplacian(picture)
    mirrored = nn.functional.pad(picture, (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(found, nn.functional.conv2d(mirrored, kernel, groups=3))
    torch.testing.assert_close(laplacian(torch.full_like(picture, 0.3)), torch.zeros_like(picture))
    assert torch.equal(found[:1], laplacian(picture[:1])), "of each picture by itself"


def test_features_see_black_and_white_as_minus_one_and_one() -> None:
    generator, seen = eegan(), []
    for part in (generator.first, generator.edges):
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    coarse = torch.rand(1, 3, 4, 4)
    base = generator(coarse).extras["base"]
    torch.testing.assert_close(seen[0], 2 * coarse - 1)
    torch.testing.assert_close(seen[1], laplacian(2 * base - 1), rtol=0, atol=1e-5)


def test_a_mask_of_nothing_and_of_all_counts_edges_once_and_twice() -> None:
    generator, coarse = eegan().double(), torch.rand(1, 3, 4, 4, dtype=torch.double)
    given = []
    generator.narrowed.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    generator.mask = nn.Conv2d(4, 16, 1).double()
    for bias in (-1e4, 1e4):
        zeroed(generator.mask)
        nn.init.constant_(generator.mask.bias, bias)
        generator(coarse)
    torch.testing.assert_close(given[1], 2 * given[0])


def test_what_looks_at_the_base_teaches_what_makes_it_and_no_more() -> None:
    generator = eegan().train()
    generator(torch.rand(1, 3, 4, 4)).extras["base"].square().mean().backward()
    taught = {name.split(".")[0] for name, p in generator.named_parameters() if p.grad is not None}
    assert taught == {"first", "blocks", "stages", "head"}
