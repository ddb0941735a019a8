"""The network of one band at a time: what holds for any band, any task, any brightness."""

from __future__ import annotations

import pytest
import torch
from made_networks import narrow, network

from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.filters import degraded, taps_of
from hpc_sr.models.generator import Generator
from hpc_sr.tasks import PRE6X, S2X, S6X, S26X, Task
from hpc_sr.train.facts import laws_of

TASKS = pytest.mark.parametrize("task", [S2X, S6X, S26X, PRE6X], ids=lambda task: task.name)


def band_net(task: Task, degradation: str = "wald", family: str = "band") -> Generator:
    return network(narrow(family), task, Facts(24, laws=laws_of(degradation, task, "S2A"))).double()


def inputs_of(task: Task, side_px: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    sizes = ((len(layer.bands), side_px // layer.stride, side_px // layer.stride) for layer in task.inputs)
    return [torch.rand(1, *size, dtype=torch.float64) for size in sizes]


@TASKS
def test_the_weights_fit_every_task(task: Task) -> None:
    with torch.device("meta"):
        facts = Facts(24, laws=laws_of("wald", task, ""))
        generator = build_generator(narrow("band", width=48, blocks=6), task, facts)
        assert count_parameters(generator) == 9 * (25 * 48 + 12 * 48 * 48 + 48 * 4)
        other = build_generator(narrow("band", width=48, blocks=6), S2X, Facts(24, laws=laws_of("wald", S2X, "")))
    generator.load_state_dict(other.state_dict(), assign=True)


@TASKS
def test_one_step_reaches_every_parameter(task: Task) -> None:
    generator = band_net(task, "mtf")
    torch.cat(generator(*inputs_of(task, 24)).targets, 1).square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()] == []


@TASKS
def test_a_band_is_sharpened_as_if_it_were_alone_and_agrees_with_what_was_measured(task: Task) -> None:
    generator, inputs = band_net(task), inputs_of(task, 48)
    places = [task.inputs.index(target.coarse) for target in task.targets]
    found = generator(*inputs).targets
    turned = [x.flip(1) if k in places else x for k, x in enumerate(inputs)]
    for target, once, again, place in zip(task.targets, found, generator(*turned).targets, places, strict=True):
        torch.testing.assert_close(again.flip(1), once, rtol=0, atol=1e-12)
        seen = degraded(once, taps_of(generator.facts.laws[target.name].bands), target.scale)
        torch.testing.assert_close(seen, inputs[place], rtol=0, atol=1e-6)
    torch.nn.init.zeros_(generator.head.weight)
    silent = generator(*inputs).targets
    for k, (one, base, place) in enumerate(zip(silent, generator.bases, places, strict=True)):
        torch.testing.assert_close(one, generator.projections[k](base(inputs[place], inputs[0]), inputs[place]))
        assert not torch.allclose(one, found[k], atol=1e-3)


@pytest.mark.parametrize("task", [S2X, S6X], ids=lambda task: task.name)
def test_neither_brightness_of_the_band_nor_unit_of_the_guides_matters(task: Task) -> None:
    generator, (guides, *others, coarse) = band_net(task), inputs_of(task, 48)
    (once,) = generator(guides, *others, coarse).targets
    (brighter,) = generator(guides, *others, 3 * coarse + 0.7).targets
    torch.testing.assert_close(brighter, 3 * once + 0.7, rtol=0, atol=1e-11)
    # But for the least variance of 1 DN^2 that keeps the fit of flat ground from being anything.
    bright = 100 * guides
    (once,) = generator(bright, *others, coarse).targets
    (other_unit,) = generator(5 * bright - 0.3, *others, coarse).targets
    torch.testing.assert_close(other_unit, once, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["band", "detail"])
@pytest.mark.parametrize("task", [S2X, S6X], ids=lambda task: task.name)
def test_nothing_beyond_the_reach_matters_with_base_and_projection(family: str, task: Task) -> None:
    generator = band_net(task, family=family)
    reach_px = generator.reach.before_px + generator.reach.after_px
    unit = generator.multiple_px
    side = 2 * -(-reach_px // unit) * unit + unit
    inputs, middle = [x.requires_grad_() for x in inputs_of(task, side)], side // 2
    (target,) = generator(*inputs).targets
    target[0, :, middle, middle].sum().backward()
    farthest_px = 0
    for layer, x in zip(task.inputs, inputs, strict=True):
        if x.grad is not None:
            rows, columns = (x.grad[0] != 0).any(0).nonzero(as_tuple=True)
            for places in (rows, columns):
                ends = torch.stack([places * layer.stride, places * layer.stride + layer.stride - 1])
                farthest_px = max(farthest_px, int((ends - middle).abs().min(0).values.max()))
    assert 0.5 * reach_px <= farthest_px <= reach_px
    with torch.inference_mode():  # where the base has filters of its own
        torch.testing.assert_close(generator(*inputs).targets[0], target, rtol=0, atol=1e-9)
