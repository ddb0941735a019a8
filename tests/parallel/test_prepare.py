"""`hpc-sr prepare` gives the same store however it is run: on several ranks, in parts, killed and run again."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from launchers import plain_environment, require_launcher, run_command, run_ranks
from stores import content, files
from support import require

HPC_SR = Path(sys.executable).with_name("hpc-sr")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four products that can be used, of different sizes, and one that cannot."""
    from data_prep.synthetic import landscape, write_product

    folder = tmp_path_factory.mktemp("products")
    for seed, (tile, size_px) in enumerate([("33UUB", 240), ("32TQM", 180), ("31UFS", 360), ("33TWM", 240)]):
        write_product(folder, landscape(size_px, seed), tile=tile)
    broken = write_product(folder, landscape(240, 9), tile="29SQB")
    next(broken.rglob("*_B05*.jp2")).write_bytes(b"")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"""name: four
task: s2x
store: {folder / "serial"}
prepare:
  products: ["{folder}/*.SAFE"]
  degradation: wald
  patch_px: 16
  stride_px: 4
  shard_rows: 512
  split: {{validation: [32TQM]}}
"""
    )
    return recipe


@pytest.fixture(scope="module")
def serial(recipe: Path) -> Path:
    """The store that one undisturbed process makes, started by its other name."""
    done = run_command([sys.executable, "-m", "data_prep", str(recipe)], plain_environment())
    assert done.returncode == 0, done.stderr
    assert "of 4 products, 1 skipped" in done.stdout
    return recipe.with_name("serial")


def require_mpi() -> None:
    require_launcher("mpirun")
    require(importlib.util.find_spec("mpi4py"), "mpi4py is not installed")


def check_same(store: Path, serial: Path) -> None:
    assert content(store) == content(serial)
    assert files(store) == files(serial)


def test_any_number_of_ranks_makes_the_same_store(recipe: Path, serial: Path, tmp_path: Path) -> None:
    require_mpi()
    done = run_ranks("mpirun", HPC_SR, ["prepare", str(recipe), f"store={tmp_path}"], ranks=3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of 4 products, 1 skipped") == 1
    assert "5/5 products (100 %)" in done.stderr
    check_same(tmp_path, serial)


def at_once(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Return code, output and log of commands that run at the same time."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, env=plain_environment(), **pipes) for command in commands]
    told = [process.communicate(timeout=600) for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, told, strict=True)]


def test_parts_that_are_made_at_once_are_collected(recipe: Path, serial: Path, tmp_path: Path) -> None:
    command = [str(HPC_SR), "prepare", str(recipe), f"store={tmp_path}"]
    parts = ("1/3", "0/3", "2/3")
    for part, (code, output, log) in zip(parts, at_once([[*command, "--share", p] for p in parts]), strict=True):
        assert code == 0 and f"part {part} is done" in output, log
    assert not (tmp_path / "manifest.json").exists()
    done = run_command(command, plain_environment())
    assert done.returncode == 0, done.stderr
    assert "4 of 5 are finished and kept" in done.stderr
    check_same(tmp_path, serial)


def test_commands_at_once_wait_for_each_other(recipe: Path, serial: Path, tmp_path: Path) -> None:
    command = [str(HPC_SR), "prepare", str(recipe), f"store={tmp_path}"]
    for code, output, log in at_once([command] * 3):
        assert code == 0 and "of 4 products, 1 skipped" in output, log
    check_same(tmp_path, serial)


def count(store: Path, pattern: str) -> int:
    return len(list(store.glob(pattern)))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "writing a part": lambda store: count(store, "parts/.*.partial") > 0,
    "a product finished": lambda store: count(store, "records/*.json") >= 1,
    "three products finished": lambda store: count(store, "records/*.json") >= 3,
    "mixing": lambda store: count(store, "shards/.train*") + count(store, "shards/train*") > 0,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_run_again_makes_the_same_store(recipe: Path, serial: Path, tmp_path: Path, moment: str) -> None:
    for attempt in range(5):  # a fast machine may be through before the signal comes
        store = tmp_path / f"store_{attempt}"
        command = [str(HPC_SR), "prepare", str(recipe), f"store={store}"]
        if killed_at(command, lambda store=store: MOMENTS[moment](store)):
            break
    else:
        pytest.fail(f"it was over five times before it could be killed while {moment}")
    before = {path: path.stat().st_mtime_ns for path in store.glob("records/*.json")}
    done = run_command(command, plain_environment())
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was finished is kept"
    check_same(store, serial)


def killed_at(command: list[str], moment: Callable[[], bool], timeout_s: float = 600) -> bool:
    """Return whether the command could be killed when the moment had come."""
    process = subprocess.Popen(command, env=plain_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + timeout_s
    while not moment() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.kill()
    return process.wait() == -signal.SIGKILL


def test_ranks_killed_again_and_again_get_there(recipe: Path, serial: Path, tmp_path: Path) -> None:
    require_mpi()
    arguments = ["prepare", str(recipe), f"store={tmp_path}"]
    for limit_s in (1.2, 1.5, 1.8, 2.1):
        with contextlib.suppress(subprocess.TimeoutExpired):
            run_ranks("mpirun", HPC_SR, arguments, timeout_s=limit_s)
    done = run_ranks("mpirun", HPC_SR, arguments)
    assert done.returncode == 0, done.stderr
    check_same(tmp_path, serial)


def test_ranks_verify_together_and_name_every_damaged_file(serial: Path, tmp_path: Path) -> None:
    require_mpi()
    store = tmp_path / "store"
    shutil.copytree(serial, store)
    done = run_ranks("mpirun", HPC_SR, ["verify", str(store)])
    assert done.returncode == 0 and "files are as they were written" in done.stdout, done.stderr
    first, second = sorted(store.glob("shards/*.h5"))[:2]
    flipped = bytearray(first.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    first.write_bytes(flipped)
    second.write_bytes(second.read_bytes()[:-1])
    done = run_ranks("mpirun", HPC_SR, ["verify", str(store)])
    assert done.returncode != 0
    damaged = [line for line in done.stdout.splitlines() if line.startswith("damaged: ")]
    assert len(damaged) == 2 and first.name in done.stdout and second.name in done.stdout, done.stdout


def test_a_broken_product_may_be_fatal_on_any_rank(recipe: Path, tmp_path: Path) -> None:
    require_mpi()
    arguments = ["prepare", str(recipe), f"store={tmp_path}", "prepare.bad_products=fail"]
    done = run_ranks("mpirun", HPC_SR, arguments)
    assert done.returncode != 0 and "29SQB" in done.stderr, done.stderr
    assert not (tmp_path / "manifest.json").exists() and not [f for f in files(tmp_path) if f.endswith(".partial")]
