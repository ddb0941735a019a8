"""A point of a scaling curve: measured by the trainer's own loop, on any launch, of a store or of noise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from parallel.launchers import require_launcher, run_ranks
from support import TinyWorld, run_cli

from hpc_sr.bench.noise import patches_of_noise
from hpc_sr.bench.scaling import measure_point
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import RecipeError
from hpc_sr.recipe import load_recipe
from hpc_sr.report.scaling import read_points, write_scaling
from hpc_sr.tasks import S2X, S6X

HPC_SR = Path(sys.executable).with_name("hpc-sr")


@pytest.mark.parametrize(("task", "patch_px"), [(S2X, 32), (S6X, 96)])
def test_noise_has_the_shape_of_a_tasks_patches(tmp_path, task, patch_px):
    patches = patches_of_noise(tmp_path, task, patch_px, 8)
    taken = patches.take(np.arange(8))
    assert {name: values.shape for name, values in taken.items()} == {
        layer.name: (8, *task.shape(layer, patch_px)) for layer in task.layers
    }
    assert all(np.ptp(values) > 9000 for values in taken.values())


def test_a_point_says_what_was_measured_and_its_numbers_hang_together(tiny: TinyWorld):
    recipe = load_recipe(tiny.recipe, ["train.accumulation_steps=2", "train.batch_size_per_rank=8"])
    point = measure_point(recipe, SerialComm(), steps=3, rounds=2)
    assert (point["backend"], point["world_size"], point["nodes"]) == ("serial", 1, 1)
    assert (point["global_batch_size"], point["batch_size_per_rank"], point["accumulation_steps"]) == (16, 8, 2)
    assert point["data"] == str(tiny.store)
    least, most = point["samples_per_s_min_max"]
    assert 0 < least <= point["samples_per_s"] <= most
    shares = point["shares"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["compute"] > 0.5 and shares["communication"] == 0.0
    assert point["flops_per_s_per_rank"] == pytest.approx(point["flops_per_sample"] * point["samples_per_s"])
    assert point["peak_host_bytes"] > 2**26
    assert point["setting"]["precision"] == "fp32"
    assert point["environment"]["recipe"]["name"] == "tiny"
    assert not Path(recipe.run_directory).exists(), "nothing is kept"


def test_without_a_store_noise_takes_its_place_and_a_strangers_store_is_refused(tiny: TinyWorld, tmp_path):
    recipe = load_recipe(tiny.recipe, [f"store={tmp_path}/none", "schedule.total_samples=16"])
    assert measure_point(recipe, SerialComm(), steps=1, rounds=1)["data"] == "noise"
    with pytest.raises(RecipeError, match="task 's2x'"):
        measure_point(
            load_recipe(tiny.recipe, ["task=s6x", "prepare.patch_px=24", "prepare.stride_px=24"]), SerialComm(), 1, 1
        )


def test_the_verb_writes_a_point_or_says_why_not(tiny: TinyWorld, tmp_path, capsys):
    out = tmp_path / "one.json"
    options = ["--steps", 2, "--rounds", 1]
    assert not run_cli("benchmark", tiny.recipe, "--out", out, "name=other", *options)
    assert str(out) in capsys.readouterr().out
    assert json.loads(out.read_text())["setting"]["recipe"] == "other"
    assert run_cli("benchmark", tiny.recipe, "--out", tmp_path / "no" / "one.json", *options) == 2


def test_two_ranks_give_one_point(tiny: TinyWorld, tmp_path):
    """Horovod's points are measured in the tests of slurm/scaling_benchmark.sh."""
    launcher, backend = "torchrun", "ddp"
    require_launcher(launcher)
    for ranks in (1, 2):
        args = ["benchmark", str(tiny.recipe), "--out", str(tmp_path / f"{ranks}.json"), f"comm.backend={backend}"]
        done = run_ranks(launcher, HPC_SR, [*args, "--steps", "2", "--rounds", "2"], ranks=ranks)
        assert done.returncode == 0, done.stderr
    one, two = read_points(tmp_path)
    assert (two.backend, two.ranks, two.content["launcher"]) == (backend, 2, launcher)
    assert two.content["global_batch_size"] == 2 * one.content["global_batch_size"]
    assert two.efficiency == pytest.approx(two.samples_per_s / one.samples_per_s / 2)
    assert 0 < two.content["shares"]["communication"] < 1
    assert all(path.exists() for path in write_scaling(tmp_path, [one, two]))
