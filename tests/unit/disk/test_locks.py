"""Locks are held by one, or by all that share; who waits is told for whom; the last to leave removes the file."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpc_sr.disk import partial_of, sweep_partials, whole_folder
from hpc_sr.locks import NO_LOCKS, lock, unlock


@pytest.mark.parametrize(("first", "second", "together"), [(0, 0, False), (0, 1, False), (1, 0, False), (1, 1, True)])
def test_only_those_that_share_hold_it_together(tmp_path: Path, first: bool, second: bool, together: bool) -> None:
    path = tmp_path / "lock"
    held = lock(path, shared=bool(first))
    if together:
        unlock(path, lock(path, shared=bool(second), patience_s=0))
        assert path.exists(), "somebody is in it still"
    else:
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()} on {socket.gethostname()} since 2"):
            lock(path, shared=bool(second), patience_s=0)
    unlock(path, held)
    assert not path.exists()


def test_who_waits_gets_it_and_is_told_once_for_whom(tmp_path: Path) -> None:
    path, told, got = tmp_path / "lock", [], []
    held = lock(path)
    waiting = threading.Thread(target=lambda: got.append(lock(path, waiting=told.append)))
    waiting.start()
    while not told:
        pass
    assert not got and re.fullmatch(rf"process {os.getpid()} on \S+ since [-\d]+ [:\d]+", told[0])
    unlock(path, held)
    waiting.join(30)
    assert len(got) == 1 and path.exists() and len(told) == 1
    unlock(path, got[0])


def test_a_kill_lets_go_and_the_dead_are_not_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import sys, time; from pathlib import Path; from hpc_sr.locks import lock; held = lock(Path(sys.argv[1]));"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{code} print('held', flush=True); time.sleep(60)", path], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(BlockingIOError, match=f"process {holder.pid} on"):
        lock(path, patience_s=0)
    holder.kill()
    holder.wait()
    shared = lock(path, shared=True, patience_s=0)
    with pytest.raises(BlockingIOError) as caught:
        lock(path, patience_s=0)
    assert f"process {os.getpid()} on" in str(caught.value) and str(holder.pid) not in str(caught.value)
    unlock(path, shared)


@pytest.mark.parametrize("content", [b"", b"\0\xff\n\n", b"half a li", b"here x since\n"])
def test_whatever_a_lock_file_holds_it_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    held = lock(path)
    path.write_bytes(content)
    with pytest.raises(BlockingIOError, match="is held by another process"):
        lock(path, patience_s=0)
    unlock(path, held)


def test_only_the_last_to_leave_cleans_up(tmp_path: Path) -> None:
    path, cleaned = tmp_path / "lock", []
    holders = [lock(path, shared=True) for _ in range(3)]
    for count, held in enumerate(holders):
        unlock(path, held, lambda count=count: cleaned.append(count))
    assert cleaned == [2] and list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", without)
    with pytest.raises(OSError) as caught:
        lock(tmp_path / "lock")
    assert caught.value.errno in NO_LOCKS


def test_a_whole_folder_takes_the_place_of_what_a_kill_left(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".model.{socket.gethostname()}-{ended.pid}.partial"
    others = tmp_path / f".other.{socket.gethostname()}-{ended.pid}.partial"
    for folder in (left, others):
        folder.mkdir()
        (folder / "weights").write_text("half")
    with whole_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "model"]


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_half_written_folders_and_files_of_the_dead_are_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    host = socket.gethostname()
    folder, file = (tmp_path / f".{name}.{host}-{ended.pid}.partial" for name in ("run", "a.json"))
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "weights").write_text("half")
    (folder / "link").symlink_to(tmp_path)
    file.write_text("half")
    link = tmp_path / f".link.{host}-{ended.pid}.partial"
    (tmp_path / "kept").mkdir()
    link.symlink_to(tmp_path / "kept")
    living = partial_of(tmp_path / "mine")
    living.mkdir()
    assert sweep_partials(tmp_path, "a.json") == [file]
    assert sweep_partials(tmp_path) == sorted([folder, link])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["kept", living.name])
