"""DEGAN: its published size and work, what its noise depends on, sizes, and that it can be exported."""

from __future__ import annotations

import pytest
import torch
from made_networks import network
from torch import nn

from hpc_sr.bench.flops import multiply_adds_per_px
from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.export.graphs import as_tuple, capture
from hpc_sr.models.attention import CBAM, Encoder
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.degan import DEGAN
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name

LITE = {"transformer": False, "time_align": True}
NARROW = {"width": 16, "blocks": 1, "unet_width": 16}


def degan(scale: int, facts: int = 32, **options: object) -> DEGAN:
    made = network(parse_model({"family": "degan", **options}, "a test"), task_by_name(f"sisr_x{scale}"), facts)
    assert isinstance(made, DEGAN)
    return made


@pytest.mark.parametrize(
    ("options", "scale", "count"), [({}, 2, 7_714_918), ({}, 4, 8_305_255), (LITE, 2, 6_990_950), (LITE, 4, 7_581_287)]
)
def test_degan_has_the_published_size(options: dict, scale: int, count: int) -> None:
    with torch.device("meta"):
        assert count_parameters(degan(scale, **options)) == count


@pytest.mark.parametrize(("scale", "published"), [(2, 64.35), (4, 125.38)])
def test_degan_lite_has_the_published_work(scale: int, published: float) -> None:
    """The table's unit: a multiply-add is one, a value of a BatchNorm two; of a picture of 96 x 96 px, in 10^9."""
    with torch.device("meta"):
        generator = degan(scale, 96 * scale, **LITE)
    products = multiply_adds_per_px(generator) * (96 * scale) ** 2
    normed: list[int] = []
    for part in generator.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(lambda part, given, out: normed.append(out.numel()))
    generator(torch.empty(1, 3, 96, 96, device="meta"))
    assert round((products + 2 * sum(normed)) / 1e9, 2) == published


@pytest.mark.parametrize("options", [NARROW, {**NARROW, **LITE}])
@pytest.mark.parametrize("scale", [2, 4])
def test_one_step_reaches_all_of_degan(scale: int, options: dict) -> None:
    generator = degan(scale, **options).train()
    (estimate,) = generator(torch.rand(2, 3, 6, 10), draws=torch.tensor([1, 2])).targets
    assert estimate.shape == (2, 3, 6 * scale, 10 * scale)
    assert estimate.min() >= 0 and estimate.max() <= 1
    estimate.square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_a_sample_is_disturbed_by_its_own_draw_alone() -> None:
    """Beside any others, so on any number of ranks; another draw is other noise, none is none."""
    generator = degan(2, **NARROW)
    pictures, draws = torch.rand(3, 3, 8, 8), torch.tensor([5, 2**62, 7])
    (whole,) = generator(pictures, draws=draws).targets
    (last,) = generator(pictures[2:], draws=draws[2:]).targets
    torch.testing.assert_close(whole[2:], last)
    (plain,) = generator(pictures).targets
    (other,) = generator(pictures, draws=draws + 1).targets
    apart = [(a - b).abs().amax((1, 2, 3)).min() for a, b in ((whole, plain), (whole, other))]
    assert min(apart) > 1e-6
    assert generator.noisy and not degan(2, **NARROW, noise="none").noisy


def test_the_time_step_moves_the_coarsest_map() -> None:
    unet = degan(2, **NARROW).unet
    x, zero = torch.rand(1, 16, 8, 8), torch.zeros(1, 1)
    assert (unet(x, zero) - unet(x, zero + 1)).abs().max() > 1e-6


def test_sizes_that_the_unet_cannot_halve_are_refused() -> None:
    generator = degan(2, **NARROW)
    assert (generator.multiple_px, degan(4, **NARROW).multiple_px, generator.reach) == (4, 4, None)
    with pytest.raises(ShapeError, match="(?s)10 x 12 px is no multiple of 4.*multiples of 2"):
        generator(torch.rand(1, 3, 5, 6))
    (odd,) = degan(4, **NARROW)(torch.rand(1, 3, 5, 3)).targets
    assert odd.shape == (1, 3, 20, 12)
    with pytest.raises(RecipeError, match="family degan is for x2, x4"):
        build_generator(parse_model({"family": "degan"}, "a test"), task_by_name("sisr_x3"), Facts(96))


@pytest.mark.parametrize(("scale", "options"), [(2, NARROW), (4, {**NARROW, **LITE})])
def test_degan_is_a_graph_for_pictures_of_any_size(scale: int, options: dict) -> None:
    generator = degan(scale, **options)
    module = capture(generator).module()
    unit = 4 // scale
    for rows, columns in ((3, 5), (4, 4), (9, 2)):
        picture = 255 * torch.rand(1, 3, rows * unit, columns * unit)
        (found,), (expected,) = as_tuple(module(picture)), generator.estimate(picture)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_cbam_masks_channels_then_places() -> None:
    """With zero weights both masks are a half; the published size at 128 channels."""
    block = CBAM(128)
    assert count_parameters(block) == 2_146
    x = torch.randn(2, 128, 5, 7)
    assert (block(x).abs() <= x.abs()).all()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x), x / 4)


def test_the_encoder_is_that_of_torch_on_places() -> None:
    ours, theirs = Encoder(16, 0.1).eval(), nn.TransformerEncoderLayer(16, 4, 64, 0.1, batch_first=True).eval()
    names = {
        "asked.weight": "self_attn.in_proj_weight",
        "asked.bias": "self_attn.in_proj_bias",
        **{
            f"{own}.{kind}": f"{other}.{kind}"
            for own, other in {
                "told": "self_attn.out_proj",
                "wider": "linear1",
                "narrower": "linear2",
                "first_norm": "norm1",
                "second_norm": "norm2",
            }.items()
            for kind in ("weight", "bias")
        },
    }
    state = theirs.state_dict()
    ours.load_state_dict({name: state[other] for name, other in names.items()})
    x = torch.randn(2, 16, 3, 5)
    expected = theirs(x.flatten(2).mT).mT.reshape(x.shape)
    torch.testing.assert_close(ours(x), expected)
    assert not torch.equal(ours.train()(x), expected), "what is dropped in training"
