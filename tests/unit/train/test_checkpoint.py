"""Checkpoints: what was saved comes back to the bit; what is torn, corrupted or too large does no harm."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_networks import as_trained, narrow
from small_training import make_content, noise_batch, step
from support import require
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import CheckpointError, OutputError
from hpc_sr.train.checkpoint import Checkpoints
from hpc_sr.train.objective import Content
from hpc_sr.train.state import Clock, TrainState
from hpc_sr.weights.card import Card
from hpc_sr.weights.folder import find_checkpoint, find_damage, list_checkpoints
from hpc_sr.weights.trained import load_trained

FILES = ("card.json", "generator.pt", "training.pt", "state.json", "SHA256SUMS")
#: What is asked of a run that is used, as opposed to one that goes on.
USED = ("card.json", "generator.pt")


def trained(
    steps: int = 2, precision: str = "fp32", averages: bool = False, best_by: str | None = "rmse"
) -> tuple[Content, TrainState, Card]:
    content = make_content(precision=precision)
    average = AveragedModel(content.player.network, multi_avg_fn=get_ema_multi_avg_fn(0.5)) if averages else None
    state = TrainState(content.players, average, Clock(best_by=best_by))
    card = as_trained(state.generator, narrow()).card
    go_on(content, state, steps)
    return content, state, card


def go_on(content: Content, state: TrainState, steps: int) -> None:
    for _ in range(steps):
        step(content, noise_batch(4, seed=state.clock.step))
        state.advance(state.clock.samples + 4)


def save(keeper: Checkpoints, state: TrainState, card: Card, **scores: float | None) -> Path:
    """Save as the loop does, after a validation if there are scores; return the folder."""
    if scores:
        state.clock.improves(scores, patience_samples=None)
    keeper.save(state, replace(card, step=state.clock.step, samples=state.clock.samples))
    return keeper._folder / f"step_{state.clock.step:08d}"


def bits(state: TrainState) -> dict[str, bytes]:
    tensors = dict(state.generator.state_dict())
    if state.average is not None:
        tensors |= {f"average.{name}": value for name, value in state.average.state_dict().items()}
    for number, moments in state.players[0].optimizer.state_dict()["state"].items():
        tensors |= {f"{number}.{name}": value for name, value in moments.items()}
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def checkpoints(run: Path, keep: int = 2) -> Checkpoints:
    return Checkpoints(run, SerialComm(), keep)


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_was_saved_comes_back_to_the_bit_and_goes_on_alike(tmp_path, averages: bool, precision: str) -> None:
    content, state, card = trained(3, precision, averages)
    state.clock.best, state.clock.score, state.clock.reductions, state.clock.waiting_since = 12.5, 13.0, 2, 8
    content.player.scaler.update(256.0) if precision == "fp16" else None
    checkpoints(tmp_path).save(state, card)
    go_on(content, state, 3)

    again, resumed, _ = trained(1, precision, averages)
    assert checkpoints(tmp_path).restore(resumed, card)
    assert resumed.clock == Clock(3, 12, "rmse", 12.5, 13.0, reductions=2, waiting_since=8)
    go_on(again, resumed, 3)
    assert bits(resumed) == bits(state)
    assert again.player.scaler.state_dict() == content.player.scaler.state_dict()


def test_the_average_is_what_is_used_and_the_weights_go_on(tmp_path) -> None:
    _, state, card = trained(3, averages=True)
    save(checkpoints(tmp_path), state, card, rmse=1.0)
    used = load_trained(tmp_path).generator
    assert same_parameters(used, state.average.module) and not same_parameters(used, state.generator)
    # A recipe may begin to average, or cease to.
    _, plain, _ = trained(1)
    checkpoints(tmp_path).restore(plain, card)
    assert same_parameters(plain.generator, state.generator)
    checkpoints(tmp_path / "plain").save(plain, card)
    _, averaging, _ = trained(1, averages=True)
    checkpoints(tmp_path / "plain").restore(averaging, card)
    assert same_parameters(averaging.used, plain.generator)


def same_parameters(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, caplog, name: str, harm: str) -> None:
    content, state, card = trained(2)
    keeper = checkpoints(tmp_path)
    save(keeper, state, card, rmse=2.0)
    expected = bits(state)
    go_on(content, state, 1)
    newest = save(keeper, state, card, rmse=1.0)
    assert find_checkpoint(tmp_path) == newest
    spoil(newest / name, harm)
    if name in USED:
        # Whoever only uses the run is told: nothing is put aside for him, and nothing else taken in silence.
        with pytest.raises(CheckpointError, match=newest.name):
            load_trained(tmp_path)

    _, resumed, _ = trained(1)
    with caplog.at_level("WARNING", logger="hpc_sr"):
        assert checkpoints(tmp_path).restore(resumed, card)
    assert resumed.clock.step == 2 and bits(resumed) == expected
    assert "damaged" in caplog.text and newest.name in caplog.text
    assert newest.with_name(f"damaged_{newest.name}").is_dir()
    # What uses the run now finds the whole one, though the other had the better score.
    assert load_trained(tmp_path).card.step == 2


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
    checkpoints(tmp_path).save(state, card)
    spoil(list_checkpoints(tmp_path)[-1] / "training.pt", "flip")
    for _ in range(2):  # the second time it is aside already: nothing begins anew until somebody has looked
        with pytest.raises(CheckpointError, match="none of them is whole.*\n.*to start anew remove them"):
            checkpoints(tmp_path).restore(state, card)
    (tmp_path / "checkpoints" / "damaged_step_00000001").rename(tmp_path / "looked_at")
    assert not checkpoints(tmp_path).restore(state, card)


def test_the_last_ones_and_the_best_are_kept(tmp_path) -> None:
    content, state, card = trained(0)
    keeper = checkpoints(tmp_path, keep=2)
    for number in range(1, 6):
        go_on(content, state, 1)
        save(keeper, state, card, rmse=abs(number - 2))
    assert [folder.name[-1] for folder in list_checkpoints(tmp_path)] == ["2", "4", "5"]
    assert all(find_damage(folder) is None for folder in list_checkpoints(tmp_path))
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=list_checkpoints(tmp_path)[0], capture_output=True)
    assert done.returncode == 0


#: Scores of five checkpoints, the fourth not validated; the best of each by the score that chooses.
SCORES = {
    "rmse": ((5.0, 3.0, 4.0, None, 3.5), 2),
    "sam": ((5.0, 3.0, 4.0, None, 2.5), 5),
    "psnr": ((20.0, 31.0, 33.0, None, 32.0), 3),
    "ssim": ((0.9, 0.7, None, None, 0.8), 1),  # None: the patches are smaller than its window
    None: ((5.0, 3.0, 4.0, None, 3.5), 5),
}


@pytest.mark.parametrize("best_by", SCORES)
def test_the_best_is_what_the_clocks_of_those_that_are_there_say(tmp_path, best_by: str | None) -> None:
    """So whatever a kill leaves, between the renames or in the middle of the pruning, no older word is believed."""
    content, state, card = trained(0, best_by=best_by)
    scores, best = SCORES[best_by]
    keeper = checkpoints(tmp_path, keep=9)
    for score in scores:
        go_on(content, state, 1)
        told = {} if score is None and best_by != "ssim" else {best_by or "rmse": score}
        save(keeper, state, card, **told)
    assert find_checkpoint(tmp_path).name == f"step_{best:08d}"
    assert load_trained(tmp_path).card.step == best
    # A word from a run of before, and the half of a checkpoint, say nothing.
    (tmp_path / "checkpoints" / "best.json").write_text('{"checkpoint": "step_00000004", "rmse": 0.1}')
    (tmp_path / "checkpoints" / ".step_00000006.partial").mkdir()
    told = list_checkpoints(tmp_path)[3] / "state.json"
    clock = json.loads(told.read_text())
    told.write_text(json.dumps(clock | {"best_by": best_by, "score": 1e9 if best_by in ("psnr", "ssim") else 0.0}))
    assert find_checkpoint(tmp_path).name == f"step_{best:08d}"
    for folder in list_checkpoints(tmp_path):
        if folder.name != "step_00000004":
            folder.rename(tmp_path / folder.name)
    assert load_trained(tmp_path).card.step == 4, "the only one that is there"


def test_what_others_are_writing_is_left_alone(tmp_path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    host, folder = socket.gethostname(), tmp_path / "checkpoints"
    dead = folder / f".step_00000009.{host}-{ended.pid}.partial"
    stay = [folder / f".step_00000009.{who}.partial" for who in (f"{host}-{os.getpid()}", f"elsewhere-{ended.pid}")]
    for partial in (dead, *stay):
        partial.mkdir(parents=True)
    _, state, card = trained(1)
    save(checkpoints(tmp_path), state, card)
    assert not dead.exists() and all(partial.exists() for partial in stay)


def test_another_score_forgets_what_was_best_by_the_one_before(tmp_path) -> None:
    content, state, card = trained(1)
    save(checkpoints(tmp_path), state, card, rmse=30.0)
    content, state, _ = trained(0, best_by="psnr")
    assert checkpoints(tmp_path).restore(state, card)
    assert (state.clock.step, state.clock.best, state.clock.best_by) == (1, None, "psnr")
    go_on(content, state, 1)
    save(checkpoints(tmp_path), state, card, rmse=31.0, psnr=5.0)
    go_on(content, state, 1)
    save(checkpoints(tmp_path), state, card, rmse=32.0, psnr=4.0)
    assert load_trained(tmp_path).card.step == 2


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
    content, state, card = trained(1)
    keeper = checkpoints(small_disk)
    save(keeper, state, card, rmse=1.0)
    expected = bits(state)
    saved = 0
    with pytest.raises(OutputError, match="older checkpoints are whole.*\n.*free disk space"):
        while saved < 10:
            go_on(content, state, 1)
            save(keeper, state, card, rmse=2.0)
            saved += 1
    there = list_checkpoints(small_disk)
    assert there and all(find_damage(folder) is None for folder in there)
    assert not list((small_disk / "checkpoints").glob(".*")), "something half-written is left"
    assert load_trained(small_disk).card.step == 1
    _, resumed, _ = trained(1)
    assert checkpoints(small_disk).restore(resumed, card) and resumed.clock.step == 1 + saved
    assert saved or bits(resumed) == expected


def test_a_file_that_does_not_reach_the_disk_fails_the_checkpoint(tmp_path, monkeypatch) -> None:
    """A system tells of it once, to whoever flushed the file, though that was not the last to do so."""
    _, state, card = trained(1)
    keeper, flush, told = checkpoints(tmp_path), os.fsync, []

    def lose_the_first(descriptor: int) -> None:
        if not told:
            told.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            raise OSError(errno.EIO, "input/output error")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", lose_the_first)
    with pytest.raises(OutputError, match="input/output error"):
        keeper.save(state, card)
    assert told[0].endswith("training.pt") and not list((tmp_path / "checkpoints").iterdir())


def test_a_plateau_is_counted_in_samples_since_the_last_gain_or_reduction() -> None:
    clock, told = Clock(best_by="rmse"), []
    for samples, rmse in ((10, 5.0), (20, 6.0), (29, 5.5), (31, 5.4), (39, 5.3), (42, 4.0), (60, 4.0)):
        clock.samples = samples
        told.append((clock.improves({"rmse": rmse}, patience_samples=20), clock.reductions))
    assert told == [(True, 0), (False, 0), (False, 0), (False, 1), (False, 1), (True, 1), (False, 1)]
    clock.samples = 62
    assert not clock.improves({"rmse": 4.0}, patience_samples=20) and clock.reductions == 2
    clock.samples = 1000
    assert not clock.improves({"rmse": 4.0}, patience_samples=None) and clock.reductions == 2


def test_a_step_forgets_the_score_of_the_one_before() -> None:
    clock = Clock(best_by="psnr")
    told = []
    for psnr in (30.0, 31.0, 29.0, None):
        clock.advance(clock.samples + 8)
        assert clock.score is None
        told.append((clock.improves({"psnr": psnr, "rmse": 1.0}, None), clock.score, clock.best))
    assert told == [(True, 30.0, 30.0), (True, 31.0, 31.0), (False, 29.0, 31.0), (False, None, 31.0)]
    assert json.loads(json.dumps(clock.state_dict())) == clock.state_dict()
