"""Networks: exact parameter counts, shapes, the identities that hold whatever the weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hpc_sr.errors import ShapeError
from hpc_sr.models.blocks import SelfAttention
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.generator import Generator
from hpc_sr.models.options import ModelOptions
from hpc_sr.tasks import S2X, S6X, Task

PUBLISHED = [
    ("s2x", 128, 6, S2X, 32, 1_821_031),
    ("s2x", 128, 6, S6X, 96, 1_825_827),
    ("dsen2", 128, 6, S2X, 32, 1_789_574),
    ("dsen2", 128, 6, S6X, 96, 1_787_266),
    ("dsen2", 256, 32, S2X, 32, 37_802_246),
    ("dsen2", 256, 32, S6X, 96, 37_797_634),
]
#: Windows smaller than the published patches: the same code, fewer positions.
SMALL = [("s2x", S2X, 8), ("s2x", S6X, 12), ("dsen2", S2X, 8), ("dsen2", S6X, 12)]


def inputs_of(task: Task, height: int, width: int) -> list[torch.Tensor]:
    sizes = ((len(x.bands), height // x.stride, width // x.stride) for x in task.inputs)
    return [torch.rand(1, *size) for size in sizes]


def small(family: str, task: Task, patch_px: int) -> Generator:
    torch.manual_seed(0)
    generator = build_generator(ModelOptions(family=family, width=16, blocks=2), task, patch_px)
    if family == "s2x":
        torch.nn.init.constant_(generator.attention.gamma, 0.7)
    return generator.eval()


@pytest.mark.parametrize(("family", "width", "blocks", "task", "patch_px", "count"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(
    family: str, width: int, blocks: int, task: Task, patch_px: int, count: int
) -> None:
    options = ModelOptions(family=family, width=width, blocks=blocks)
    assert count_parameters(build_generator(options, task, patch_px)) == count


@pytest.mark.parametrize(("family", "task", "patch_px"), SMALL)
def test_a_silent_head_leaves_the_bilinear_base(family: str, task: Task, patch_px: int) -> None:
    generator = small(family, task, patch_px)
    torch.nn.init.zeros_(generator.head.weight)
    inputs = inputs_of(task, patch_px, patch_px)
    coarse = inputs[task.inputs.index(task.coarse)]
    base = F.interpolate(coarse, scale_factor=task.coarse.stride, mode="bilinear", align_corners=False)
    assert torch.equal(generator(*inputs), base)


def test_attention_with_gamma_zero_is_the_network_without_it() -> None:
    generator = small("s2x", S2X, 32)
    inputs = inputs_of(S2X, 32, 32)
    with torch.no_grad():
        with_attention = generator(*inputs)
        generator.attention.gamma.zero_()
        silent = generator(*inputs)
        generator.attention = torch.nn.Identity()
        assert torch.equal(silent, generator(*inputs))
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
        whole = generator(*inputs)
        strides = [layer.stride for layer in task.inputs]
        parts = [
            x[:, :, unit // s : (unit + size) // s, unit // s : (unit + size) // s]
            for x, s in zip(inputs, strides, strict=True)
        ]
        part = generator(*parts)
    core = slice(halo, halo + unit)
    outer = slice(halo + unit, halo + 2 * unit)
    torch.testing.assert_close(part[..., core, core], whole[..., outer, outer], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("family", "task", "patch_px"), SMALL)
def test_one_step_reaches_every_parameter(family: str, task: Task, patch_px: int) -> None:
    generator = small(family, task, patch_px)
    generator(*inputs_of(task, patch_px, patch_px)).square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None] == []


def test_the_mean_shift_cancels_in_the_skip_only() -> None:
    means = {"x10": [0.5] * 4, "x20": [1.0] * 6}
    options = ModelOptions(family="s2x", width=16, blocks=1)
    torch.manual_seed(3)
    shifted = build_generator(options, S2X, 32, means)
    torch.manual_seed(3)
    plain = build_generator(options, S2X, 32)
    x10, x20 = inputs_of(S2X, 32, 32)
    # Inputs raised by the means look, to the branches of the shifted network, like the others to the plain one.
    torch.testing.assert_close(shifted(x10 + 0.5, x20 + 1.0), plain(x10, x20) + 1.0)


def test_dsen2_has_no_attention_to_ask_for() -> None:
    with pytest.raises(ValueError, match="dsen2 has no attention"):
        ModelOptions(family="dsen2", attention=True)
