"""Recording a few steps: files that say where the time goes, and a run that learns what it would learn anyway."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from made_store import made_recipe, made_store, train_lines

from hpc_sr.cli.train import train_recipe
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.tasks import S2X
from hpc_sr.train.profile import BEFORE_STEPS, STEPS

MODEL = {"family": "dsen2", "width": 16, "blocks": 1}


def test_ten_steps_are_recorded_and_nothing_else_changes(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", S2X, 16, rows=16, held_out=4)
    samples = 8 * (BEFORE_STEPS + STEPS + 1)
    recipe = made_recipe(tmp_path / "run", store, MODEL, samples)
    assert train_recipe(recipe, SerialComm(), profile=True).finished
    folder = tmp_path / "run" / "profile"
    assert {path.name for path in folder.iterdir()} == {"trace.json.gz", "operators.txt"}
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    steps = [event for event in events if event.get("name", "").startswith("Optimizer.step")]
    assert len(steps) == STEPS
    assert "aten::convolution_backward" in (folder / "operators.txt").read_text()
    plain = train_lines(made_recipe(tmp_path / "plain", store, MODEL, samples))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if line["kind"] == "train"] == [line["loss"] for line in plain]


def test_a_run_that_ends_before_leaves_nothing(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", S2X, 16, rows=16, held_out=4)
    recipe = made_recipe(tmp_path / "run", store, MODEL, 8 * (BEFORE_STEPS + 2))
    assert train_recipe(recipe, SerialComm(), profile=True).finished
    assert not (tmp_path / "run" / "profile").exists()
