"""One update: what it computes, what it leaves alone, and that nothing in it waits for the device."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import pytest
import torch
from small_training import make_step, noise_batch
from support import require
from torch.utils._python_dispatch import TorchDispatchMode

from hpc_sr.train.step import ContentStep

FUSED = ("adam", "adamw", "sgd")


def weights(step: ContentStep) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in step.forward.state_dict().items()}


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulating_parts_equals_the_whole_batch(parts: int) -> None:
    whole, accumulated = make_step("sgd"), make_step("sgd", accumulation_steps=parts)
    for seed in range(3):
        one, other = whole(noise_batch(12, seed)), accumulated(noise_batch(12, seed))
        torch.testing.assert_close(one.loss, other.loss)
        torch.testing.assert_close(one.gradient_norm, other.gradient_norm)
    for a, b in zip(whole.forward.parameters(), accumulated.forward.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_only_the_last_part_is_exchanged() -> None:
    entered = []

    class Local:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *_):
            pass

    step = make_step(accumulation_steps=3)
    replace(step, local_gradients=lambda forward: Local())(noise_batch(6))
    assert len(entered) == 2


@pytest.mark.parametrize("optimizer", [*FUSED, "nadam"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(optimizer: str, bad: float) -> None:
    step = make_step(optimizer)
    step(noise_batch(4))
    before, state = weights(step), copy.deepcopy(step.optimizer.state_dict())
    update = replace(step, loss=lambda x, y: (x * bad).mean())(noise_batch(4))
    assert not update.finite and not update.gradient_norm.isfinite()
    assert all(torch.equal(value, before[name]) for name, value in weights(step).items())
    for number, moments in step.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state["state"][number][name])), name
    assert step(noise_batch(4)).finite
    assert not all(torch.equal(value, before[name]) for name, value in weights(step).items())


@pytest.mark.parametrize("optimizer", [*FUSED, "nadam"])
def test_the_norm_is_clipped_and_reported_as_it_was(optimizer: str) -> None:
    free, clipped = make_step(optimizer), make_step(optimizer, clip_norm=1e-3)
    assert torch.equal(free(noise_batch(4)).gradient_norm, clipped(noise_batch(4)).gradient_norm)
    gradients = [p.grad for p in clipped.forward.parameters()]
    assert torch.cat([g.flatten() for g in gradients]).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_loss_scaling_steps_as_without_it_and_halves_on_overflow() -> None:
    plain, scaled = make_step("sgd"), make_step("sgd", precision="fp16")
    one, other = plain(noise_batch(4)), scaled(noise_batch(4))
    torch.testing.assert_close(one.gradient_norm, other.gradient_norm, rtol=2e-2, atol=0)
    for a, b in zip(plain.forward.parameters(), scaled.forward.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=1e-4)
    before = weights(scaled)
    update = replace(scaled, loss=lambda x, y: (x * 1e37).mean())(noise_batch(4))  # x 1024 overflows
    assert not update.finite and scaled.scaler.get_scale() == 512.0
    assert all(torch.equal(value, before[name]) for name, value in weights(scaled).items())


class _Waits(TorchDispatchMode):
    """Collects the operations for which the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item"):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", FUSED)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_operation_in_a_step_waits_for_the_device(optimizer: str, precision: str) -> None:
    step = make_step(optimizer, precision=precision, clip_norm=1.0, accumulation_steps=2)
    with _Waits() as waits:
        step(noise_batch(4))
    assert not waits.found
    with _Waits() as waits:
        float(torch.ones(1).sum())
    assert waits.found, "the probe sees nothing"


def test_a_compiled_network_learns_the_same() -> None:
    require(shutil.which("g++"), "no C++ compiler: torch.compile has nothing to build with")
    plain, compiled = make_step("sgd"), make_step("sgd")
    compiled = replace(compiled, forward=torch.compile(compiled.forward))
    for seed in range(2):
        one, other = plain(noise_batch(4, seed)), compiled(noise_batch(4, seed))
        torch.testing.assert_close(one.loss, other.loss, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.gradient_norm, other.gradient_norm, rtol=1e-3, atol=1e-4)
