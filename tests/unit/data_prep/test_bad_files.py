"""Recipes, manifests, records and generations changed at random: each ends in a typed error with a cure, or works.

Seeds are fixed. HPC_SR_CASES=5000 tries more of each kind than the suite does.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_sources import FakeSource, patches_of, run, sources, tree

from data_prep.inspection import facts, inspect
from data_prep.merge import merge
from hpc_sr.errors import HpcSrError, RecipeError
from hpc_sr.recipe import as_yaml, derived, load_recipe
from hpc_sr.shards.reader import Store
from hpc_sr.shards.staging import staged

CASES = int(os.environ.get("HPC_SR_CASES", "120"))
BLOCKS = 4

ODD_WORDS = ["", "x", "../x", "/etc/passwd", "a\nb", "a\0b", "\udcff", "日本", "{{x}}", "nan", "1e400", "-rf", "~"]
ODD_NUMBERS = [0, 1, -1, 2, 10**9, 10**30, -(10**30), 2**63, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf")]
ODD_LISTS = [[], [[]], [1, "x", None], ["a"] * 50, [1, 8, 8], {}, {"x": 1}, {"product": "a"}]
ODD = [None, True, *ODD_WORDS, "x" * 300, "2020-13-45", "0" * 64, *ODD_NUMBERS, *ODD_LISTS]

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "task": "s2x",
    "store": "stores/tiny",
    "prepare": {
        "products": ["a.SAFE"],
        "degradation": "wald",
        "patch_px": 16,
        "stride_px": 8,
        "mtf_jitter": 0.0,
        "split": {"train": ["33UUB"], "validation": ["32TQM"], "test_share": 0.1, "seed": 3},
        "refuse": {"cloud": 0.2},
    },
    "model": {"family": "s2x", "width": 32, "blocks": 2},
    "optimizer": {"name": "adam", "base_lr": 1e-3, "betas": [0.9, 0.99], "eps": 1e-8},
    "schedule": {"total_samples": 1000, "warmup_samples": 10, "decay": "step", "step_every_samples": 100},
    "train": {"seed": 1, "clip_norm": 1.0, "global_batch_size": None, "stage": "$TMPDIR", "runs": "runs"},
    "comm": {"backend": "ddp", "stall_s": 60, "bucket_mb": 4.0},
}


def changed(tree: Any, rng: random.Random) -> Any:
    """Return a copy with a few values, of whatever depth, replaced, taken away, doubled or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        place, key = rng.choice(list(places(tree)))
        what = rng.random()
        if what < 0.7:
            place[key] = copy.deepcopy(rng.choice(ODD))
        elif what < 0.85:
            del place[key]
        elif isinstance(place, dict):
            place[str(rng.choice(ODD))] = place[key]
        else:
            place.append(place[key])
        if not list(places(tree)):
            break
    return tree


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key])


def spoilt(text: bytes, rng: random.Random) -> bytes:
    """Return the text with a few bytes changed, put in or cut off."""
    content = bytearray(text)
    for _ in range(rng.choice([1, 2, 5])):
        place = rng.randrange(len(content) or 1)
        piece = rng.choice(
            [b"\0", b"\xff", b"{", b"[", b"}", b"*a", b"&a ", b"!!int ", b"\n", b"  ", b": ", b"- ", b"'"]
        )
        what = rng.random()
        if what < 0.4:
            content[place:place] = piece
        elif what < 0.8:
            content[place : place + 1] = piece
        else:
            del content[place:]
    return bytes(content)


def telling(error: HpcSrError) -> bool:
    return bool(error.cure) and len(str(error)) < 5000


@pytest.mark.parametrize("block", range(BLOCKS))
def test_recipes(tmp_path: Path, block: int) -> None:
    rng = random.Random(1000 + block)
    path, again = tmp_path / "it.yaml", tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    load_recipe(path)
    for _ in range(2 * CASES // BLOCKS):
        if rng.random() < 0.7:
            with suppress(yaml.YAMLError):  # what cannot be written as YAML at all
                path.write_text(yaml.safe_dump(changed(RECIPE, rng)), errors="surrogatepass")
        else:
            path.write_bytes(spoilt(yaml.safe_dump(RECIPE).encode(), rng))
        overrides = [f"{rng.choice(['train.seed', 'store', 'prepare', 'x.y'])}={rng.choice(ODD)}"]
        try:
            recipe = load_recipe(path, overrides if rng.random() < 0.2 else None)
        except RecipeError as error:
            assert telling(error)
            continue
        derived(recipe, rng.choice([1, 4, 1000]))
        again.write_text(as_yaml(recipe))
        assert load_recipe(again) == recipe


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and beside it one that it may be merged with."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(monkeypatch, folder / "store", sources(1))
        run(monkeypatch, folder / "other", [FakeSource("far", "31UDA")], split={})
    return folder


def write(path: Path, content: Any, rng: random.Random) -> None:
    """Write a JSON file with a right checksum, a wrong one, or none."""
    text = json.dumps(content, sort_keys=True)
    digest = rng.choice([hashlib.sha256(text.encode()).hexdigest()] * 3 + ["0" * 64, None])
    if isinstance(content, dict) and digest:
        content = {"sha256": digest, **content}
    path.write_text(json.dumps(content))


def opened(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    del content["sha256"]
    return content


@pytest.mark.parametrize("block", range(BLOCKS))
def test_manifests(whole: Path, tmp_path: Path, block: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng, store = random.Random(2000 + block), tmp_path / "store"
    shutil.copytree(whole / "store", store)
    manifest = store / "manifest.json"
    content, text = opened(manifest), manifest.read_bytes()
    outside = tree(whole)
    for number in range(CASES // BLOCKS):
        if rng.random() < 0.8:
            write(manifest, changed(content, rng), rng)
        else:
            manifest.write_bytes(spoilt(text, rng))
        uses = [
            lambda: facts(Store(store)),
            lambda: inspect(store, None, as_json=True),
            lambda: list(Store(store).damaged()),
            lambda number=number: merge(tmp_path / f"merged_{number}", [store, whole / "other"]),
            lambda: staged(store, tmp_path / "node", share=0, shares=1, barrier=lambda: None).__enter__(),
        ]
        if rng.random() < 0.05:
            uses.append(lambda: inspect(store, tmp_path / "merged_sheet.png"))
        for use in uses:
            try:
                use()
            except HpcSrError as error:
                assert telling(error)
        capsys.readouterr()
    strays = {path.name.split("_")[0] for path in tmp_path.iterdir()} - {"store", "merged", "node"}
    assert not strays and tree(whole) == outside


@pytest.mark.parametrize("block", range(BLOCKS))
def test_records_and_generations(monkeypatch: pytest.MonkeyPatch, whole: Path, tmp_path: Path, block: int) -> None:
    rng, store = random.Random(3000 + block), tmp_path / "store"
    shutil.copytree(whole / "store", store)
    right, files = patches_of(store), tree(store)
    changeable = [store / file for file in files if file.startswith(("records/", "generations/"))]
    (tmp_path / "mine").write_text("mine")
    for _ in range(CASES // BLOCKS // 3):
        for path in rng.sample(changeable, rng.choice([1, 2])):
            content = opened(path) if rng.random() < 0.8 else None
            if content is None:
                path.write_bytes(spoilt(path.read_bytes(), rng))
            else:
                write(path, changed(content, rng), rng)
        try:
            run(monkeypatch, store, sources(1))
        except HpcSrError as error:
            assert telling(error)
        else:
            Store(store).verify()
            assert patches_of(store) == right
        for path in changeable:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(files[str(path.relative_to(store))])
        shutil.rmtree(store / "parts", ignore_errors=True)
        (store / "manifest.json").write_bytes(files["manifest.json"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "store"]
