"""A worker of an elastic run is killed: the other goes on from the last checkpoint and learns what two would have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launchers import plain_environment, processes_of, require_horovod, run_command
from support import TinyWorld

HPC_SR = Path(sys.executable).with_name("hpc-sr")
#: One global batch whatever the ranks: the one that is left accumulates.
OPTIONS = ["train.global_batch_size=16", "train.batch_size_per_rank=8", "schedule.total_samples=3200"]


def diary(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_worker_costs_no_more_than_the_last_steps(tiny: TinyWorld, tmp_path: Path) -> None:
    require_horovod()
    args = [str(HPC_SR), "train", str(tiny.recipe), *OPTIONS]
    alone = run_command([*args, "name=elastic-alone"], plain_environment())
    assert alone.returncode == 0, alone.stderr

    hosts = tmp_path / "hosts.sh"
    hosts.write_text("#!/bin/sh\necho localhost:1\necho 127.0.0.1:1\n")
    hosts.chmod(0o755)
    command = [str(HPC_SR.with_name("horovodrun")), "--gloo", "--network-interface", "lo", "-np", "2", "--min-np", "1"]
    command += ["--min-np", "1", "--max-np", "2", "--host-discovery-script", str(hosts), *args, "name=elastic"]
    mark = f"ELASTIC={tmp_path}"
    environ = plain_environment(ELASTIC=str(tmp_path), PATH=f"{HPC_SR.parent}{os.pathsep}{os.environ['PATH']}")
    with (tmp_path / "told").open("w+") as told:
        process = subprocess.Popen(command, env=environ, stdout=told, stderr=told, start_new_session=True)
        run = tiny.recipe.parent / "runs" / "elastic"
        try:
            deadline = time.monotonic() + 600
            while not (run / "checkpoints" / "step_00000020").is_dir():
                assert time.monotonic() < deadline and process.poll() is None, (tmp_path / "told").read_text()
                time.sleep(0.01)
            both = processes_of(HPC_SR, mark)
            assert len(both) == 2
            os.kill(both[1], signal.SIGKILL)
            code = process.wait(timeout=600)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, (tmp_path / "told").read_text()
    assert "resumed from" in (tmp_path / "told").read_text()
    assert json.loads((run / "environment.json").read_text())["world_size"] == 1
    ours, reference = diary(run), diary(run.with_name("elastic-alone"))
    assert [(line["kind"], line["step"], line["samples"]) for line in ours] == [
        (line["kind"], line["step"], line["samples"]) for line in reference
    ]
    assert ours[-1]["rmse"] == pytest.approx(reference[-1]["rmse"], rel=1e-2)
