"""HSENet: what places find in each other, by loops, and how its modules put two grids together."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from made_networks import attending, network
from torch import nn

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.models.attention import NonLocal
from hpc_sr.models.hsenet import HSENet, _Likeness, _Module
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name


def hsenet(scale: int, patch_px: int) -> HSENet:
    generator = network(
        parse_model({"family": "hsenet", "width": 4, "modules": 2}, "a test"), task_by_name(f"sisr_x{scale}"), patch_px
    )
    assert isinstance(generator, HSENet)
    return generator.double()


def made(module: nn.Module) -> nn.Module:
    return attending(module).double().eval()


def slow_non_local(part: NonLocal, x: torch.Tensor, asking: torch.Tensor) -> torch.Tensor:
    """Return x + W softmax(q k) v, place by place of each window."""
    query, (key, value) = part.query(asking), (part.key(x), part.value(x))
    found = torch.zeros_like(value)
    batch, _, height, width = x.shape
    side = part.window_px if max(height, width) > part.window_px else max(height, width)
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                rows, columns = (slice(place // side * side, place // side * side + side) for place in (row, column))
                keys, values = key[b, :, rows, columns].flatten(1), value[b, :, rows, columns].flatten(1)
                alike = torch.exp(query[b, :, row, column] @ keys)
                found[b, :, row, column] = values @ (alike / alike.sum())
    return x + part.out(found)


def convolved(chain: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    for part in chain[::2]:
        x = F.conv2d(x, part.weight, part.bias, padding=1).clamp(min=0)
    return x


def slow_likeness(part: _Likeness, x: torch.Tensor) -> torch.Tensor:
    seen = convolved(part.head, x)
    alike = slow_non_local(part.alike, seen, seen)
    return x + convolved(part.tail, convolved(part.main, seen) / (1 + torch.exp(-part.mask(alike))))


@pytest.mark.parametrize("shape", [(8, 12), (4, 4), (2, 3)])
def test_places_ask_those_of_their_window(shape: tuple[int, int]) -> None:
    part, (x, asking) = made(NonLocal(6, 4)), torch.randn(2, 2, 6, *shape, dtype=torch.float64)
    torch.testing.assert_close(part(x, asking), slow_non_local(part, x, asking))
    torch.testing.assert_close(part(x), slow_non_local(part, x, x))


def test_at_first_nothing_is_found() -> None:
    x = torch.randn(1, 6, 4, 8)
    assert torch.equal(NonLocal(6, 4)(x), x)


def test_a_module_puts_two_grids_together() -> None:
    torch.manual_seed(0)
    part, x = made(_Module(4, 4)), torch.randn(1, 4, 8, 12, dtype=torch.float64)
    seen = convolved(part.head, x)
    small = (seen[..., ::2, ::2] + seen[..., 1::2, ::2] + seen[..., ::2, 1::2] + seen[..., 1::2, 1::2]) / 4
    coarse = F.interpolate(slow_likeness(part.coarse, small), scale_factor=2, mode="bilinear", align_corners=False)
    across = slow_non_local(part.across, slow_likeness(part.fine, seen), coarse)
    expected = x + convolved(part.tail, seen + convolved(part.merge, across))
    torch.testing.assert_close(part(x), expected)


def test_the_picture_goes_past_the_modules_and_its_mean_past_all() -> None:
    """With modules that add nothing: the first convolution twice, enlarged; other bands have no mean."""
    generator = hsenet(2, 16)
    for module in generator.body:
        nn.init.zeros_(module.tail[2].weight)
        nn.init.zeros_(module.tail[2].bias)
    picture = torch.rand(1, 3, 6, 8, dtype=torch.float64)
    mean = torch.tensor([0.4916, 0.4991, 0.4565]).double().view(1, 3, 1, 1)
    expected = generator.last(generator.upsample(2 * generator.first(picture - mean))) + mean
    torch.testing.assert_close(generator.picture(picture), expected, rtol=0, atol=1e-6)
    options = parse_model({"family": "hsenet", "width": 4, "modules": 1}, "a test")
    assert not network(options, task_by_name("sisr_x4_rgbn"), 16).mean.any()


def test_strange_sizes_are_refused() -> None:
    with pytest.raises(ShapeError, match="6 x 7 px is no multiple of 2 px"):
        hsenet(2, 16).finer(torch.rand(1, 3, 6, 7, dtype=torch.float64))
    with pytest.raises(ShapeError, match="8 x 12 px is no multiple of 8 px"):
        hsenet(2, 16).finer(torch.rand(1, 3, 8, 12, dtype=torch.float64))
    with pytest.raises(RecipeError, match="family hsenet needs patches of multiples of 6 px, the store has 15 px"):
        hsenet(3, 15)
