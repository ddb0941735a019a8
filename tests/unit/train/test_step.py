"""One update: what it computes, what it leaves alone, and that nothing in it waits for the device."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import pytest
import torch
from small_training import Waits, make_content, noise_batch, small_generator, step
from support import require

from hpc_sr.losses.content import l1
from hpc_sr.tasks import S26X
from hpc_sr.train.objective import Content

FUSED = ("adam", "adamw", "sgd")


def weights(content: Content) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in content.player.network.state_dict().items()}


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulating_parts_equals_the_whole_batch(parts: int) -> None:
    whole, accumulated = make_content("sgd"), make_content("sgd", parts=parts)
    for seed in range(3):
        one, other = step(whole, noise_batch(12, seed)), step(accumulated, noise_batch(12, seed))
        assert one.terms.keys() == {"loss", "gradient_norm"}
        torch.testing.assert_close(one.terms, other.terms)
    for a, b in zip(whole.player.network.parameters(), accumulated.player.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_only_the_last_part_is_exchanged() -> None:
    entered = []

    class Local:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *_):
            pass

    content = make_content(parts=3, local_gradients=lambda forward: Local())
    step(content, noise_batch(6))
    assert len(entered) == 2


@pytest.mark.parametrize("optimizer", [*FUSED, "nadam"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(optimizer: str, bad: float) -> None:
    content = make_content(optimizer)
    step(content, noise_batch(4))
    before, state = weights(content), copy.deepcopy(content.player.optimizer.state_dict())
    update = step(replace(content, loss=lambda x, y: (x * bad).mean()), noise_batch(4))
    assert not update.finite and not update.terms["gradient_norm"].isfinite()
    assert all(torch.equal(value, before[name]) for name, value in weights(content).items())
    for number, moments in content.player.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state["state"][number][name])), name
    assert step(content, noise_batch(4)).finite
    assert not all(torch.equal(value, before[name]) for name, value in weights(content).items())


@pytest.mark.parametrize("optimizer", [*FUSED, "nadam"])
def test_the_norm_is_clipped_and_reported_as_it_was(optimizer: str) -> None:
    free, clipped = make_content(optimizer), make_content(optimizer, clip_norm=1e-3)
    one, other = step(free, noise_batch(4)), step(clipped, noise_batch(4))
    assert torch.equal(one.terms["gradient_norm"], other.terms["gradient_norm"])
    gradients = [p.grad for p in clipped.player.network.parameters()]
    assert torch.cat([g.flatten() for g in gradients]).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_loss_scaling_steps_as_without_it_and_halves_on_overflow() -> None:
    plain, scaled = make_content("sgd"), make_content("sgd", precision="fp16")
    one, other = step(plain, noise_batch(4)), step(scaled, noise_batch(4))
    torch.testing.assert_close(one.terms["gradient_norm"], other.terms["gradient_norm"], rtol=2e-2, atol=0)
    for a, b in zip(plain.player.network.parameters(), scaled.player.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=1e-4)
    before = weights(scaled)
    update = step(replace(scaled, loss=lambda x, y: (x * 1e37).mean()), noise_batch(4))  # x 1024 overflows
    assert not update.finite and scaled.player.scaler.get_scale() == 512.0
    assert all(torch.equal(value, before[name]) for name, value in weights(scaled).items())


def test_the_loss_is_the_weighted_sum_over_the_targets_by_name() -> None:
    batch = noise_batch(4, task=S26X, patch_px=12)
    told = {"target20": 0.5, "target60": 3.0}
    content = make_content(generator=small_generator(task=S26X, patch_px=12), weights=told, parts=2)
    seen = batch.in_network_units(content.player.network.units, augment=True)
    with torch.no_grad():
        estimates = content.player.network(*(seen.layers[layer.name] for layer in S26X.inputs)).targets
    expected = {
        target.name: told[target.name] * l1(estimate, seen.layers[target.name])
        for target, estimate in zip(S26X.targets, estimates, strict=True)
    }
    update = step(content, batch)
    assert update.terms.keys() == {"loss", "gradient_norm", *expected}
    for name, value in (expected | {"loss": sum(expected.values())}).items():
        torch.testing.assert_close(update.terms[name], value, rtol=1e-5, atol=1e-6)
    assert all(p.grad is not None for p in content.player.network.parameters())


def test_a_frozen_player_passes_gradients_on_and_takes_none() -> None:
    player = make_content().player
    player.network.fuse.bias.requires_grad_(False)  # what was not trained before is not trained after
    learns = [p for p in player.network.parameters() if p.requires_grad]
    inputs = [torch.rand(1, *player.network.task.shape(layer, 8)) for layer in player.network.task.inputs]
    inputs[0].requires_grad_()
    with player.frozen() as network:
        assert network is player.network
        network(*inputs).targets[0].square().mean().backward()
    assert inputs[0].grad.abs().max() > 0
    assert all(p.grad is None for p in player.network.parameters())
    assert [p for p in player.network.parameters() if p.requires_grad] == learns
    with pytest.raises(KeyError), player.frozen():
        raise KeyError
    assert all(p.requires_grad for p in learns)


@pytest.mark.parametrize("optimizer", FUSED)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_operation_in_a_step_waits_for_the_device(optimizer: str, precision: str) -> None:
    content = make_content(optimizer, precision=precision, clip_norm=1.0, parts=2)
    with Waits() as waits:
        step(content, noise_batch(4))
    assert not waits.found
    with Waits() as waits:
        float(torch.ones(1).sum())
    assert waits.found, "the probe sees nothing"


def test_a_compiled_network_learns_the_same() -> None:
    require(shutil.which("g++"), "no C++ compiler: torch.compile has nothing to build with")
    plain, compiled = make_content("sgd"), make_content("sgd")
    compiled = replace(compiled, player=replace(compiled.player, forward=torch.compile(compiled.player.forward)))
    for seed in range(2):
        one, other = step(plain, noise_batch(4, seed)).terms, step(compiled, noise_batch(4, seed)).terms
        torch.testing.assert_close(one["loss"], other["loss"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one["gradient_norm"], other["gradient_norm"], rtol=1e-3, atol=1e-4)
