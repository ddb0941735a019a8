"""A store removes its own files alone, and finished patches only with a word; nobody writes into it beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_sources import DECODED, FakeSource, patches_of, run, sources, tree

from data_prep import belongings
from data_prep.inspection import verify
from data_prep.merge import merge
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.errors import ChecksumError, HpcSrError, ManifestError, OutputError, RasterError, StoreError
from hpc_sr.locks import lock, unlock
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import read_manifest, write_manifest


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of two training products, one to validate on and one to test, another, and both merged."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(monkeypatch, folder / "store", sources(2), maps=True)
        run(monkeypatch, folder / "other", [FakeSource("far", "31UDA")], split={})
    merge(folder / "merged", [folder / "store", folder / "other"])
    return folder


@pytest.fixture
def store(stores: Path, tmp_path: Path) -> Path:
    """A copy of the first to damage."""
    DECODED.clear()
    return Path(shutil.copytree(stores / "store", tmp_path / "store"))


def edit(path: Path, change: Callable[[dict[str, Any]], object], seal: bool = False) -> None:
    """Change what a JSON file of a store holds, without its checksum or, with `seal`, with a right one."""
    content = json.loads(path.read_text())
    content.pop("sha256", None)
    change(content)
    if seal:
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        content = {"sha256": digest, **content}
    path.write_text(json.dumps(content))


def unseal(store: Path) -> None:
    """Make records and generations what they were before they had checksums."""
    for path in [*store.glob("records/*.json"), *store.glob("generations/*.json")]:
        edit(path, lambda content: None)


STRANGERS = ["maps/notes.txt", "maps/.hidden", "records/todo.json", "records/readme", "shards/mine.h5", "parts/x.h5",
             "generations/plan.json", "thesis.tex"]  # fmt: skip


def test_what_is_not_its_own_is_left_alone(monkeypatch: pytest.MonkeyPatch, store: Path, log_lines: list[str]) -> None:
    for file in STRANGERS:
        (store / file).parent.mkdir(exist_ok=True)
        (store / file).write_text("{}")
    run(monkeypatch, store, sources(1), seed=1, maps=True, allow_removal=True)
    assert all((store / file).read_text() == "{}" for file in STRANGERS)
    assert any("maps/notes.txt" in line and "left alone" in line for line in log_lines)
    Store(store).verify()


@pytest.mark.parametrize("old", [False, True], ids=["sealed", "unsealed"])
def test_with_a_word_all_that_was_its_own_goes(monkeypatch: pytest.MonkeyPatch, store: Path, old: bool) -> None:
    if old:
        unseal(store)
    run(monkeypatch, store, sources(1), seed=3, maps=True, allow_removal=True)
    run(monkeypatch, store.with_name("fresh"), sources(1), seed=3, maps=True)
    assert tree(store).keys() == tree(store.with_name("fresh")).keys()


def _unreadable(found: list[FakeSource]) -> list[FakeSource]:
    error = RasterError("is truncated", where="B02.jp2", cure="copy it again")
    return [replace(s, state="cut", error=error) if s.name == "validated" else s for s in found]


REMOVALS: dict[str, tuple[Callable[[], list[FakeSource]], dict[str, Any], str]] = {
    "fewer products": (lambda: [s for s in sources(2) if s.name != "product_1"], {}, "product_1"),
    "other products": (lambda: [FakeSource("new", "33UUZ"), *sources(0)], {}, "product_0, product_1"),
    "smaller patches": (lambda: sources(2), {"patch_px": 4, "stride_px": 4}, "patch_px 8, now 4"),
    "another seed": (lambda: sources(2), {"seed": 9}, "seed 0, now 9"),
    "stricter": (lambda: sources(2), {"refuse": {"cloud": 0.0}}, "'cloud': 0.1.*now.*'cloud': 0.0"),
}


@pytest.mark.parametrize("kind", REMOVALS)
def test_finished_patches_go_only_with_a_word(monkeypatch: pytest.MonkeyPatch, store: Path, kind: str) -> None:
    found, changes, told = REMOVALS[kind]
    before = tree(store)
    for share in (None, (0, 2)):
        with pytest.raises(StoreError, match=f"(?s)would be removed: .*{told}.*prepare.allow_removal=true"):
            run(monkeypatch, store, found(), share=share, maps=True, **changes)
    assert tree(store) == before and not DECODED
    run(monkeypatch, store, found(), allow_removal=True, **changes)
    Store(store).verify()


def test_patches_of_what_cannot_be_used_any_more_stay(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    before = tree(store)
    with pytest.raises(StoreError, match="would be removed: those of validated"):
        run(monkeypatch, store, _unreadable(sources(2)), maps=True)
    assert {k: v for k, v in before.items() if k.startswith("shards/")}.items() <= tree(store).items()
    run(monkeypatch, store, sources(2), maps=True)
    assert tree(store) == before


def test_what_takes_nothing_away_needs_no_word(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    run(monkeypatch, store, sources(3))
    run(monkeypatch, store, sources(3), shuffle=False, shard_rows=7, bad_products="fail")
    run(monkeypatch, store, [replace(s, state="fetched again") for s in sources(3)])
    (next(store.glob("shards/*.h5"))).unlink()
    split = {"validation": ["32TQN"], "test": ["32TQM"]}
    run(monkeypatch, store, [replace(s, state="fetched again") for s in sources(3)], split=split)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda path: path.write_text("{"),
    "empty": lambda path: path.write_text(""),
    "other content": lambda path: edit(path, lambda content: content.update(task="s6x")),
    "not sealed": lambda path: edit(path, lambda content: None),
    "another version": lambda path: edit(path, lambda content: content.update(format_version=1), seal=True),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link that leads nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a file of somebody else": lambda path: path.write_text('{"name": "a web page", "icons": []}'),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_beside_a_manifest_that_cannot_be_read_nothing_is_touched(
    monkeypatch: pytest.MonkeyPatch, stores: Path, tmp_path: Path, kind: str
) -> None:
    for name in ("store", "merged"):
        store = Path(shutil.copytree(stores / name, tmp_path / name))
        whole = read_manifest(store)
        DAMAGES[kind](store / "manifest.json")
        before = tree(store)
        for share in (None, (0, 2)):
            with pytest.raises((ManifestError, ChecksumError), match="(?s)manifest.json.*cure"):
                run(monkeypatch, store, sources(1), share=share, allow_removal=True)
        assert tree(store) == before
        # What the message says: moving it away loses nothing, and a copy put back is all that a merged store needs.
        (store / "manifest.json").rename(tmp_path / f"{name}.json")
        if name == "merged":
            with pytest.raises(StoreError, match="lost its manifest"):
                run(monkeypatch, store, sources(1), allow_removal=True)
            write_manifest(store, whole)
        DECODED.clear()
    run(monkeypatch, tmp_path / "store", sources(2), maps=True)
    assert not DECODED and read_manifest(tmp_path / "store") == read_manifest(stores / "store")
    for name in ("store", "merged"):
        Store(tmp_path / name).verify()


@pytest.mark.parametrize("place", [".", "..", "/", "../..", "a/..", "~"])
def test_folders_of_everything_are_no_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    home = tmp_path / "home"
    (home / "a").mkdir(parents=True)
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    for folder in {Path(place), Path(os.path.expanduser(place))}:
        if str(folder) == "~":
            continue
        with pytest.raises(StoreError, match="no folder of a store's own"):
            run(monkeypatch, folder, sources())
        with pytest.raises(HpcSrError):
            merge(folder, [tmp_path / "a", tmp_path / "b"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "home"]


@pytest.mark.parametrize("inside", ["thesis.tex", "shards/train.h5", "records/minutes.txt", "src/records/a.json"])
def test_a_folder_of_other_things_is_no_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, inside: str) -> None:
    place = tmp_path / "project"
    (place / inside).parent.mkdir(parents=True)
    (place / inside).write_text("mine")
    if inside.startswith("records"):
        (place / "thesis.tex").write_text("mine")
    before = tree(place)
    for share in (None, (0, 2)):
        with pytest.raises(StoreError, match="no store, or has lost its manifest"):
            run(monkeypatch, place, sources(), share=share, allow_removal=True)
    assert tree(place) == before


def test_a_store_that_is_no_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(OutputError, match="file.*cannot be written"):
            run(monkeypatch, place, sources())


def _sum(record: dict[str, Any]) -> None:
    record["sums"]["target"]["sum"][0] += 1000


def _empty(generation: dict[str, Any]) -> None:
    generation["shards"] = []


def _cut(generation: dict[str, Any]) -> None:
    generation["shards"].pop()


def _rows(generation: dict[str, Any]) -> None:
    generation["shards"][0]["rows"] += 1


CHANGED = {
    "a sum": ("records/product_0.json", _sum),
    "a count": ("records/product_0.json", lambda record: record.update(patches=record["patches"] + 1)),
    "a file elsewhere": ("records/tested.json", lambda record: record["shard"].update(file="../../elsewhere.h5")),
    "no shard": ("records/tested.json", lambda record: record.update(shard=None)),
    "no sums": ("records/product_0.json", lambda record: record.update(sums={})),
    "sums of no pixels": ("records/product_0.json", lambda record: record["sums"]["target"].update(count=0)),
    "squares that cannot be": (
        "records/product_0.json",
        lambda record: record["sums"]["target"].update(sum_of_squares=[0] * 6),
    ),
    "an empty list of shards": ("generations/*.json", _empty),
    "a shard less": ("generations/*.json", _cut),
    "rows": ("generations/*.json", _rows),
    "another's shards": ("generations/*.json", lambda g: [s.update(file="shards/tested.h5") for s in g["shards"]]),
}


@pytest.mark.parametrize("kind", CHANGED)
@pytest.mark.parametrize("sealed", [True, False])
def test_changed_records_and_generations_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, store: Path, log_lines: list[str], kind: str, sealed: bool
) -> None:
    """Those with a checksum whatever was changed; those without it, of earlier versions, where it shows."""
    before, patches = read_manifest(store), patches_of(store)
    verify(store, SerialWorld())
    assert not [line for line in log_lines if "not believed" in line]
    pattern, change = CHANGED[kind]
    (path,) = store.glob(pattern)
    if sealed:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        assert verify(store, SerialWorld()) == []
        assert any(path.name in line and "not believed" in line for line in log_lines)
    else:
        unseal(store)
        edit(path, change)
    try:
        manifest = run(monkeypatch, store, sources(2), maps=True)
    except StoreError as error:
        assert kind == "a sum" and not sealed and "add up to other statistics" in str(error)
        assert patches_of(store) == patches and read_manifest(store) == before
        shutil.move(store / "records", store.with_name("aside"))
        manifest = run(monkeypatch, store, sources(2), maps=True)
    assert manifest == before and patches_of(store) == patches
    Store(store).verify()


def test_stores_of_before_checksums_go_on(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    unseal(store)
    before = read_manifest(store)
    assert run(monkeypatch, store, sources(2), maps=True) == before and not DECODED
    run(monkeypatch, store, sources(3), maps=True)
    assert set(DECODED) == {"product_2"}


NAMES = ["../escaped", "a/b", "", "..", "a\nb", "a\0b", "\udcff", "x" * 300]


def test_products_have_plain_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = [*sources(1), *(FakeSource(name, "33UWW") for name in NAMES)]
    manifest = run(monkeypatch, tmp_path / "store", found)
    assert len(manifest.skipped) == len(NAMES) and all("no plain name" in line["message"] for line in manifest.skipped)
    assert os.listdir(tmp_path) == ["store"] and read_manifest(tmp_path / "store").rows("train") == manifest.rows(
        "train"
    )
    for name in NAMES:
        with pytest.raises(StoreError, match="(?s)is no plain name.*rename"):
            run(monkeypatch, tmp_path / "other", [*sources(1), FakeSource(name, "33UWW")], bad_products="fail")


LOCKED = """
import sys, time
from pathlib import Path
from hpc_sr.locks import lock
held = lock(Path(sys.argv[1]), shared=sys.argv[2] == "shared")
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["alone", "shared"])
def test_a_store_is_written_by_one_command_or_by_its_shares(
    monkeypatch: pytest.MonkeyPatch, store: Path, log_lines: list[str], kind: str
) -> None:
    monkeypatch.setattr(belongings, "_PATIENCE_S", 0.0)
    before = tree(store)
    command = [sys.executable, "-c", LOCKED, str(store / ".lock"), kind]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    for ranks, share in ((1, None), (3, None), (1, (0, 2))):
        if share and kind == "shared":
            run(monkeypatch, store, sources(2), share=share, maps=True)
            continue
        with pytest.raises(StoreError, match=f"(?s)is held by process {holder.pid} on .* since 2.*cure: wait"):
            run(monkeypatch, store, sources(3), ranks, share=share, maps=True)
    assert {k: v for k, v in tree(store).items() if k != ".lock"} == before
    holder.kill()
    holder.wait()
    run(monkeypatch, store, sources(2), maps=True)
    assert tree(store) == before


def test_a_file_system_without_locks_is_used_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, store: Path, log_lines: list[str]
) -> None:
    def without(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", without)
    run(monkeypatch, store, sources(2), maps=True)
    assert any("no locks" in line for line in log_lines)


def test_who_waits_goes_on_when_the_other_is_through(
    monkeypatch: pytest.MonkeyPatch, store: Path, log_lines: list[str]
) -> None:
    held = lock(store / ".lock")
    real = belongings.lock

    def waited(path: Path, **options: Any) -> Any:
        def waiting(holders: str) -> None:
            options["waiting"](holders)
            unlock(path, held)

        return real(path, **{**options, "waiting": waiting})

    monkeypatch.setattr(belongings, "lock", waited)
    run(monkeypatch, store, sources(3))
    assert any(f"is held by process {os.getpid()}" in line for line in log_lines) and len(DECODED) == 1


@pytest.mark.parametrize("errno", [28, 116])
@pytest.mark.parametrize("name", ["replace", "unlink", "mkdir", "stat", "open"])
def test_what_the_system_refuses_is_told_with_the_file(
    monkeypatch: pytest.MonkeyPatch, store: Path, name: str, errno: int
) -> None:
    """At the first, the second, ... such call on a file of the store, until none is left to refuse."""
    real, left = getattr(Path, name), [0]

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if store in self.parents and (name == "replace" or not self.name.endswith(".partial")):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno, os.strerror(errno), str(self))
        return real(self, *args, **kwargs)

    refused = 0
    for allowed in (0, 2, 6):
        left[0] = allowed
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, refuse)
            try:
                run(monkeypatch, store, sources(1), allow_removal=True, seed=allowed)
            except HpcSrError as error:
                refused += 1
                assert "cure" in str(error) and str(store) in str(error)
    assert refused
    run(monkeypatch, store, sources(2), maps=True, allow_removal=True)
    Store(store).verify()
