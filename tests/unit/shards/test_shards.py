"""Shards and manifests: what is written is read, what is damaged is named, nothing is half there."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.merge import merge
from hpc_sr.disk import sha256_of, sweep_partials
from hpc_sr.errors import ChecksumError, HpcSrError, ManifestError, OutputError, StoreError
from hpc_sr.shards.reader import ShardReader, Store
from hpc_sr.shards.schema import FORMAT_VERSION, Manifest, ShardEntry, layers_of, read_manifest, write_manifest
from hpc_sr.shards.sealed import write_sealed
from hpc_sr.shards.staging import staged
from hpc_sr.shards.writer import ShardWriter
from hpc_sr.tasks import S2X

LAYERS = layers_of(S2X, 8)
ROWS = 13


def patch_values(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(-500, 12000, (ROWS, *layer["shape"])).astype(np.int16) for name, layer in LAYERS.items()}


def write_shard(path: Path, values: dict[str, np.ndarray], layout: str = "contiguous") -> ShardEntry:
    origins = np.arange(2 * ROWS).reshape(ROWS, 2)
    with ShardWriter(path, LAYERS, ROWS, ("product", "other"), {"task": "s2x"}, layout) as writer:
        writer.append({name: v[:5] for name, v in values.items()}, origins[:5])
        writer.append({name: v[5:] for name, v in values.items()}, origins[5:], np.arange(8) % 2)
    return writer.entry(path.parent.parent)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    entry = write_shard(tmp_path / "shards" / "product.h5", patch_values())
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
        splits={"train": (entry,), "validation": (), "test": ()},
        products=({"product": "product", "split": "train"},),
        skipped=({"product": "broken", "error": "RasterError", "message": "is truncated"},),
        statistics={},
        sums={},
        settings={"patch_px": 8},
        software={},
    )
    write_manifest(tmp_path, manifest)
    return tmp_path


@pytest.mark.parametrize("layout", ["contiguous", "compact"])
def test_rows_come_back_in_any_order(tmp_path: Path, layout: str) -> None:
    values = patch_values()
    write_shard(tmp_path / "s" / "a.h5", values, layout)
    reader = pickle.loads(pickle.dumps(ShardReader(tmp_path / "s" / "a.h5", ROWS, LAYERS)))
    rows = np.array([12, 0, 3, 3])
    for name, whole in values.items():
        out = np.empty((4, *whole.shape[1:]), np.int16)
        reader.take(name, rows, out)
        assert np.array_equal(out, whole[rows])
    assert np.array_equal(reader.origins(), np.arange(2 * ROWS).reshape(ROWS, 2))
    assert reader.products().tolist() == ["product"] * 5 + ["product", "other"] * 4


@pytest.mark.parametrize("layout", ["contiguous", "compact"])
def test_the_bytes_depend_on_the_content_alone(tmp_path: Path, layout: str) -> None:
    first = write_shard(tmp_path / "s" / "a.h5", patch_values(), layout)
    second = write_shard(tmp_path / "s" / "b.h5", patch_values(), layout)
    third = write_shard(tmp_path / "s" / "c.h5", patch_values(1), layout)
    assert first.sha256 == second.sha256 != third.sha256


def test_anybody_can_read_a_shard_with_h5py(tmp_path: Path) -> None:
    values = patch_values()
    write_shard(tmp_path / "s" / "a.h5", values)
    with h5py.File(tmp_path / "s" / "a.h5") as file:
        assert file.attrs["format_version"] == FORMAT_VERSION
        assert list(file.attrs["products"]) == ["product", "other"] and file["product"][...].max() == 1
        assert list(file["x20"].attrs["bands"]) == list(S2X.inputs[1].bands)
        assert np.array_equal(file["target"][...], values["target"])


@pytest.mark.parametrize("letters", range(4))
def test_layers_begin_where_rows_can_be_taken_fast(tmp_path: Path, letters: int) -> None:
    """Whatever the length of what is written before them."""
    path = tmp_path / "shards" / "s.h5"
    values = patch_values()
    with ShardWriter(path, LAYERS, ROWS, ("p" * letters,), {"note": "n" * letters}, "contiguous") as writer:
        writer.append(values, np.zeros((ROWS, 2), int))
    with h5py.File(path) as file:
        assert [file[name].id.get_offset() % 64 for name in LAYERS] == [0] * len(LAYERS)


def test_rows_are_right_wherever_layers_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_sr.shards.writer._ALIGN_BYTES", 1)
    values, odd = patch_values(), 0
    for letters in range(8):
        path = tmp_path / f"{letters}.h5"
        with ShardWriter(path, LAYERS, ROWS, ("p",), {"note": "n" * letters}, "contiguous") as writer:
            writer.append(values, np.zeros((ROWS, 2), int))
        with h5py.File(path) as file:
            odd += sum(file[name].id.get_offset() % 2 for name in LAYERS)
        reader = ShardReader(path, ROWS, LAYERS)
        for name, value in values.items():
            out = np.empty((4, *value.shape[1:]), np.int16)
            reader.take(name, np.array([0, 3, 4, 12]), out)
            assert np.array_equal(out, value[[0, 3, 4, 12]])
    assert odd


def test_a_manifest_round_trips(store: Path) -> None:
    manifest = read_manifest(store)
    assert write_manifest(store, manifest) == store / "manifest.json"
    assert read_manifest(store) == manifest
    assert manifest.rows("train") == ROWS
    Store(store).verify()


def test_a_manifest_of_a_store_as_large_as_any_round_trips(store: Path) -> None:
    patches = 10**8
    count = patches * 64
    sums = {"count": count, "sum": [-count * 32768] * 4, "sum_of_squares": [count * 2**30] * 4}
    manifest = _with_entry(rows=patches, bytes=patches * 64 * 2 * 4)(replace(read_manifest(store), sums={"x10": sums}))
    write_manifest(store, manifest)
    assert read_manifest(store) == manifest


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "a.h5", LAYERS, ROWS, ("a",), {}, "contiguous"):
        raise RuntimeError("the decoder failed")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        ShardWriter(tmp_path / "file" / "a.h5", LAYERS, ROWS, ("a",), {}, "contiguous")


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_damage_to_a_shard_is_found(store: Path) -> None:
    shard = store / "shards" / "product.h5"
    _flip_a_byte(shard)
    with pytest.raises(ChecksumError, match="product.h5"):
        Store(store).verify()
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(ManifestError, match="bytes"):
        Store(store).split("train")
    shard.unlink()
    with pytest.raises(ManifestError, match="is missing"):
        Store(store).split("train")


def test_all_damage_is_told_and_shared_out(store: Path) -> None:
    entries = tuple(write_shard(store / "shards" / f"{k}.h5", patch_values(k)) for k in range(5))
    manifest = read_manifest(store)
    write_manifest(store, replace(manifest, splits={**manifest.splits, "test": entries}))
    assert [error for _, error in Store(store).damaged()] == [None] * 6
    _flip_a_byte(store / "shards" / "1.h5")
    (store / "shards" / "3.h5").unlink()
    found = {entry.file: type(error) for entry, error in Store(store).damaged() if error}
    assert found == {"shards/1.h5": ChecksumError, "shards/3.h5": ManifestError}
    shares = [entry.file for k in range(2) for entry, _ in Store(store).damaged(k, 2)]
    assert sorted(shares) == sorted(entry.file for entry, _ in Store(store).damaged()) and len(set(shares)) == 6
    Store(store).verify(0, 6)
    with pytest.raises(ChecksumError, match="1.h5"):
        Store(store).verify()


def test_a_shard_of_another_format_is_refused(store: Path) -> None:
    path = store / "shards" / "product.h5"
    with h5py.File(path, "r+", locking=False) as file:
        file.attrs["format_version"] = FORMAT_VERSION - 1
    manifest = read_manifest(store)
    entry = replace(manifest.splits["train"][0], bytes=path.stat().st_size, sha256=sha256_of(path))
    write_manifest(store, replace(manifest, splits={**manifest.splits, "train": (entry,)}))
    ((_, error),) = Store(store).damaged()
    assert isinstance(error, ManifestError) and f"format_version is {FORMAT_VERSION - 1}" in str(error)
    (reader,) = Store(store).split("train")
    for read in (reader.origins, reader.products, lambda: reader.take("x10", np.array([0]), np.empty(0))):
        with pytest.raises(ManifestError, match="format_version"):
            read()


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left.*\n.*free disk space"):
        write_shard(tmp_path / "s" / "a.h5", patch_values())
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize("layout", ["contiguous", "compact"])
@pytest.mark.parametrize("limit", [2000, 9000, 16000])
def test_a_file_that_may_not_grow_is_an_output_error(tmp_path: Path, layout: str, limit: int) -> None:
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_shards import patch_values, write_shard
from hpc_sr.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    write_shard(Path({str(tmp_path)!r}) / "s" / "a.h5", patch_values(), {layout!r})
except OutputError as error:
    print("told:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "cannot be written" in done.stdout, done.stderr
    assert list((tmp_path / "s").iterdir()) == []


def test_sweeping_takes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    ended, unasked = subprocess.Popen(["true"]), subprocess.Popen(["true"], stdout=subprocess.PIPE)
    ended.wait()
    assert unasked.stdout is not None and unasked.stdout.read() == b"", "it ends, and nobody has asked how"
    os.waitid(os.P_PID, unasked.pid, os.WEXITED | os.WNOWAIT)
    host = socket.gethostname()
    dead = [f".{name}.{host}-{ended.pid}.partial" for name in ("a.h5", "b.json")] + [f".c.h5.{host}-{2**70}.partial"]
    dead.append(f".d.h5.{host}-{unasked.pid}.partial")
    kept = [
        f".a.h5.{host}-{os.getpid()}.partial",
        f".a.h5.other-{ended.pid}.partial",
        f"a.h5.{ended.pid}.partial",
        ".x.partial",
        "a.h5",
        ".hidden",
    ]
    for name in dead + kept:
        (tmp_path / name).write_text("")
    assert sweep_partials(tmp_path) == sorted(tmp_path / name for name in dead)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert sweep_partials(tmp_path / "absent") == []
    unasked.communicate()


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda p: p.unlink(), ManifestError),
        (lambda p: p.write_text("{"), ManifestError),
        (lambda p: p.write_text("[]"), ManifestError),
        (lambda p: p.write_bytes(b"\xff\xfe"), ManifestError),
        (lambda p: _edit(p, format_version=99), ManifestError),
        (lambda p: _edit(p, degradation="mtf"), ChecksumError),
        (lambda p: _edit(p, sha256="0" * 64), ChecksumError),
    ],
)
def test_damage_to_a_manifest_is_named_with_a_cure(store: Path, damage, error: type[HpcSrError]) -> None:
    damage(store / "manifest.json")
    with pytest.raises(error) as caught:
        Store(store)
    assert "manifest.json" in str(caught.value) and "cure" in str(caught.value)


def _with_entry(**changes: object):
    def change(manifest: Manifest) -> Manifest:
        (entry,) = manifest.splits["train"]
        return replace(manifest, splits={**manifest.splits, "train": (replace(entry, **changes),)})

    return change


@pytest.mark.parametrize(
    "file", ["../outside.h5", "/etc/passwd", "shards/../../x.h5", "shards/a/b.h5", "x.h5", "records/x.json", "a\0b", ""]
)
def test_a_shard_lies_in_the_store_or_nowhere(store: Path, tmp_path: Path, file: str) -> None:
    """Wherever its manifest says, and whatever is to be done with it."""
    (tmp_path / "outside.h5").write_text("mine")
    write_manifest(store, _with_entry(file=file)(read_manifest(store)))
    before = sorted(path for path in tmp_path.rglob("*"))
    for use in (
        lambda: Store(store),
        lambda: merge(tmp_path / "out", [store, store]),
        lambda: staged(store, tmp_path / "node", share=0, shares=1, barrier=lambda: None).__enter__(),
    ):
        with pytest.raises(ManifestError, match="manifest.json"):
            use()
    assert sorted(path for path in tmp_path.rglob("*")) == before


SENSELESS = {
    "no rows": _with_entry(rows=0),
    "rows below none": _with_entry(rows=-3),
    "rows beyond counting": _with_entry(rows=10**30),
    "rows as text": _with_entry(rows="13"),
    "a product that is a path": _with_entry(products=("../product",)),
    "no checksum": _with_entry(sha256="none"),
    "a shard twice": lambda m: replace(m, splits={**m.splits, "test": m.splits["train"]}),
    "a split too few": lambda m: replace(m, splits={"train": m.splits["train"]}),
    "no list of splits": lambda m: replace(m, splits=[]),
    "products without names": lambda m: replace(m, products=({},)),
    "a satellite that is a number": lambda m: replace(m, products=({**m.products[0], "satellite": 2},)),
    "a layer without bands": lambda m: replace(m, layers={"x10": {"shape": [1, 8, 8], "stride": 1}}),
    "a layer of no size": lambda m: replace(m, layers={"x10": {"bands": ["B02"], "shape": [1, 0, 8], "stride": 1}}),
    "statistics of no band": lambda m: replace(m, statistics={"x10": {"mean": [1.0], "std": [1.0]}}),
    "statistics of no layer": lambda m: replace(m, statistics={"x": {"mean": [], "std": []}}),
    "NaN": lambda m: replace(m, statistics={"x10": {"mean": [float("nan")] * 4, "std": [1.0] * 4}}),
    "infinite": lambda m: replace(m, statistics={"x10": {"mean": [1e400] * 4, "std": [1.0] * 4}}),
    "patches of no size": lambda m: replace(m, patch_px=0),
    "patches without end": lambda m: replace(m, patch_px=10**9),
    "a task that is a list": lambda m: replace(m, task=[]),
}


@pytest.mark.parametrize("kind", SENSELESS)
def test_a_manifest_that_does_not_hold_together_is_refused(store: Path, kind: str) -> None:
    write_manifest(store, SENSELESS[kind](read_manifest(store)))
    with pytest.raises(ManifestError, match="(?s)manifest.json.*cure"):
        Store(store)


@pytest.mark.parametrize("surplus", ["of_tomorrow", "sha256 "])
def test_keys_that_nobody_knows_are_refused(store: Path, surplus: str) -> None:
    content = json.loads((store / "manifest.json").read_text())
    del content["sha256"]
    content[surplus] = 1
    write_sealed(store / "manifest.json", content)
    with pytest.raises(ManifestError, match=surplus):
        Store(store)


def test_names_that_are_not_utf_8_do_not_spoil_a_manifest(store: Path) -> None:
    """As a product's that could not be used may be; a manifest of before this was known is read too."""
    manifest = read_manifest(store)
    write_manifest(store, replace(manifest, skipped=({**manifest.skipped[0], "product": "caf\udce9"},)))
    assert read_manifest(store).skipped[0]["product"] == "caf?"
    content = json.loads((store / "manifest.json").read_text())
    del content["sha256"]
    content["skipped"][0]["product"] = "caf\udce9"
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (store / "manifest.json").write_text(json.dumps({"sha256": digest, **content}))
    assert read_manifest(store).skipped[0]["product"] == "caf?"


@pytest.mark.parametrize("layout", ["contiguous", "compact"])
def test_shards_damaged_anywhere_are_read_or_refused(tmp_path: Path, layout: str) -> None:
    """Without checksums: evaluation looks at sizes only."""
    path, values = tmp_path / "s" / "a.h5", patch_values()
    write_shard(path, values, layout)
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    for _ in range(60):
        content = bytearray(whole)
        # Most damage in the first kilobytes, where the structure is.
        for place in rng.integers(0, rng.choice([3000, len(whole)]), 4):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        reader = ShardReader(path, ROWS, LAYERS)
        for read in (
            reader.origins,
            reader.products,
            lambda r=reader: r.take("x20", np.arange(3), np.empty((3, 6, 4, 4), np.int16)),
        ):
            with suppress(HpcSrError):
                read()


def test_a_shard_of_another_store_is_refused(store: Path, tmp_path: Path) -> None:
    manifest = read_manifest(store)
    other = store / "shards" / "other.h5"
    with ShardWriter(other, layers_of(S2X, 4), 2, ("a",), {}, "contiguous") as writer:
        small = {name: np.zeros((2, *layer["shape"]), np.int16) for name, layer in layers_of(S2X, 4).items()}
        writer.append(small, np.zeros((2, 2), np.int32))
    entry = replace(writer.entry(store), rows=2, sha256=sha256_of(other))
    write_manifest(store, replace(manifest, splits={**manifest.splits, "train": (entry,)}))
    (reader,) = Store(store).split("train")
    with pytest.raises(ManifestError, match="another store"):
        reader.take("x10", np.array([0]), np.empty((1, 4, 8, 8), np.int16))
    with pytest.raises(StoreError, match="absent"):
        reader._layers = {**LAYERS, "absent": LAYERS["x10"]}
        reader.take("absent", np.array([0]), np.empty((1, 4, 8, 8), np.int16))
