"""A store is the same however it was prepared: by any number of ranks, in shares, killed and resumed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_sources import DECODED, FakeSource, options, patches_of, run, sources, tree, unreadable

from data_prep import build
from data_prep.patches import cut, patch_origins, refuse
from hpc_sr.errors import OutputError, RasterError, StoreError
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X

_MOST = {"whole": {}, "fewer": {"patches_per_product": 3}}


@pytest.fixture(autouse=True)
def _forget() -> None:
    DECODED.clear()


@pytest.mark.parametrize("changes", [{}, {"shuffle": False}, {"layout": "compact"}])
def test_any_number_of_ranks_writes_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict
) -> None:
    for ranks in (1, 2, 3):
        run(monkeypatch, tmp_path / f"{ranks}", sources(), ranks, **changes)
    assert tree(tmp_path / "1") == tree(tmp_path / "2") == tree(tmp_path / "3")
    Store(tmp_path / "1").verify()


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_patch_is_there_once_and_comes_from_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shuffle: bool
) -> None:
    manifest = run(monkeypatch, tmp_path, sources(), shuffle=shuffle)
    told = {line["product"]: line for line in manifest.products}
    for split, names in (("train", {f"product_{k}" for k in range(4)}), ("validation", {"validated"})):
        found = patches_of(tmp_path, split)
        assert {name for name, _, _ in found} == names and len(found) == manifest.rows(split)
        for source in (s for s in sources() if s.name in names):
            pair = source.pair(True)
            candidates = patch_origins(*pair.shape, 8, 8, 2)
            kept, refused = refuse(candidates, 8, pair.marks, options().refuse.limits())
            assert told[source.name]["refused"]["cloud"] == len(refused["cloud"]) > 0
            assert told[source.name]["patches"] == len(kept) == len(candidates) - len(refused["cloud"])
            cuts = [cut(pair.layers[layer.name], kept, 8, layer.stride) for layer in S2X.layers]
            rows = np.concatenate([values.reshape(len(kept), -1) for values in cuts], 1)
            for (row, column), values in zip(kept.tolist(), rows, strict=True):
                assert found[source.name, row, column] == values.tobytes()
    assert told["validated"]["shift_px"] == 0.25 and told["validated"]["tile"] == "32TQM"


def test_large_products_do_not_outweigh_small_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole, fewer = (run(monkeypatch, tmp_path / name, sources(), **given) for name, given in _MOST.items())
    least = min(line["patches"] for line in whole.products)
    assert [line["patches"] for line in fewer.products if line["split"] == "train"] == [3] * 4 and least > 3
    assert fewer.rows("validation") == whole.rows("validation")
    kept = patches_of(tmp_path / "fewer", "train")
    assert kept.items() <= patches_of(tmp_path / "whole", "train").items()
    assert len({(row, column) for _, row, column in kept}) > 3, "drawn for each by its name"


def test_shares_then_the_rest_are_the_same_as_all_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path / "whole", sources())
    DECODED.clear()
    for k in range(4):
        assert run(monkeypatch, tmp_path / "shares", sources(), share=(k, 4)) is None
        assert not (tmp_path / "shares" / "manifest.json").exists()
    run(monkeypatch, tmp_path / "shares", sources())
    assert tree(tmp_path / "shares") == tree(tmp_path / "whole")
    assert set(DECODED.values()) == {1} and len(DECODED) == 6


def test_shares_of_what_is_appended_leave_the_rest_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, sources(2))
    DECODED.clear()
    for k in range(3):
        run(monkeypatch, tmp_path, sources(4), share=(k, 3))
    assert set(DECODED) == {"product_2", "product_3"}
    run(monkeypatch, tmp_path, sources(4))
    assert set(DECODED.values()) == {1}


class Killed(BaseException):
    """Nothing after it happens."""


def _run_killed(monkeypatch: pytest.MonkeyPatch, after: int, *args, **changes) -> bool:
    """Prepare until so many files were put in place or removed, then never again; return whether it came to that."""
    left = [after]
    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            real = getattr(Path, name)

            def watched(self: Path, *args, real=real, **kwargs):
                there = self.exists()  # removing what is not there changes nothing
                if there and left[0] == 0:
                    raise Killed
                left[0] -= there
                return real(self, *args, **kwargs)

            patched.setattr(Path, name, watched)
        try:
            run(monkeypatch, *args, **changes)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("before", ["nothing", "fewer", "other seed", "unshuffled", "other files"])
def test_killed_anywhere_and_run_again_is_as_if_never_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str
) -> None:
    def earlier(store: Path) -> None:
        if before == "fewer":
            run(monkeypatch, store, [s for s in sources(3) if s.name != "product_1"])
        elif before == "other seed":
            run(monkeypatch, store, sources(3), seed=5)
        elif before == "unshuffled":
            run(monkeypatch, store, sources(3), shuffle=False)
        elif before == "other files":
            run(monkeypatch, store, [replace(s, state="old") for s in sources(5)])

    earlier(tmp_path / "whole")
    run(monkeypatch, tmp_path / "whole", sources(3), allow_removal=True)
    wanted = tree(tmp_path / "whole")
    for after in range(200):
        store = tmp_path / f"{after}"
        earlier(store)
        killed = _run_killed(monkeypatch, after, store, sources(3), allow_removal=True)
        if (store / "manifest.json").exists():
            Store(store).verify()
        run(monkeypatch, store, sources(3), allow_removal=True)
        assert tree(store) == wanted, after
        if not killed:
            break
    assert not killed and after >= 5


def test_what_is_finished_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, sources())
    before = tree(tmp_path)
    DECODED.clear()
    run(monkeypatch, tmp_path, sources())
    assert not DECODED and tree(tmp_path) == before
    run(monkeypatch, tmp_path, sources(), bad_products="fail", split={"validation": ["32TQN"], "test": ["32TQM"]})
    assert not DECODED and {name for name, _, _ in patches_of(tmp_path, "test")} == {"validated"}
    run(monkeypatch, tmp_path, [replace(s, state="new") if s.name == "tested" else s for s in sources()])
    assert set(DECODED) == {"tested"}


@pytest.mark.parametrize("damage", ["flipped", "gone", "short"])
def test_damaged_shards_are_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str) -> None:
    run(monkeypatch, tmp_path, sources())
    before = tree(tmp_path)
    for pattern, decoded in (("validated.h5", {"validated"}), ("train-*-0001.h5", {f"product_{k}" for k in range(4)})):
        DECODED.clear()
        (path,) = (tmp_path / "shards").glob(pattern)
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 1
        path.write_bytes(content[: -10 if damage == "short" else None])
        if damage == "gone":
            path.unlink()
        run(monkeypatch, tmp_path, sources())
        assert set(DECODED) == decoded and tree(tmp_path) == before


@pytest.mark.parametrize("torn", ["", "{", "[]", "{}", '{"fingerprint": 1}'])
def test_torn_records_are_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, torn: str) -> None:
    run(monkeypatch, tmp_path, sources())
    before = tree(tmp_path)
    (tmp_path / "records" / "product_0.json").write_text(torn)
    (generation,) = (tmp_path / "generations").iterdir()
    generation.write_text(torn)
    run(monkeypatch, tmp_path, sources())
    assert tree(tmp_path) == before


def test_what_killed_runs_left_half_written_is_swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    host = socket.gethostname()
    left = [
        tmp_path / f / n
        for f, n in (
            ("shards", f".a.h5.{host}-{ended.pid}.partial"),
            ("parts", f".b.h5.{host}-{ended.pid}.partial"),
            ("records", f".c.json.{host}-{ended.pid}.partial"),
            (".", f".manifest.json.{host}-{ended.pid}.partial"),
        )
    ]
    stays = [tmp_path / "shards" / n for n in (f".d.h5.{host}-{os.getpid()}.partial", ".e.h5.elsewhere-1.partial")]
    for path in (*left, *stays):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    run(monkeypatch, tmp_path, sources(), share=(0, 99))
    assert all(path.exists() for path in left), "another job of the array may be writing"
    run(monkeypatch, tmp_path, sources())
    assert not any(path.exists() for path in left) and all(path.exists() for path in stays)


def test_what_a_rank_leaves_that_dies_while_the_next_run_begins_is_swept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying = subprocess.Popen(["sleep", "3600"])
    left = tmp_path / "parts" / f".a.h5.{socket.gethostname()}-{dying.pid}.partial"
    for folder in (left.parent, tmp_path / "records"):
        folder.mkdir()
    left.write_text("half")
    through = build.prepare_source

    def after_its_death(*job: Any) -> Any:
        assert left.exists()
        dying.kill()
        dying.wait()
        monkeypatch.setattr(build, "prepare_source", through)
        return through(*job)

    monkeypatch.setattr(build, "prepare_source", after_its_death)
    run(monkeypatch, tmp_path, sources())
    assert not left.exists()


def test_a_bad_source_is_skipped_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = run(monkeypatch, tmp_path, [*sources(), unreadable("broken", "33UWW")], ranks=2)
    (line,) = manifest.skipped
    assert (line["product"], line["error"]) == ("broken", "RasterError") and "truncated" in line["message"]
    assert {p["product"] for p in manifest.products} == {s.name for s in sources()}
    assert Store(tmp_path).manifest == manifest


def test_a_bad_source_is_fatal_if_so_wanted_after_all_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="truncated"):
        run(monkeypatch, tmp_path, [unreadable("a", "33UWW"), *sources()], ranks=2, bad_products="fail")
    assert len(list((tmp_path / "records").iterdir())) == 6 and not (tmp_path / "manifest.json").exists()


def test_errors_that_no_store_can_come_of_are_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="truncated"):
        run(monkeypatch, tmp_path / "a", [unreadable("b", "33UWW"), unreadable("c", "32TQM"), unreadable("d", "32TQN")])
    with pytest.raises(StoreError, match="no patch is left to train on.*b/B02.jp2: is truncated"):
        run(monkeypatch, tmp_path / "b", [unreadable("b", "33UWW"), *sources(0)])
    full = OutputError("cannot be written (disk full)")
    with pytest.raises(OutputError):
        run(monkeypatch, tmp_path / "c", [FakeSource("full", "33UWW", error=full), *sources()])


def test_a_source_without_patches_leaves_no_shard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dark = FakeSource("dark", "33UWW", nodata=True)
    manifest = run(monkeypatch, tmp_path, [*sources(), dark, replace(dark, name="dim", tile="32TQM")])
    assert not any("d" in entry.products for entries in manifest.splits.values() for entry in entries)
    assert {p["product"]: p["refused"]["nodata"] for p in manifest.products}["dim"] == 20
    assert not list(tmp_path.rglob("dim.h5")) and not list(tmp_path.rglob("dark.h5"))
    DECODED.clear()
    run(monkeypatch, tmp_path, [*sources(), dark, replace(dark, name="dim", tile="32TQM")])
    assert not DECODED


def test_statistics_are_those_of_the_training_patches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = run(monkeypatch, tmp_path, sources())
    rows = np.stack([np.frombuffer(v, np.int16)[: 4 * 64].reshape(4, 64) for v in patches_of(tmp_path).values()])
    np.testing.assert_allclose(manifest.statistics["x10"]["mean"], rows.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(manifest.statistics["x10"]["std"], rows.std((0, 2)), rtol=1e-9)
    assert manifest.sums["x10"]["count"] == 64 * manifest.rows("train")


def test_a_map_is_drawn_for_every_source_and_goes_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, sources(2), maps=True)
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {f"{s.name}.png" for s in sources(2)}
    run(monkeypatch, tmp_path, [s for s in sources(2) if s.name != "product_1"], maps=True, allow_removal=True)
    assert not (tmp_path / "maps" / "product_1.png").exists()


def test_settings_that_move_patches_but_do_not_change_them_keep_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(monkeypatch, tmp_path, sources(), shuffle=False)
    DECODED.clear()
    run(monkeypatch, tmp_path, sources(), bad_products="fail", shuffle=True)
    assert not DECODED and not list((tmp_path / "shards").glob("product_*"))
    run(monkeypatch, tmp_path, sources(), patch_px=16, allow_removal=True)
    assert len(DECODED) == 6 and json.loads((tmp_path / "manifest.json").read_text())["patch_px"] == 16
