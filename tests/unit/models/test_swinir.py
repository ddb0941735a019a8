"""SwinIR: published sizes, windows that hold no strangers, and tiles that are the whole where they begin on windows."""

from __future__ import annotations

import pytest
import torch
from made_networks import captures_graphs, network

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.export.graphs import as_tuple, capture
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import parse_model
from hpc_sr.models.picture_options import SwinIROptions
from hpc_sr.models.swinir import _Attention, _cut, _joined, _Layer
from hpc_sr.tasks import task_by_name

SMALL = {"width": 8, "stages": 1, "layers": 2, "heads": 2, "window_px": 4}
LARGE = {"width": 180, "stages": 6, "enlargement": "staged"}


def swinir(scale: int, patch_px: int | None = None, **options: object) -> Generator:
    told = parse_model({"family": "swinir", **options}, "a test")
    return network(told, task_by_name(f"sisr_x{scale}"), patch_px or 16 * scale)


@pytest.mark.parametrize(
    ("options", "scale", "count"),
    [({}, 2, 910_152), ({}, 3, 918_267), ({}, 4, 929_628), (LARGE, 2, 11_752_487), (LARGE, 4, 11_900_199)],
)
def test_it_has_the_published_size(options: dict, scale: int, count: int) -> None:
    with torch.device("meta"):
        told = parse_model({"family": "swinir", **options}, "a test")
        made = build_generator(told, task_by_name(f"sisr_x{scale}"), Facts(64 * scale))
    assert count_parameters(made) == count
    # Published: 878, 886 and 897 thousand without the tables of places.
    tables = sum(p.numel() for name, p in made.named_parameters() if name.endswith("position_bias_table"))
    thousands = {2: 878, 3: 886, 4: 897}
    assert options or round((count - tables) / 1000) == thousands[scale]


def test_windows_are_cut_and_joined() -> None:
    picture = torch.arange(2 * 8 * 12 * 3).reshape(2, 8, 12, 3).float()
    windows = _cut(picture, 4)
    assert torch.equal(windows[1].reshape(4, 4, 3), picture[0, :4, 4:8]) and windows.shape == (12, 16, 3)
    assert torch.equal(windows[11].reshape(4, 4, 3), picture[1, 4:, 8:])
    assert torch.equal(_joined(windows, 4, 8, 12), picture)


def test_attention_is_the_formula_with_a_bias_for_each_difference_of_places() -> None:
    torch.manual_seed(0)
    attention = _Attention(SwinIROptions(family="swinir", **SMALL)).double()
    x = torch.randn(3, 16, 8, dtype=torch.float64)
    query, key, value = attention.qkv(x).split(8, 2)
    expected = torch.empty_like(x)
    for head in range(2):
        channels = slice(4 * head, 4 * head + 4)
        scores = query[..., channels] @ key[..., channels].mT / 2
        for one in range(16):
            for other in range(16):
                down, right = one // 4 - other // 4, one % 4 - other % 4
                scores[:, one, other] += attention.relative_position_bias_table[(down + 3) * 7 + right + 3, head]
        expected[..., channels] = scores.softmax(2) @ value[..., channels]
    torch.testing.assert_close(attention(x, None), attention.proj(expected))


def test_moved_windows_hold_neighbours_alone() -> None:
    """Inside they are windows of a moved picture; at the border they are cut off, and hold nothing of the other end."""
    torch.manual_seed(0)
    options = SwinIROptions(family="swinir", **SMALL)
    plain, moved = _Layer(options, moved=False).double(), _Layer(options, moved=True).double()
    moved.load_state_dict(plain.state_dict())
    x = torch.randn(1, 12, 12, 8, dtype=torch.float64)
    inner = plain(x[:, 2:10, 2:10])
    torch.testing.assert_close(moved(x)[:, 2:10, 2:10], inner)
    x.requires_grad_()
    moved(x)[0, 0, 5].sum().backward()
    rows = (x.grad[0] != 0).any(2).nonzero()
    assert (rows.amin(0).tolist(), rows.amax(0).tolist()) == ([0, 2], [1, 5])


@pytest.mark.parametrize(("scale", "options"), [(2, {}), (3, {}), (4, {"enlargement": "staged"})])
def test_tiles_on_windows_are_the_whole_and_it_looks_as_far_as_it_says(scale: int, options: dict) -> None:
    generator = swinir(scale, **SMALL, **options).double()
    assert generator.multiple_px == 4 * scale and generator.reach is not None
    halo = generator.halo_px // scale
    size = 2 * halo + 12
    picture = torch.rand(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        (whole,) = generator(picture).targets
        (part,) = generator(picture[..., 4:-4, 4:-4]).targets
    core, inner = (slice((halo + start) * scale, (halo + start + 4) * scale) for start in (0, 4))
    torch.testing.assert_close(part[..., core, core], whole[..., inner, inner], rtol=0, atol=1e-12)
    picture.requires_grad_()
    farthest = 0
    for place in range(4 * scale):
        (estimate,) = generator(picture).targets
        (slope,) = torch.autograd.grad(estimate[..., inner.start + place, inner.start + place].sum(), picture)
        seen = (slope[0] != 0).any(0).any(1).nonzero()
        first, last = int(seen.min()) * scale, int(seen.max()) * scale
        farthest = max(farthest, inner.start + place - (first + scale - 1), last - inner.start - place)
    assert farthest == generator.reach.before_px


def test_one_step_reaches_all_of_it_and_strange_sizes_are_refused() -> None:
    generator = swinir(2, **SMALL).train()
    (estimate,) = generator(torch.rand(2, 3, 16, 12)).targets
    assert estimate.shape == (2, 3, 32, 24)
    estimate.square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None] == []
    with pytest.raises(ShapeError, match="18 x 12 px is no multiple of 4 px"):
        generator(torch.rand(1, 3, 18, 12))
    with pytest.raises(RecipeError, match="patches of multiples of 8 px, the store has 36 px"):
        swinir(2, patch_px=36, **SMALL)
    with pytest.raises(RecipeError, match="heads: 3 does not divide width, 8"):
        parse_model({"family": "swinir", "width": 8, "heads": 3}, "a test")


@captures_graphs
def test_it_is_a_graph_for_pictures_of_any_size() -> None:
    generator = swinir(2, **SMALL).eval()
    program = capture(generator).module()
    for height, width in ((16, 24), (8, 40)):
        picture = torch.rand(1, 3, height, width) * 255
        with torch.inference_mode():
            expected = generator.estimate(picture)
        for ours, wanted in zip(as_tuple(program(picture)), expected, strict=True):
            torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-3)
