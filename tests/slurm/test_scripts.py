"""The other job scripts, each submitted once for real, and training under srun without MPI."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support import TinyWorld, run_cli

from .private_cluster import PROJECT, PrivateCluster
from .training_job import Training, wait_until

_HPC_SR = Path(sys.executable).with_name("hpc-sr")


def test_evaluate_shares_the_windows_out(cluster: PrivateCluster, tiny: TinyWorld, unbroken: Training) -> None:
    args = [str(unbroken.run), "--product", *map(str, tiny.products), "--protocol", "both"]
    job = cluster.submit(PROJECT / "slurm/evaluate.sh", args=args, options=["--nodes=2"])
    assert job.exit_code == 0, job.output
    assert "[0/2]" in job.output
    for protocol in ("synthesis", "consistency"):
        scores = json.loads((unbroken.run / f"evaluate/{protocol}.json").read_text())
        assert len(scores["scenes"]) == 2 and scores["mean"]["s2x"]["total"]["rmse"] > 0


def test_infer_takes_turns_and_makes_nothing_twice(
    cluster: PrivateCluster, tiny: TinyWorld, unbroken: Training, tmp_path: Path
) -> None:
    script, images = PROJECT / "slurm/infer.sh", {tmp_path / f"{path.stem}.tif" for path in tiny.products}
    words = [str(unbroken.run), str(tmp_path), *map(str, tiny.products)]
    array = cluster.enqueue(script, args=words, options=["--array=0-1", f"--output={tmp_path}/%a.out"])
    wait_until(lambda: not cluster.run("squeue", "--noheader", f"--jobs={array}"))
    assert set(tmp_path.glob("*.tif")) == images
    for turn, product in enumerate(tiny.products):
        said = (tmp_path / f"{turn}.out").read_text()
        assert f"{product.stem}.tif" in said and tiny.products[1 - turn].stem not in said
    # Together with one that is not there, as one job of two ranks: the others are kept, and the job has failed.
    before = {image: image.stat().st_mtime_ns for image in images}
    job = cluster.submit(script, args=[*words, str(tmp_path / "absent.SAFE")], options=["--ntasks-per-node=2"])
    assert (job.state, job.exit_code) == ("FAILED", 1)
    assert job.output.count(".tif is there") == 2 and "1 products of rank 0 failed" in job.output
    assert {image: image.stat().st_mtime_ns for image in images} == before


def test_an_array_of_inference_must_count_from_0(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    words = [str(tiny.store), "nowhere", str(tiny.products[0])]
    job = cluster.submit(PROJECT / "slurm/infer.sh", args=words, options=["--array=3"])
    assert job.exit_code == 2 and "the array is not 0-N" in job.output


def test_scaling_benchmark_measures_every_point(cluster: PrivateCluster, tiny: TinyWorld, tmp_path: Path) -> None:
    env = {"RECIPE": str(tiny.recipe), "RANKS": "1 2", "OUT": str(tmp_path)}
    args = ["--steps", "2", "--rounds", "2", "train.batch_size_per_rank=4"]
    job = cluster.submit(PROJECT / "slurm/scaling_benchmark.sh", env=env, args=args)
    assert job.exit_code == 0, job.output
    points = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert set(points) == {"horovod_1", "horovod_2", "ddp_1", "ddp_2"}
    for name, point in points.items():
        assert f"{point['backend']}_{point['world_size']}" == name and point["samples_per_s"] > 0
    assert (tmp_path / "scaling.md").stat().st_size and (tmp_path / "scaling.png").stat().st_size


def test_train_s2x6_trains_for_60_m_bands_from_staged_shards(
    cluster: PrivateCluster, tiny: TinyWorld, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny60.yaml"
    recipe.write_text(
        f"""name: run
task: s6x
store: {tmp_path}/store
prepare: {{products: ["{tiny.products[0]}"], degradation: mtf, patch_px: 12, stride_px: 12}}
model: {{family: s2x, width: 16, blocks: 1}}
schedule: {{total_samples: 32}}
train: {{batch_size_per_rank: 8, runs: "{tmp_path}/runs"}}
"""
    )
    assert not run_cli("prepare", recipe)
    env = {"RECIPE": str(recipe), "HPC_SR_STAGE": str(tmp_path / "stage")}
    job = cluster.submit(PROJECT / "slurm/train_s2x6.sh", env=env)
    assert job.exit_code == 0, job.output
    environment = json.loads((tmp_path / "runs/run/environment.json").read_text())
    assert environment["world_size"] == 2
    assert environment["recipe"]["train"]["stage"] == str(tmp_path / "stage")


@pytest.mark.parametrize("backend", ["horovod", "ddp"])
def test_srun_without_mpi_trains(cluster: PrivateCluster, tiny: TinyWorld, backend: str) -> None:
    words = [f"name=plain-{backend}", "train.batch_size_per_rank=8", "schedule.total_samples=160"]
    command = ["srun", "--mpi=none", "--kill-on-bad-exit=1", "--nodes=2", "--ntasks=2", _HPC_SR, "train", tiny.recipe]
    cluster.run(*command, f"comm.backend={backend}", *words, env={"OMP_NUM_THREADS": "1"})
    run = tiny.recipe.parent / f"runs/plain-{backend}"
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["backend"], environment["world_size"]) == (backend, 2)
    assert (run / "checkpoints/step_00000010/generator.pt").is_file()
