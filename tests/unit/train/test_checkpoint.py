"""Checkpoints: what was saved comes back to the bit; what is torn, corrupted or too large does no harm."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_training import make_step, noise_batch
from support import require
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import CheckpointError, OutputError
from hpc_sr.models.build import count_parameters
from hpc_sr.train.checkpoint import Checkpoints, TrainState, find_damage
from hpc_sr.train.step import ContentStep
from hpc_sr.weights.card import Card
from hpc_sr.weights.folder import list_checkpoints, load_generator

FILES = ("card.json", "generator.pt", "training.pt", "state.json", "SHA256SUMS")


def trained(steps: int = 2, precision: str = "fp32", averages: bool = False) -> tuple[ContentStep, TrainState, Card]:
    step = make_step(precision=precision)
    average = AveragedModel(step.forward, multi_avg_fn=get_ema_multi_avg_fn(0.5)) if averages else None
    state = TrainState(step.forward, step.optimizer, step.scaler, average)
    model = {"family": "s2x", "width": 16, "blocks": 1}
    card = Card("s2x", 8, model, "wald", "L1C", count_parameters(step.forward), step=0, samples=0)
    go_on(step, state, steps)
    return step, state, card


def go_on(step: ContentStep, state: TrainState, steps: int) -> None:
    for _ in range(steps):
        step(noise_batch(4, seed=state.step))
        state.step, state.samples = state.step + 1, state.samples + 4
        if state.average is not None:
            state.average.update_parameters(state.generator)


def bits(state: TrainState) -> dict[str, bytes]:
    tensors = dict(state.generator.state_dict())
    if state.average is not None:
        tensors |= {f"average.{name}": value for name, value in state.average.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"{number}.{name}": value for name, value in moments.items()}
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def checkpoints(run: Path, keep: int = 2) -> Checkpoints:
    return Checkpoints(run, SerialComm(), keep)


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_was_saved_comes_back_to_the_bit_and_goes_on_alike(tmp_path, averages: bool, precision: str) -> None:
    step, state, card = trained(3, precision, averages)
    state.best, state.reductions, state.waiting_since = 12.5, 2, 8
    step.scaler.update(256.0) if precision == "fp16" else None
    checkpoints(tmp_path).save(state, card, is_best=False)
    go_on(step, state, 3)

    again, resumed, _ = trained(1, precision, averages)
    assert checkpoints(tmp_path).restore(resumed, card)
    assert (resumed.step, resumed.samples, resumed.best) == (3, 12, 12.5)
    assert (resumed.reductions, resumed.waiting_since) == (2, 8)
    go_on(again, resumed, 3)
    assert bits(resumed) == bits(state)
    assert again.scaler.state_dict() == step.scaler.state_dict()


def test_the_average_is_what_is_used_and_the_weights_go_on(tmp_path) -> None:
    _, state, card = trained(3, averages=True)
    checkpoints(tmp_path).save(state, card, is_best=True)
    used, _ = load_generator(tmp_path)
    assert same_parameters(used, state.average.module) and not same_parameters(used, state.generator)
    # A recipe may begin to average, or cease to.
    _, plain, _ = trained(1)
    checkpoints(tmp_path).restore(plain, card)
    assert same_parameters(plain.generator, state.generator)
    checkpoints(tmp_path / "plain").save(plain, card, is_best=False)
    _, averaging, _ = trained(1, averages=True)
    checkpoints(tmp_path / "plain").restore(averaging, card)
    assert same_parameters(averaging.used, plain.generator)


def same_parameters(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, name: str, harm: str) -> None:
    step, state, card = trained(2)
    keeper = checkpoints(tmp_path)
    keeper.save(state, card, is_best=False)
    expected = bits(state)
    go_on(step, state, 1)
    keeper.save(state, card, is_best=True)
    newest = list_checkpoints(tmp_path)[-1]
    spoil(newest / name, harm)

    _, resumed, _ = trained(1)
    with caplog.at_level("WARNING", logger="hpc_sr"):
        assert checkpoints(tmp_path).restore(resumed, card)
    assert resumed.step == 2 and bits(resumed) == expected
    if (name, harm) != ("card.json", "remove"):  # a folder without a card is no checkpoint at all
        assert "damaged" in caplog.text and newest.name in caplog.text
        assert newest.with_name(f"damaged_{newest.name}").is_dir()
    # What uses the run now finds the whole one, though best.json names the other.
    assert load_generator(tmp_path)[1].step == card.step


def spoil(path: Path, harm: str) -> None:
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    elif harm == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "cut" else b"")


def test_a_run_of_damaged_checkpoints_only_is_an_error(tmp_path) -> None:
    _, state, card = trained(1)
    checkpoints(tmp_path).save(state, card, is_best=False)
    spoil(list_checkpoints(tmp_path)[-1] / "training.pt", "flip")
    with pytest.raises(CheckpointError, match="none of them is whole"):
        checkpoints(tmp_path).restore(state, card)


def test_the_last_ones_and_the_best_are_kept(tmp_path) -> None:
    step, state, card = trained(0)
    keeper = checkpoints(tmp_path, keep=2)
    for number in range(1, 6):
        go_on(step, state, 1)
        keeper.save(state, card, is_best=number == 2)
    assert [folder.name[-1] for folder in list_checkpoints(tmp_path)] == ["2", "4", "5"]
    assert all(find_damage(folder) is None for folder in list_checkpoints(tmp_path))
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=list_checkpoints(tmp_path)[0], capture_output=True)
    assert done.returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for one checkpoint and a half."""
    require(os.geteuid() == 0, "not root: no file system of its own can be mounted")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(small_disk: Path) -> None:
    step, state, card = trained(1)
    keeper = checkpoints(small_disk)
    keeper.save(state, card, is_best=True)
    expected = bits(state)
    saved = 0
    with pytest.raises(OutputError, match="older checkpoints are whole.*\n.*free disk space"):
        while saved < 10:
            go_on(step, state, 1)
            keeper.save(state, card, is_best=False)
            saved += 1
    there = list_checkpoints(small_disk)
    assert there and all(find_damage(folder) is None for folder in there)
    assert not list((small_disk / "checkpoints").glob(".*")), "something half-written is left"
    assert json.loads((small_disk / "checkpoints" / "best.json").read_text())["checkpoint"] == "step_00000001"
    _, resumed, _ = trained(1)
    assert checkpoints(small_disk).restore(resumed, card) and resumed.step == 1 + saved
    assert saved or bits(resumed) == expected


def test_a_plateau_is_counted_in_samples_since_the_last_gain_or_reduction() -> None:
    _, state, _ = trained(0)
    told = []
    for samples, rmse in ((10, 5.0), (20, 6.0), (29, 5.5), (31, 5.4), (39, 5.3), (42, 4.0), (60, 4.0)):
        state.samples = samples
        told.append((state.improves(rmse, patience_samples=20), state.reductions))
    assert told == [(True, 0), (False, 0), (False, 0), (False, 1), (False, 1), (True, 1), (False, 1)]
    state.samples = 62
    assert not state.improves(4.0, patience_samples=20) and state.reductions == 2
    state.samples = 1000
    assert not state.improves(4.0, patience_samples=None) and state.reductions == 2
