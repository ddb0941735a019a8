"""Networks for single pictures: published sizes, how far they look, that all of them learns, and colours."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_networks import captures_graphs, network

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.export.graphs import as_tuple, capture
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.colours import luma, rgb_of, with_luma, ycbcr
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import bicubic
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import parse_model
from hpc_sr.models.reach import Reach
from hpc_sr.models.single_image import SingleImage
from hpc_sr.tasks import task_by_name

COUNTS = [
    ("srcnn", {}, 4, 20_099),
    ("srcnn", {"middle_px": 5}, 3, 69_251),
    ("srcnn", {"colours": "y"}, 2, 8_129),
    ("srcnn", {"colours": "y", "middle_px": 5}, 3, 57_281),
    ("fsrcnn", {}, 4, 24_683),
    ("fsrcnn", {"colours": "y"}, 4, 12_809),
    ("fsrcnn", {"colours": "y", "width": 32, "narrow": 5, "maps": 1}, 3, 4_086),
    ("srresnet", {}, 2, 1_401_749),
    ("srresnet", {}, 4, 1_549_462),
    ("rrdb", {}, 4, 16_697_987),
    ("dbpn", {}, 2, 5_953_526),
    ("dbpn", {}, 4, 10_426_358),
    ("imdn", {}, 2, 694_404),
    ("imdn", {}, 3, 703_059),
    ("imdn", {}, 4, 715_176),
    ("rfdn", {}, 2, 417_212),
    ("rfdn", {}, 3, 423_977),
    ("rfdn", {}, 4, 433_448),
    ("hsenet", {}, 2, 5_285_635),
    ("hsenet", {}, 3, 5_470_275),
    ("hsenet", {}, 4, 5_433_347),
    ("transenet", {}, 2, 37_311_171),
    ("transenet", {}, 3, 37_495_811),
    ("transenet", {}, 4, 37_458_883),
    ("efdn", {}, 2, 260_604),
    ("efdn", {}, 4, 276_192),
    ("eegan", {}, 4, 7_395_078),
]
#: Small ones that have everything the published ones have.
SMALL = [
    ("srcnn", {"width": 4, "hidden": 4}, 3),
    ("srcnn", {"width": 4, "hidden": 4, "middle_px": 5, "colours": "y"}, 4),
    ("fsrcnn", {"width": 4, "narrow": 4, "maps": 2}, 2),
    ("fsrcnn", {"width": 4, "narrow": 4, "maps": 1, "colours": "ycbcr", "padding": "replicate"}, 3),
    ("fsrcnn", {"width": 4, "narrow": 4, "maps": 1, "crop_px": 3}, 4),
    ("srresnet", {"width": 4, "blocks": 1}, 2),
    ("srresnet", {"width": 4, "blocks": 2, "slopes": "channel"}, 4),
    ("rrdb", {"width": 4, "growth": 4, "blocks": 1}, 4),
    ("dbpn", {"width": 4, "features": 4, "stages": 2}, 2),
    ("dbpn", {"width": 4, "features": 4, "stages": 2, "base": "bicubic"}, 4),
    ("eegan", {"width": 4, "blocks": 2, "edge_blocks": 1}, 4),
]
EFDN = ("efdn", {"width": 8}, 3)
#: Those that look at the whole picture.
WHOLE = [EFDN, ("rfdn", {"width": 8, "blocks": 2}, 4), ("imdn", {"width": 16, "blocks": 2}, 2)]
#: Those that look at windows of a training patch.
TRANSENET = {"width": 8, "blocks": 1, "embedding": 8, "layers": 1}
WINDOWED = [
    ("hsenet", {"width": 8, "modules": 1}, 2),
    ("hsenet", {"width": 8, "modules": 1}, 3),
    ("transenet", TRANSENET, 3),
    ("transenet", {**TRANSENET, "base": "bicubic"}, 4),
]

#: Those that can be added to a base, and the layers after which nothing follows but sums; MSFM has other ReLUs on one.
BASED = [
    *((*told, "last") for told in SMALL if told[0] not in ("eegan", "rrdb")),
    *((*told, "last") for told in (*WHOLE[1:], *WINDOWED)),
    (*EFDN, "tail"),
    ("rrdb", {"width": 4, "growth": 4, "blocks": 1}, 4, "conv_last"),
    ("enlighten", {"width": 4, "growth": 4, "blocks": 1}, 4, "conv_last"),
    ("degan", {"width": 16, "blocks": 1, "unet_width": 16}, 4, "last"),
    ("swinir", {"width": 8, "stages": 1, "layers": 2, "heads": 2, "window_px": 4}, 4, "upsample"),
]


def small(family: str, options: dict, scale: int) -> Generator:
    patch_px = {"hsenet": 4, "transenet": 8}.get(family, 16) * scale
    return network(parse_model({"family": family, **options}, "a test"), task_by_name(f"sisr_x{scale}"), patch_px)


def sides_of(generator: Generator, *least_px: int) -> list[int]:
    """Return sides of a given picture that are as long or little longer, and that the network takes."""
    unit = generator.multiple_px // generator.task.scale
    return [-(-side // unit) * unit for side in least_px]


@pytest.mark.parametrize(("family", "options", "scale", "count"), COUNTS)
def test_image_networks_have_the_published_size(family: str, options: dict, scale: int, count: int) -> None:
    model = parse_model({"family": family, **options}, "a test")
    with torch.device("meta"):  # sizes need no numbers
        assert count_parameters(build_generator(model, task_by_name(f"sisr_x{scale}"), Facts(32 * scale))) == count


@pytest.mark.parametrize(("family", "options", "scale"), SMALL)
def test_a_picture_network_looks_as_far_as_it_says(family: str, options: dict, scale: int) -> None:
    """Of a window with the halo around it the inner pixel is that of the whole; farther inputs have no gradient."""
    generator = small(family, options, scale).double()
    assert generator.reach is not None
    halo, inner = generator.halo_px // scale, 1
    size = 2 * halo + inner + 4
    coarse = torch.rand(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        (whole,) = generator(coarse).targets
        (part,) = generator(coarse[..., 2:-2, 2:-2]).targets
    assert whole.shape[-2:] == (size * scale, size * scale)
    core, outer = (slice(start * scale, (start + inner) * scale) for start in (halo, halo + 2))
    torch.testing.assert_close(part[..., core, core], whole[..., outer, outer], rtol=0, atol=1e-12)

    coarse.requires_grad_()
    generator(coarse).targets[0][..., outer, outer].sum().backward()
    assert coarse.grad is not None
    seen = (coarse.grad[0] != 0).any(0).nonzero() - (halo + 2)
    assert halo - 1 <= seen.abs().max() <= halo, "no farther, and not promised much farther than it does"


@pytest.mark.parametrize(("family", "options", "scale"), WINDOWED)
def test_tiles_on_windows_are_the_whole_and_a_network_looks_as_far_as_it_says(
    family: str, options: dict, scale: int
) -> None:
    generator = small(family, options, scale).double()
    reach, unit = generator.reach, generator.multiple_px // scale
    assert reach is not None and generator.multiple_px == generator.facts.patch_px
    halo = generator.halo_px // scale
    size = 2 * halo + 3 * unit
    picture = torch.rand(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        (whole,) = generator(picture).targets
        (part,) = generator(picture[..., unit:-unit, unit:-unit]).targets
    core, inner = (slice((halo + start) * scale, (halo + start + unit) * scale) for start in (0, unit))
    torch.testing.assert_close(part[..., core, core], whole[..., inner, inner], rtol=0, atol=1e-12)

    (estimate,) = generator(picture.requires_grad_()).targets
    window_px, farthest = reach.window_px or 1, 0
    for place in range(inner.start, inner.stop):
        slope = torch.autograd.grad(estimate[..., place, place].sum(), picture, retain_graph=True)[0]
        seen = (slope[0] != 0).any(0).any(1).nonzero() * scale
        first = (place - reach.after_px) // window_px * window_px
        last = (place + reach.after_px) // window_px * window_px + window_px - 1
        farthest = max(farthest, first - (int(seen.min()) + scale - 1), int(seen.max()) - last)
    assert farthest == reach.before_px


@pytest.mark.parametrize(("family", "options", "scale"), [*SMALL, *WHOLE, *WINDOWED])
def test_one_step_reaches_all_of_a_picture_network(family: str, options: dict, scale: int) -> None:
    generator = small(family, options, scale).train()
    rows, columns = sides_of(generator, 24, 18)
    (estimate,) = generator(torch.rand(2, 3, rows, columns)).targets
    assert estimate.shape == (2, 3, rows * scale, columns * scale)
    estimate.square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None] == []


@captures_graphs
@pytest.mark.parametrize(("family", "options", "scale"), [*WHOLE[1:], *SMALL[-2:], WINDOWED[0], WINDOWED[-1]])
def test_a_picture_network_is_a_graph_for_pictures_of_any_size(family: str, options: dict, scale: int) -> None:
    generator = small(family, options, scale)
    module = capture(generator).module()
    for rows, columns in (sides_of(generator, 21, 25), sides_of(generator, 33, 23)):
        picture = 255 * torch.rand(1, 3, rows, columns)
        (found,), (expected,) = as_tuple(module(picture)), generator.estimate(picture)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("family", "options", "scale", "last"), BASED)
def test_on_bicubic_a_network_adds_what_it_finds_to_the_enlargement(
    family: str, options: dict, scale: int, last: str
) -> None:
    """Where the last layer is silent the result is bicubic; otherwise it differs by that from what it is without."""
    bare, based = (small(family, {**options, "base": base}, scale).double() for base in ("none", "bicubic"))
    based.load_state_dict(bare.state_dict())  # strict: the base has nothing to learn
    rows, columns = sides_of(based, 16, 18)
    coarse = torch.rand(1, 3, rows, columns, dtype=torch.float64)
    enlarged = bicubic(coarse, scale)
    with torch.no_grad():
        whole, added = (generator(coarse).targets[0] for generator in (bare, based))
        for generator in (bare, based):
            for parameter in getattr(generator, last).parameters():
                parameter.zero_()
        nothing, alone = (generator(coarse).targets[0] for generator in (bare, based))
    # The constants of colours have six digits.
    torch.testing.assert_close(alone, enlarged, rtol=0, atol=1e-5 if "colours" in options else 1e-12)
    assert (whole - nothing).abs().max() > 1e-7
    torch.testing.assert_close(added - alone, whole - nothing, rtol=0, atol=1e-12)
    if "colours" not in options:
        assert nothing.flatten(2).std(2).max() < 1e-12, "as published nothing of the picture goes past the network"


def test_a_network_on_bicubic_looks_as_far_as_bicubic_does() -> None:
    task = task_by_name("sisr_x4")
    assert [SingleImage(task, Facts(16), Reach(3, 2), 1, base).reach for base in ("none", "bicubic")] == [
        Reach(3, 2),
        Reach(6, 2),
    ]
    assert SingleImage(task, Facts(16), Reach(50, 2), 1, "bicubic").reach == Reach(50, 2)
    assert SingleImage(task, Facts(16), None, 1, "bicubic").reach is None


def test_imdn_weighs_channels_even_where_they_are_flat() -> None:
    generator = small(*WHOLE[2]).train()
    (estimate,) = generator(torch.zeros(1, 3, 4, 5)).targets
    estimate.sum().backward()
    assert generator.reach is None
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


@pytest.mark.parametrize("told", WHOLE[:2])
def test_spatial_attention_says_that_it_looks_at_all_and_what_is_too_small(told: tuple) -> None:
    generator = small(*told)
    assert generator.reach is None
    generator(torch.rand(1, 3, 15, 15))
    with pytest.raises(ShapeError, match="14 x 20 px are too few"):
        generator(torch.rand(1, 3, 14, 20))
    with pytest.raises(RecipeError, match="patches of 45 px or more, the store has 42 px"):
        build_generator(parse_model({"family": "efdn"}, "a test"), task_by_name("sisr_x3"), Facts(42))


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        ("s2x", {"family": "srcnn"}, "family srcnn is for single pictures, task s2x is not"),
        ("refsr_x4", {"family": "efdn"}, "family efdn is for single pictures"),
        ("sisr_x3", {"family": "srresnet"}, "family srresnet is for x2, x4, task sisr_x3 is x3"),
        ("sisr_x2", {"family": "rrdb"}, "family rrdb is for x4"),
        ("sisr_x2", {"family": "fsrcnn", "crop_px": 3}, "leaves too few pixels at x2"),
        ("sisr_x4_rgbn", {"family": "fsrcnn", "colours": "y"}, "colours: y needs red, green and blue alone"),
    ],
)
def test_what_a_picture_network_was_not_published_for_is_refused(task: str, options: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        build_generator(parse_model(options, "a test"), task_by_name(task), Facts(96))


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_colours_come_back_and_only_brightness_changes(values: list[float]) -> None:
    rgb = torch.tensor(values[:3], dtype=torch.float64).view(1, 3, 1, 1)
    other = torch.full((1, 1, 1, 1), values[3], dtype=torch.float64)
    torch.testing.assert_close(rgb_of(ycbcr(rgb)), rgb, rtol=0, atol=2e-6)  # the constants have six digits
    changed = with_luma(rgb, other)
    torch.testing.assert_close(luma(changed), other, rtol=0, atol=1e-12)
    torch.testing.assert_close(ycbcr(changed)[:, 1:], ycbcr(rgb)[:, 1:], rtol=0, atol=1e-5)
    white = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    assert [round(float(luma(white * level)) * 255, 9) for level in (0, 1)] == [16, 235]
