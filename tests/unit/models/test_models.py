"""Networks: exact parameter counts, shapes, the identities that hold whatever the weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from made_networks import narrow, network

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.models.blocks import SelfAttention, bilinear
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import degraded, taps_of
from hpc_sr.models.generator import Generator
from hpc_sr.tasks import REFLECTANCE, S2X, S6X, S26X, Task, Units, task_by_name
from hpc_sr.train.facts import laws_of

PUBLISHED = [
    ("s2x", 128, 6, S2X, 32, 1_821_031),
    ("s2x", 128, 6, S6X, 96, 1_825_827),
    ("dsen2", 128, 6, S2X, 32, 1_789_574),
    ("dsen2", 128, 6, S6X, 96, 1_787_266),
    ("dsen2", 256, 32, S2X, 32, 37_802_246),
    ("dsen2", 256, 32, S6X, 96, 37_797_634),
]
#: Windows smaller than the published patches: the same code, fewer positions.
SMALL = [(family, task, px) for family in ("s2x", "dsen2", "detail") for task, px in ((S2X, 8), (S6X, 12), (S26X, 12))]
#: What leaves a family's trunk alone on the bilinear base.
PLAIN = {"detail": {"base": "bilinear", "back_project": False}}


def inputs_of(task: Task, height: int, width: int) -> list[torch.Tensor]:
    sizes = ((len(x.bands), height // x.stride, width // x.stride) for x in task.inputs)
    return [torch.rand(1, *size) for size in sizes]


def small(family: str, task: Task, patch_px: int) -> Generator:
    return network(narrow(family, blocks=2, **PLAIN.get(family, {})), task, patch_px)


@pytest.mark.parametrize(("family", "width", "blocks", "task", "patch_px", "count"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(
    family: str, width: int, blocks: int, task: Task, patch_px: int, count: int
) -> None:
    options = narrow(family, width=width, blocks=blocks)
    with torch.device("meta"):  # sizes need no numbers
        assert count_parameters(build_generator(options, task, Facts(patch_px))) == count


@pytest.mark.parametrize(("family", "task", "patch_px"), SMALL)
def test_a_silent_head_leaves_the_bilinear_base(family: str, task: Task, patch_px: int) -> None:
    generator = small(family, task, patch_px)
    torch.nn.init.zeros_(generator.head.weight)
    inputs = inputs_of(task, patch_px, patch_px)
    outputs = generator(*inputs)
    assert len(outputs.targets) == len(task.targets) and outputs.extras == {}
    for target, found in zip(task.targets, outputs.targets, strict=True):
        coarse = inputs[task.inputs.index(target.coarse)]
        assert torch.equal(found, bilinear(coarse, target.scale))
    with pytest.raises(TypeError):
        outputs.extras["mine"] = outputs.targets[0]  # those of another pass would hold it, too


def test_attention_with_gamma_zero_is_the_network_without_it() -> None:
    generator = small("s2x", S2X, 32)
    inputs = inputs_of(S2X, 32, 32)
    with torch.no_grad():
        (with_attention,) = generator(*inputs).targets
        generator.attention.gamma.zero_()
        (silent,) = generator(*inputs).targets
        generator.attention = torch.nn.Identity()
        assert torch.equal(silent, generator(*inputs).targets[0])
        assert not torch.allclose(silent, with_attention)


def test_attention_is_softmax_of_products_over_all_positions() -> None:
    torch.manual_seed(1)
    attention = SelfAttention(16, window_px=4).double()
    torch.nn.init.ones_(attention.gamma)
    x = torch.rand(2, 16, 4, 4, dtype=torch.float64)
    q, k, v = (conv(x).flatten(2) for conv in (attention.query, attention.key, attention.value))
    weights = torch.softmax(torch.einsum("bcn,bcm->bnm", q, k), dim=-1)
    mixed = torch.einsum("bnm,bcm->bcn", weights, v).reshape(2, 8, 4, 4)
    torch.testing.assert_close(attention(x), x + attention.out(mixed))


def test_pooled_keys_and_values_are_those_of_a_max_pool() -> None:
    torch.manual_seed(4)
    attention = SelfAttention(16, window_px=8, kv_pool=2).double()
    torch.nn.init.ones_(attention.gamma)
    x = torch.rand(1, 16, 8, 8, dtype=torch.float64)
    q = attention.query(x).flatten(2)
    k, v = (F.max_pool2d(conv(x), 2).flatten(2) for conv in (attention.key, attention.value))
    mixed = torch.einsum("bnm,bcm->bcn", torch.softmax(torch.einsum("bcn,bcm->bnm", q, k), -1), v).reshape(1, 8, 8, 8)
    torch.testing.assert_close(attention(x), x + attention.out(mixed))


def test_attention_windows_do_not_see_each_other() -> None:
    torch.manual_seed(2)
    attention = SelfAttention(16, window_px=8)
    torch.nn.init.ones_(attention.gamma)
    x = torch.rand(2, 16, 16, 24)
    whole = attention(x)
    for row in (0, 8):
        for column in (0, 8, 16):
            part = x[:, :, row : row + 8, column : column + 8]
            torch.testing.assert_close(whole[:, :, row : row + 8, column : column + 8], attention(part))
    with pytest.raises(ShapeError, match="multiple of the attention window"):
        attention(torch.rand(1, 16, 12, 16))


@pytest.mark.parametrize(("family", "task", "patch_px"), SMALL)
def test_nothing_beyond_the_halo_matters(family: str, task: Task, patch_px: int) -> None:
    generator = small(family, task, patch_px).double()
    halo, unit = generator.halo_px, generator.multiple_px
    assert halo % unit == 0
    size = 2 * halo + unit
    inputs = [x.double() for x in inputs_of(task, size + 2 * unit, size + 2 * unit)]
    with torch.no_grad():
        whole = torch.cat(generator(*inputs).targets, 1)
        strides = [layer.stride for layer in task.inputs]
        parts = [
            x[:, :, unit // s : (unit + size) // s, unit // s : (unit + size) // s]
            for x, s in zip(inputs, strides, strict=True)
        ]
        part = torch.cat(generator(*parts).targets, 1)
    core = slice(halo, halo + unit)
    outer = slice(halo + unit, halo + 2 * unit)
    torch.testing.assert_close(part[..., core, core], whole[..., outer, outer], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("family", "task", "patch_px"), SMALL)
def test_one_step_reaches_every_parameter(family: str, task: Task, patch_px: int) -> None:
    generator = small(family, task, patch_px)
    torch.cat(generator(*inputs_of(task, patch_px, patch_px)).targets, 1).square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None] == []


def test_the_mean_shift_cancels_in_the_skip_only() -> None:
    units = Units.of(REFLECTANCE)
    means = {"x10": (1000.0,) * 4, "x20": (2000.0,) * 6}
    shifted, plain = (network(narrow(), S2X, Facts(32, units, told), seed=3) for told in (means, {}))
    x10, x20 = inputs_of(S2X, 32, 32)
    # Inputs raised by the means look, to the branches of the shifted network, like the others to the plain one.
    (found,), (expected,) = (shifted(x10 + 0.5, x20 + 1.0).targets, plain(x10, x20).targets)
    torch.testing.assert_close(found, expected + 1.0)


@pytest.mark.parametrize(("family", "task", "patch_px"), SMALL)
def test_the_reach_is_as_far_as_inputs_matter_and_no_farther(family: str, task: Task, patch_px: int) -> None:
    """Without its attention a change of any input stays within the reach; at its end, along a row, it is seen."""
    options = narrow(family, blocks=2, **({"attention": False} if family == "s2x" else PLAIN.get(family, {})))
    generator = network(options, task, patch_px).double()
    reach = generator.reach
    assert reach is not None and reach.window_px is None
    reach_px = reach.before_px + reach.after_px
    size = 2 * -(-reach_px // task.alignment_px) * task.alignment_px + task.alignment_px
    inputs = [x.double().requires_grad_() for x in inputs_of(task, size, size)]
    middle = size // 2
    sum(target[0, :, middle, middle].sum() for target in generator(*inputs).targets).backward()
    farthest_px = 0
    for layer, x in zip(task.inputs, inputs, strict=True):
        rows, columns = (x.grad[0] != 0).any(0).nonzero(as_tuple=True)
        for places in (rows, columns):
            nearest = torch.stack([places * layer.stride, places * layer.stride + layer.stride - 1])
            farthest_px = max(farthest_px, int((nearest - middle).abs().min(0).values.max()))
    assert reach_px - max(layer.stride for layer in task.inputs) <= farthest_px <= reach_px


@pytest.mark.parametrize("task", [S2X, S6X])
def test_of_an_image_three_times_as_bright_details_are_corrected_three_times_as_much(task: Task) -> None:
    generator, inputs = small("detail", task, 24).double(), [x.double() for x in inputs_of(task, 48, 48)]
    (once,), (brighter,) = (generator(*given).targets for given in (inputs, [3 * x + 0.7 for x in inputs]))
    torch.testing.assert_close(brighter, 3 * once + 0.7, rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", [S2X, S6X])
def test_details_are_added_to_the_guided_base_and_agree_with_what_was_measured(task: Task) -> None:
    generator = network(narrow("detail"), task, Facts(24, laws=laws_of("mtf", task, "S2A"))).double()
    assert generator.reach.before_px > small("detail", task, 24).reach.before_px
    inputs = [x.double() for x in inputs_of(task, 48, 48)]
    coarse = inputs[task.inputs.index(task.target.coarse)]
    (found,) = generator(*inputs).targets
    seen = degraded(found, taps_of(generator.facts.laws[task.target.name].bands), task.scale)
    torch.testing.assert_close(seen, coarse, rtol=0, atol=1e-6)
    torch.nn.init.zeros_(generator.head.weight)
    (silent,) = generator(*inputs).targets
    torch.testing.assert_close(silent, generator.projections[0](generator.bases[0](coarse, inputs[0]), coarse))
    assert not torch.allclose(silent, found)


@pytest.mark.parametrize(
    ("task", "stored", "unit"), [("s2x", REFLECTANCE, 2000), ("sisr_x2", "8 bit", 255), ("sisr_x2", "16 bit", 65535)]
)
def test_an_estimate_is_the_forward_pass_between_two_changes_of_units(task: str, stored: str, unit: float) -> None:
    generator = network(narrow("dsen2"), task_by_name(task), Facts(8, Units.of(stored)))
    measured = [x * unit for x in inputs_of(generator.task, 16, 16)]
    with torch.inference_mode():
        (found,) = generator.estimate(*measured)
        (expected,) = generator(*(x / unit for x in measured)).targets
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected * unit, rtol=1e-5, atol=1e-4 * unit)
    with torch.inference_mode():  # of whole numbers, as a store holds them, as well
        whole = [x.round().short() if unit < 65535 else x.round().int() for x in measured]
        assert torch.equal(generator.estimate(*whole)[0], generator.estimate(*(x.float() for x in whole))[0])


def test_what_a_task_or_a_card_cannot_answer_is_told() -> None:
    assert S2X.target is S2X.targets[0] and S26X.only(S26X.targets[1]).target is S26X.targets[1]
    with pytest.raises(RecipeError, match=r"task s26x: has 2 targets \(target20, target60\).*\n.*Task.only"):
        _ = S26X.target
    assert Units("", 2000.0).peak == 10_000
    with pytest.raises(RecipeError, match="unknown units 'furlongs'"):
        _ = Units("furlongs", 1.0).peak
