"""Blocks of one tile: no pixel is learnt and tested, whatever the seed, the task and the products."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.blocks import split_into_blocks
from data_prep.build import prepare
from data_prep.catalog import product_sources
from data_prep.inspection import facts
from data_prep.options import PrepareOptions
from data_prep.patches import cut, patch_origins, refuse
from data_prep.products import ProductSource
from data_prep.synthetic import Scene, landscape, write_product
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.config import parse
from hpc_sr.errors import HpcSrError, RecipeError
from hpc_sr.sentinel2.ground import ground_of
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.safe import Product, open_product
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X, S6X, S26X, Task

_SIDE_10M = 720


@pytest.fixture(scope="module")
def scene() -> Scene:
    return landscape(_SIDE_10M, 3)


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("blocks"), scene)


@pytest.fixture(scope="module")
def product(path: Path) -> Product:
    return open_product(path)


def _options(path: Path, **changes) -> PrepareOptions:
    split = {"by": "block", "validation_share": 0.15, "test_share": 0.15, "block_px": 48, "margin_px": 5}
    given = {"products": [str(path)], "patch_px": 16, "stride_px": 8, "maps": False, "refuse": "none"}
    given["registration_px"] = None
    return parse(PrepareOptions, {**given, **changes, "split": {**split, **changes.get("split", {})}}, "prepare")


_SMALL = {"patch_px": 12, "stride_px": 6, "split": {"block_px": 40, "margin_px": 2}}


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (S2X, {"mtf_jitter": 0.1, "stride_px": 2}),
        (S2X, {"degradation": "wald", "stride_px": 2, "split": {"seed": 7, "margin_px": 0}}),
        (S6X, _SMALL),
        (S26X, {**_SMALL, "split": {"block_px": 40, "margin_px": 1, "seed": 1}}),
    ],
)
def test_what_is_tested_decides_nothing_that_is_learnt(
    path: Path, scene: Scene, tmp_path: Path, task: Task, changes: dict
) -> None:
    """Other pixels in the held-out blocks and the margin around them change no training patch; other pixels outside of
    the blocks change no held-out patch."""
    options = _options(path, **changes)
    (source,) = product_sources(options, task)[0]
    parts = {split: part for part, split in split_into_blocks([source], options.split)}
    assert set(parts) == {"train", "validation", "test"}
    held, grid = [*parts["validation"].blocks, *parts["test"].blocks], source.product.grids[10]
    assert _pixels(held, grid).sum() == len(held) * (options.split.block_px * task.grid_gsd_m // 10) ** 2
    around = _pixels(held, grid, by_m=options.split.margin_px * task.grid_gsd_m)
    for spoilt, splits in ((around, ("train",)), (~_pixels(held, grid), ("validation", "test"))):
        other = open_product(_with_other_pixels(tmp_path / f"{len(splits)}", scene, spoilt))
        for split in splits:
            pair = parts[split].pair(training=split == "train")
            origins = patch_origins(*pair.shape, options.patch_px, options.stride_px, task.alignment_px)
            kept, _ = refuse(origins, options.patch_px, pair.marks, options.refuse.limits())
            assert len(kept)
            changed = replace(parts[split], product=other).pair(training=split == "train")
            for layer in task.layers:
                ours, theirs = (
                    cut(p.layers[layer.name], kept, options.patch_px, layer.stride) for p in (pair, changed)
                )
                np.testing.assert_array_equal(ours, theirs)
                assert (pair.layers[layer.name] != changed.layers[layer.name]).any(), "nothing was spoilt"
            for block in parts[split].blocks:
                row, column = (grid.uly_m - block.bounds_m[3]) / 10, (block.bounds_m[0] - grid.ulx_m) / 10
                corner = np.array([row, column]) * 10 / task.grid_gsd_m
                inside = ((kept >= corner) & (kept < corner + options.split.block_px)).all(1)
                assert inside.any(), "a block without a patch"


def _pixels(blocks, grid: Grid, by_m: float = 0) -> np.ndarray:
    """Return the 10 m pixels of these blocks, from their metres."""
    mask = np.zeros((grid.height, grid.width), bool)
    for block in blocks:
        left, bottom, right, top = block.bounds_m
        rows = slice(max(0, round((grid.uly_m - top - by_m) / 10)), round((grid.uly_m - bottom + by_m) / 10))
        columns = slice(max(0, round((left - grid.ulx_m - by_m) / 10)), round((right - grid.ulx_m + by_m) / 10))
        mask[rows, columns] = True
    return mask


def _with_other_pixels(folder: Path, scene: Scene, spoilt_10m: np.ndarray) -> Path:
    """Write the scene's product with other values at these pixels, in all bands."""
    dn = {}
    for name, values in scene.dn.items():
        ratio = len(spoilt_10m) // len(values)
        dn[name] = np.where(spoilt_10m[::ratio, ::ratio], values + 1500, values).astype(np.uint16)
    return write_product(folder, Scene(dn))


def _moved(product: Product, tile: str, date: str, right_m: float) -> Product:
    grids = {gsd: replace(grid, ulx_m=grid.ulx_m + right_m) for gsd, grid in product.grids.items()}
    return replace(product, name=f"P_T{tile}_{date}", tile=tile, sensing_time=f"{date}T10:00:00", grids=grids)


def test_dates_share_blocks_and_neighbours_respect_them_in_any_order(path: Path, product: Product) -> None:
    options = _options(path)
    places = [("33UUB", "2023-06-15", 0), ("33UUB", "2024-06-15", 0), ("33UVB", "2023-06-15", 4_800)]
    sources = [ProductSource(_moved(product, *place), S2X, options) for place in places]
    forward, backward = (
        {source.name: source for source, _ in split_into_blocks(order, options.split)}
        for order in (sources, sources[::-1])
    )
    assert forward == backward and len(forward) == 9
    for part in ("validation", "test"):
        first, second, neighbour = (forward[f"{source.name}.{part}"].blocks for source in sources)
        assert first == second and set(first) != set(neighbour)
    grid = sources[0].product.grids[10]
    mask = forward[sources[0].name].pair(training=True).marks["held_out"]
    for block in (b for name, s in forward.items() for b in s.blocks if name.startswith("P_T33UVB")):
        inside = _pixels([block], grid)[::2, ::2]
        assert mask[inside].all(), "a neighbour's block is trained on"
    other_seed = split_into_blocks(sources, options.split.model_copy(update={"seed": 1}))
    assert {s.name: s for s, _ in other_seed} != forward


def test_a_store_of_one_product_has_three_splits_and_tells_them(path: Path, tmp_path: Path) -> None:
    options = _options(path)
    prepare(options, S2X, tmp_path / "s", SerialWorld())
    store = Store(tmp_path / "s")
    name = open_product(path).name
    rows = {split: store.manifest.rows(split) for split in ("train", "validation", "test")}
    assert all(rows.values()) and "of 1 products" in store.manifest.contents()
    told = {line["product"]: line for line in facts(store)["products"]}
    assert {key: (line["split"], line["patches"]) for key, line in told.items()} == {
        name: ("train", rows["train"]),
        f"{name}.validation": ("validation", rows["validation"]),
        f"{name}.test": ("test", rows["test"]),
    }
    assert told[name]["refused"]["held_out"] > 0
    assert told[f"{name}.test"]["part_of"] == name and len(told[f"{name}.test"]["blocks"]["bounds_m"]) == 7
    # Patches lie on other ground: every pair of splits is at least the margin apart.
    origins = {split: np.concatenate([s.origins() for s in store.split(split)]) for split in rows}
    for ours, other in itertools.combinations(origins, 2):
        away = np.abs(origins[ours][:, None] - origins[other][None]).max(-1) - options.patch_px
        assert away.min() >= (options.split.margin_px if ours == "train" else 0)
    before = (tmp_path / "s" / "manifest.json").read_bytes()
    prepare(options, S2X, tmp_path / "s", SerialWorld())
    assert (tmp_path / "s" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": ["33UUB"]}, "33UUB is a whole one: give shares"),
        ({"validation_share": 0, "test_share": 0}, "holds nothing out"),
        ({"block_px": 24}, "(?s)hold no patch of 16 px every 8 px.*at least 29"),
        ({"block_px": 360}, "(?s)blocks of 360 px is 0.*a smaller block_px"),
        ({"block_px": 180, "validation_share": 0.5, "test_share": 0.49}, "4 of 4 blocks are held out"),
    ],
)
def test_blocks_that_cannot_be_are_refused_with_the_cure(
    path: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        prepare(_options(path, split=changes), S2X, tmp_path / "s", SerialWorld())
    assert not (tmp_path / "s" / "manifest.json").exists()


def test_a_store_may_change_its_split_only_with_a_word(path: Path, tmp_path: Path) -> None:
    prepare(_options(path), S2X, tmp_path / "s", SerialWorld())
    with pytest.raises(HpcSrError, match="would be removed.*validation"):
        prepare(
            _options(path, split={"by": "tile", "validation_share": 0, "test_share": 0}),
            S2X,
            tmp_path / "s",
            SerialWorld(),
        )
    assert Store(tmp_path / "s").manifest.rows("test")


def test_the_ground_of_a_grid_is_where_blocks_begin(path: Path, product: Product) -> None:
    options = _options(path)
    left, _, _, top = ground_of(product.grids[10]).bounds_m
    (source,) = product_sources(options, S2X)[0]
    side_m = options.split.block_px * 20
    for part, _ in split_into_blocks([source], options.split):
        for block in part.blocks:
            x0, y0, x1, y1 = block.bounds_m
            assert (x0 - left) % side_m == (top - y1) % side_m == 0 and (x1 - x0, y1 - y0) == (side_m, side_m)
