"""Staging: copies are whole, verified, shared by who uses them and gone afterwards; or the store is read in place."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support import require

from hpc_sr.errors import ChecksumError, ManifestError, RecipeError
from hpc_sr.shards import staging
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import FORMAT_VERSION, Manifest, layers_of, write_manifest
from hpc_sr.shards.staging import Staged, staged
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import S2X

LAYERS = layers_of(S2X, 8)


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let caplog hear the package's log whatever a test before did to it."""
    logger = logging.getLogger("hpc_sr")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "store")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return tmp_path / "node"


def write_store(folder: Path, seed: int = 0, rows: int = 13) -> Path:
    rng, splits = np.random.default_rng(seed), {"train": [], "validation": [], "test": []}
    for name, split in (("a", "train"), ("b", "train"), ("c", "validation"), ("d", "test")):
        with ShardWriter(folder / "shards" / f"{name}.h5", LAYERS, rows, ("p",), {}, "contiguous") as writer:
            values = {n: rng.integers(0, 9999, (rows, *x["shape"]), np.int16) for n, x in LAYERS.items()}
            writer.append(values, np.zeros((rows, 2), np.int32))
        splits[split].append(writer.entry(folder))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        task="s2x",
        patch_px=8,
        stride_px=8,
        degradation="wald",
        level="L1C",
        layout="contiguous",
        units="reflectance x 10000",
        layers=LAYERS,
        splits={split: tuple(entries) for split, entries in splits.items()},
        products=(),
        skipped=(),
        statistics={},
        sums={},
        settings={},
        software={},
    )
    write_manifest(folder, manifest)
    return folder


def alone(store: Path, to: Path | str | None):
    return staged(store, to, share=0, shares=1, barrier=lambda: None)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def same_values(found: Staged, store: Path) -> bool:
    rows, read = np.arange(13), []
    for each in (found.store, Store(store)):
        out = np.empty((13, *LAYERS["target"]["shape"]), np.int16)
        (reader,) = each.split("validation")
        reader.take("target", rows, out)
        read.append(out)
    return np.array_equal(*read)


def in_place(found: Staged, store: Path) -> bool:
    return found.verified and found.store.path == store


@contextmanager
def left_by_a_killed_job(store: Path, node: Path) -> Iterator[Path]:
    """Leave whole copies behind, unlocked, and give the folder that they lie in."""
    with alone(store, node) as found:
        files_ = {path: path.read_bytes() for path in found.store.path.rglob("*") if path.is_file()}
    for path, content in files_.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder = found.store.path
    folder.with_name(f"{folder.name}.lock").touch(0o600)
    yield folder


def test_training_and_validation_are_copied_read_and_removed(store: Path, node: Path) -> None:
    with alone(store, node) as found:
        assert found.verified and found.store.path.parent == node
        assert files(found.store.path) == ["a.h5", "b.h5", "c.h5", "manifest.json"]
        assert same_values(found, store)
        assert found.store.path.stat().st_mode & 0o077 == 0
    assert files(node) == [] and list(node.iterdir()) == []


def test_without_a_folder_the_store_is_read_in_place(store: Path) -> None:
    with alone(store, None) as found:
        assert not found.verified and found.store.path == store


def test_the_folder_may_name_a_variable(store: Path, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DISK", str(node))
    with alone(store, "$NODE_DISK/deep") as found:
        assert found.store.path.parent == node / "deep"
    monkeypatch.delenv("NODE_DISK")
    with pytest.raises(RecipeError, match=r"\$NODE_DISK/deep"), alone(store, "$NODE_DISK/deep"):
        pass


def test_an_error_in_the_block_leaves_nothing(store: Path, node: Path) -> None:
    with pytest.raises(RuntimeError, match="training failed"), alone(store, node):
        raise RuntimeError("training failed")
    assert list(node.iterdir()) == []


def test_a_damaged_source_is_an_error_and_leaves_nothing(store: Path, node: Path) -> None:
    damage(store / "shards" / "b.h5")
    with pytest.raises(ChecksumError, match="b.h5"), alone(store, node):
        pass
    assert list(node.iterdir()) == []
    (store / "shards" / "a.h5").unlink()
    with pytest.raises(ManifestError, match=r"a\.h5.*missing"), alone(store, node):
        pass


def test_what_a_killed_job_left_is_kept_if_whole_and_replaced_if_not(store: Path, node: Path) -> None:
    with left_by_a_killed_job(store, node) as folder:
        damage(folder / "shards" / "b.h5")
        (folder / "shards" / "c.h5").write_bytes(b"short")
        kept = (folder / "shards" / "a.h5").stat().st_ino
        with alone(store, node) as found:
            assert found.store.path == folder and same_values(found, store)
            found.store.split("train")
            assert (folder / "shards" / "a.h5").stat().st_ino == kept
            assert (folder / "shards" / "b.h5").read_bytes() == (store / "shards" / "b.h5").read_bytes()
    assert list(node.iterdir()) == []


def test_another_job_keeps_its_files_until_it_ends(store: Path, node: Path) -> None:
    with alone(store, node) as first:
        with alone(store, node) as second:
            assert first.store.path == second.store.path
        assert same_values(first, store)
    assert list(node.iterdir()) == []


def test_a_store_that_was_prepared_again_lies_elsewhere(store: Path, node: Path, tmp_path: Path) -> None:
    with alone(store, node) as one, alone(write_store(tmp_path / "again", seed=1), node) as other:
        assert one.store.path != other.store.path and same_values(one, store)


def test_no_room_is_told_with_numbers(store: Path, node: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(staging, "_free_bytes", lambda folder: 1000)
    with alone(store, node) as found:
        assert in_place(found, store) and list(node.iterdir()) == []
    needed = int(1.1 * sum((store / "shards" / f"{name}.h5").stat().st_size for name in "abc"))
    assert f"needs {needed:,} bytes, 1,000 are free" in caplog.text


def test_room_is_made_from_what_dead_jobs_left(store: Path, node: Path, tmp_path: Path, monkeypatch) -> None:
    other = write_store(tmp_path / "other", seed=1)
    with left_by_a_killed_job(other, node) as dead, alone(write_store(tmp_path / "used", seed=2), node) as used:
        # There is room as soon as the dead job's folder is gone.
        monkeypatch.setattr(staging, "_free_bytes", lambda folder: 0 if dead.exists() else 1 << 30)
        with alone(store, node) as found:
            assert found.store.path.parent == node and not dead.exists()
        assert same_values(used, tmp_path / "used")


def test_the_fallback_verifies(store: Path, node: Path) -> None:
    damage(store / "shards" / "a.h5")
    node.write_text("a file, no folder")
    with pytest.raises(ChecksumError, match="a.h5"), alone(store, node):
        pass


def test_a_folder_of_somebody_else_is_not_used(store: Path, node: Path, tmp_path: Path, caplog) -> None:
    with alone(store, node) as found:
        folder = found.store.path
    (tmp_path / "trap").mkdir()
    folder.symlink_to(tmp_path / "trap")
    with alone(store, node) as found:
        assert in_place(found, store) and files(tmp_path / "trap") == []
    assert "belongs to somebody else" in caplog.text


def on_ranks(store: Path, to: Path, shares: int, look) -> list:
    """Run `look(share, staged)` on threads that stand for the ranks of a node; locks are per opened file."""
    meet = threading.Barrier(shares)

    def rank(share: int):
        with staged(store, to, share=share, shares=shares, barrier=meet.wait) as found:
            seen = look(share, found)
            meet.wait()
            return seen

    with ThreadPoolExecutor(shares) as pool:
        return list(pool.map(rank, range(shares)))


@pytest.mark.parametrize("shares", [2, 3, 5])
def test_ranks_of_a_node_copy_each_file_once(store: Path, node: Path, shares: int, monkeypatch) -> None:
    copied, copy = [], staging._copy_and_hash
    monkeypatch.setattr(staging, "_copy_and_hash", lambda a, b: (copied.append(a.name), copy(a, b))[1])
    seen = on_ranks(store, node, shares, lambda share, found: (found.store.path, same_values(found, store)))
    assert len(set(seen)) == 1 and seen[0][1]
    assert sorted(copied) == ["a.h5", "b.h5", "c.h5"]
    assert list(node.iterdir()) == []


@pytest.mark.parametrize("leftover", [False, True])
def test_all_ranks_of_a_node_fall_back_if_one_cannot_copy(
    store: Path, node: Path, leftover: bool, monkeypatch, caplog
) -> None:
    def copy(source: Path, target: Path) -> str:
        if source.name == "b.h5":
            raise OSError(28, "No space left on device", str(target))
        return whole(source, target)

    whole = staging._copy_and_hash
    if leftover:
        with left_by_a_killed_job(store, node) as folder:
            damage(folder / "shards" / "b.h5")
    monkeypatch.setattr(staging, "_copy_and_hash", copy)
    assert on_ranks(store, node, 2, lambda share, found: in_place(found, store)) == [True, True]
    assert "No space left" in caplog.text and "another process" in caplog.text
    assert list(node.iterdir()) == []


def test_all_ranks_fall_back_if_there_is_no_room(store: Path, node: Path, monkeypatch) -> None:
    monkeypatch.setattr(staging, "_free_bytes", lambda folder: 0)
    assert on_ranks(store, node, 3, lambda share, found: in_place(found, store)) == [True] * 3
    assert list(node.iterdir()) == []


_SLOWLY = """
import sys, time
from hpc_sr.shards import staging
copy = staging._copy_and_hash
def slowly(source, target):
    if source.name != "a.h5":
        target.write_bytes(b"half")
        print("half", flush=True)
        time.sleep(60)
    return copy(source, target)
staging._copy_and_hash = slowly
with staging.staged(sys.argv[1], sys.argv[2], share=0, shares=1, barrier=lambda: None):
    pass
"""


def test_a_kill_while_copying_is_mended_by_the_next_job(store: Path, node: Path) -> None:
    job = subprocess.Popen([sys.executable, "-c", _SLOWLY, store, node], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None and job.stdout.readline() == "half\n"
    job.kill()
    job.wait()
    (left,) = (path for path in node.rglob("a.h5"))
    assert len(files(node)) == 4  # a.h5, half of b.h5, manifest and lock
    kept = left.stat().st_ino
    with alone(store, node) as found:
        assert same_values(found, store) and left.stat().st_ino == kept
        assert files(found.store.path) == ["a.h5", "b.h5", "c.h5", "manifest.json"]
    assert list(node.iterdir()) == []


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_job_waits_while_the_last_one_removes_its_files(
    store: Path, node: Path, made_anew: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with alone(store, node) as found:
        lock = found.store.path.with_name(f"{found.store.path.name}.lock")
    lock.touch(0o600)

    def next_job() -> bool:
        with alone(store, node) as found, lock.open("rb") as other:
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return same_values(found, store)

    with lock.open("r+b") as removing, ThreadPoolExecutor(1) as pool:
        fcntl.flock(removing, fcntl.LOCK_EX)
        waiting = pool.submit(next_job)
        while f"waiting for {lock.with_suffix('')} to be let go of: it is held by" not in caplog.text:
            time.sleep(0.01)
        assert not waiting.done()
        lock.unlink()
        if made_anew:  # by a third job, that was quicker
            lock.touch(0o600)
        fcntl.flock(removing, fcntl.LOCK_UN)
        assert waiting.result(timeout=600)
    assert list(node.iterdir()) == []


def test_files_that_nobody_copied_are_missed(store: Path, node: Path, caplog) -> None:
    with staged(store, node, share=0, shares=2, barrier=lambda: None) as found:
        assert in_place(found, store)
    assert "another process of this node could not copy" in caplog.text


def test_a_failed_copy_leaves_no_half_file_to_others(store: Path, node: Path) -> None:
    with alone(store, node) as first:
        damage(store / "shards" / "b.h5")
        (first.store.path / "shards" / "b.h5").unlink()
        with pytest.raises(ChecksumError), alone(store, node):
            pass
        assert files(first.store.path) == ["a.h5", "c.h5", "manifest.json"]


def test_a_full_disk_falls_back(tmp_path: Path, node: Path, caplog, monkeypatch) -> None:
    require(os.geteuid() == 0, "only root may mount a small disk")
    store = write_store(tmp_path / "store", rows=400)
    node.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", node], check=True)
    try:
        assert staging._lies_in_memory(node) and not staging._lies_in_memory(Path("/proc"))
        with alone(store, node) as found:
            assert in_place(found, store)
        assert "are free" in caplog.text and files(node) == []
        monkeypatch.setattr(staging, "_free_bytes", lambda folder: 1 << 40)
        with alone(store, node) as found:
            assert in_place(found, store)
        assert "No space left" in caplog.text and files(node) == []
    finally:
        subprocess.run(["umount", node], check=True)
