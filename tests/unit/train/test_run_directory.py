"""A run directory: one command at a time, nothing touched before all is checked, changes told or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_store import made_store

from hpc_sr.cli.train import train_recipe
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.config import parse
from hpc_sr.errors import ArchitectureError, DegradationError, HpcSrError, OutputError, RecipeError
from hpc_sr.recipe import Recipe, load_run_recipe
from hpc_sr.tasks import S2X
from hpc_sr.train.stop import StopFlag
from hpc_sr.weights.trained import load_trained


def recipe(folder: Path, **changes: dict[str, Any]) -> Recipe:
    store = folder / "store"
    if not store.exists():
        made_store(store, S2X, 16, rows=16, held_out=4)
    sections: dict[str, Any] = {
        "name": "run",
        "task": "s2x",
        "store": str(store),
        "model": {"family": "dsen2", "width": 16, "blocks": 1},
        "optimizer": {"base_lr": 1e-3},
        "schedule": {"total_samples": 32, "lr_scaling": "none"},
        "train": {"batch_size_per_rank": 8, "precision": "fp32", "runs": str(folder / "runs"), "log_every_steps": 1},
    }
    for name, change in changes.items():
        sections[name] = {**sections.get(name, {}), **change} if isinstance(change, dict) else change
    return parse(Recipe, sections, "test")


def kept(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("recipe.yaml", "environment.json", "metrics.jsonl")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_recipe(recipe(folder), SerialComm())
    return folder


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"model": {"width": 32}}, ArchitectureError, "model.width"),
        (
            {"prepare": {"products": ["x"], "patch_px": 16, "stride_px": 16, "degradation": "mtf"}},
            DegradationError,
            "mtf",
        ),
        ({"optimizer": {"base_lr": 2e-3}}, RecipeError, "optimizer.base_lr 0.001 -> 0.002"),
        ({"optimizer": {"name": "sgd"}}, RecipeError, "start_from"),
        ({"train": {"seed": 1}}, RecipeError, "--allow-change"),
        ({"train": {"ema_samples": 8}}, RecipeError, "train.ema_samples"),
        ({"objective": {"content": "charbonnier"}}, RecipeError, "objective.content"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_refused_command_leaves_a_run_as_it_is(trained, changes, error, told) -> None:
    run = trained / "runs" / "run"
    before = kept(run)
    with pytest.raises(error) as raised:
        train_recipe(recipe(trained, schedule={"total_samples": 64}, **changes), SerialComm())
    assert told in str(raised.value) and kept(run) == before


def test_a_finished_run_is_not_described_anew(trained) -> None:
    before = kept(trained / "runs" / "run")
    assert train_recipe(recipe(trained, train={"log_every_steps": 2}), SerialComm()).finished
    assert kept(trained / "runs" / "run") == before


def test_allowed_changes_are_written_down_where_they_begin(tmp_path) -> None:
    train_recipe(recipe(tmp_path), SerialComm())
    changed = recipe(tmp_path, schedule={"total_samples": 64}, optimizer={"base_lr": 2e-3}, train={"seed": 3})
    train_recipe(changed, SerialComm(), allow_change=True)
    run = tmp_path / "runs" / "run"
    (line,) = [json.loads(text) for text in (run / "changes.jsonl").read_text().splitlines()]
    assert (
        line["step"] == 4 and line["changes"]["optimizer.base_lr"] == [1e-3, 2e-3] and "train.seed" in line["changes"]
    )
    assert load_run_recipe(run).optimizer.base_lr == 2e-3 and load_trained(run).card.step == 8


def test_settings_that_decide_nothing_may_change(tmp_path) -> None:
    train_recipe(recipe(tmp_path), SerialComm())
    longer = recipe(tmp_path, schedule={"total_samples": 64}, train={"keep_checkpoints": 3, "batch_size_per_rank": 4})
    assert train_recipe(longer, SerialComm()).finished


def test_a_run_that_is_refused_before_it_began_leaves_nothing(tmp_path) -> None:
    with pytest.raises(HpcSrError):
        train_recipe(recipe(tmp_path, objective={"start_from": str(tmp_path / "absent")}), SerialComm())
    assert not (tmp_path / "runs" / "run" / "recipe.yaml").exists()


def test_one_command_at_a_time_and_a_kill_lets_go(trained, monkeypatch) -> None:
    monkeypatch.setattr("hpc_sr.run_directory._PATIENCE_S", 0.2)
    run = trained / "runs" / "run"
    script = (
        "import sys, time; from pathlib import Path; from hpc_sr.locks import lock\n"
        "held = lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(run / ".lock")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        before = kept(run)
        with pytest.raises(OutputError, match=f"process {holder.pid} ") as raised:
            train_recipe(recipe(trained, schedule={"total_samples": 64}), SerialComm())
        assert "another run name" in str(raised.value) and kept(run) == before
    finally:
        holder.kill()
        holder.wait()
    stop = StopFlag()
    stop.requested = True
    assert not train_recipe(recipe(trained, schedule={"total_samples": 64}), SerialComm(), stop).finished
    assert not (run / ".lock").exists()
