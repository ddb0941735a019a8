"""Splits: whole tiles or whole days, lists and files of names, and no ground in two of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.image_products import ProductImageSource
from data_prep.images import ImageSource
from data_prep.mgrs import Tile
from data_prep.options import ImageOptions, PrepareOptions, SplitOptions
from data_prep.products import ProductSource
from data_prep.safe_masks import Marks
from data_prep.safe_writer import write_granules
from data_prep.safe_xml import Label
from data_prep.splits import assign_splits
from data_prep.synthetic import landscape, write_product
from hpc_sr.errors import LeakageError, RecipeError
from hpc_sr.sentinel2.bands import mtf_nyquist
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.sentinel2.safe import Product, open_product
from hpc_sr.tasks import BANDS_10M, BANDS_20M, S2X


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return open_product(write_product(tmp_path_factory.mktemp("split"), landscape(96, 5)))


def _source(product: Product, tile: str, date: str = "2023-06-15", ulx_m: float = 0.0, crs: str = "EPSG:32633"):
    """Return a source of the same pixels under another name, on its own ground unless a corner is given."""
    ulx_m = ulx_m or 300_000.0 + 2_000.0 * (sum(map(ord, tile)) % 97)
    grids = {gsd: Grid(gsd, g.height, g.width, ulx_m, g.uly_m, crs) for gsd, g in product.grids.items()}
    named = replace(product, name=f"P_T{tile}_{date}", tile=tile, sensing_time=f"{date}T10:00:00", grids=grids)
    return ProductSource(named, S2X, PrepareOptions(products=("x",)))


def _splits(sources: list[ProductSource], **options: object) -> dict[str, str]:
    return {source.name: split for source, split in assign_splits(sources, SplitOptions(**options))}


_TILES = [f"33U{a}{b}" for a in "UVWX" for b in "ABC"]


def test_a_tile_is_never_in_two_splits_and_the_seed_decides(product: Product) -> None:
    sources = [_source(product, tile, date) for tile in _TILES for date in ("2023-06-15", "2024-06-15")]
    drawn = _splits(sources, validation_share=0.25, test_share=0.25, seed=3)
    assert drawn == _splits(sources[::-1], validation_share=0.25, test_share=0.25, seed=3)
    assert drawn != _splits(sources, validation_share=0.25, test_share=0.25, seed=4)
    by_tile = {tile: {split for name, split in drawn.items() if tile in name} for tile in _TILES}
    assert all(len(splits) == 1 for splits in by_tile.values())
    assert sorted(split for (split,) in by_tile.values()) == ["test"] * 3 + ["train"] * 6 + ["validation"] * 3


def test_days_can_be_the_unit_instead(product: Product) -> None:
    days = ["2023-06-15", "2023-07-15", "2024-06-15"]
    sources = [_source(product, tile, day) for tile in _TILES[:4] for day in days]
    drawn = _splits(sources, by="date", test=("2024-06-15",))
    assert {name[-10:]: split for name, split in drawn.items()} == {
        "2023-06-15": "train",
        "2023-07-15": "train",
        "2024-06-15": "test",
    }


def test_lists_name_tiles_products_and_files(product: Product, tmp_path: Path) -> None:
    sources = [_source(product, tile) for tile in _TILES[:4]]
    listed = tmp_path / "test_tiles.txt"
    listed.write_text(f"# held out\n{sources[1].name}.SAFE\n\nS2A_not_fetched.SAFE  # elsewhere\n")
    drawn = _splits(sources, test=(str(listed),), validation=(_TILES[0],))
    assert drawn == {
        sources[0].name: "validation",
        sources[1].name: "test",
        sources[2].name: "train",
        sources[3].name: "train",
    }
    with pytest.raises(RecipeError, match="33XYZ is no tile"):
        _splits(sources, test=("33XYZ",))
    with pytest.raises(RecipeError, match="cannot be read"):
        _splits(sources, test=("nowhere.txt",))


def test_two_dates_of_a_tile_in_two_splits_are_leakage(product: Product) -> None:
    sources = [_source(product, "33UUB", day) for day in ("2023-06-15", "2024-06-15")] + [_source(product, "33UVB")]
    with pytest.raises(LeakageError, match="tile 33UUB is in train .* and in test"):
        _splits(sources, train=(sources[0].name,), test=(sources[1].name,))
    assert _splits(sources, test=(sources[1].name,))[sources[0].name] == "test"


def test_shares_that_leave_nothing_are_an_error(product: Product) -> None:
    with pytest.raises(RecipeError, match="leaves the test or the training split empty"):
        _splits([_source(product, "33UUB")], test_share=0.5)
    with pytest.raises(RecipeError, match="nothing is left to train on"):
        _splits([_source(product, "33UUB")], test=("33UUB",))


def test_messages_speak_of_what_is_prepared(product: Product) -> None:
    tile, pictures = _source(product, "33UUB"), [ImageSource(f"p{k}", {}, 1, S2X, "bicubic") for k in range(5)]
    bands = ProductImageSource(tile.product, S2X, ImageOptions(products=("x",)))
    for sources, counted, where, cure in (
        (pictures, "0.1 of 5 pictures", "images.split.validation_share", "add pictures or name them in images.split"),
        ([bands], "0.1 of 1 tiles", "images.split.validation_share", "add products or name them in images.split"),
        ([tile], "0.1 of 1 tiles", "prepare.split.validation_share", "add products or name them in prepare.split"),
    ):
        with pytest.raises(RecipeError, match=counted) as error:
            assign_splits(sources, SplitOptions(validation_share=0.1))
        assert (error.value.where, error.value.cure) == (where, cure)
    with pytest.raises(RecipeError, match="p9 is no name of a picture") as error:
        assign_splits(pictures, SplitOptions(test=("p9",)))
    assert error.value.where == "images.split.test"


def test_training_patches_leave_held_out_ground_alone(product: Product) -> None:
    # 96 px at 10 m: 960 m a side. The neighbour reaches 300 m into the training tile from the east.
    train, held = _source(product, "33UUB", ulx_m=300_000.0), _source(product, "33UVB", ulx_m=300_660.0)
    far = _source(product, "33UXB", ulx_m=340_000.0)
    pairs = dict((s.name, s) for s, _ in assign_splits([train, held, far], SplitOptions(test=("33UVB", "33UXB"))))
    mask = pairs[train.name].pair(training=True).marks["held_out"]
    expected = np.zeros((48, 48), bool)
    expected[:, 33:] = True
    np.testing.assert_array_equal(mask, expected)
    assert pairs[train.name].facts() != train.facts()
    assert pairs[held.name].held_out == () and "held_out" not in pairs[train.name].pair(training=False).marks


def test_ground_is_compared_across_zones(product: Product) -> None:
    # 15 degrees east is the border of zones 32... 33: the same place has easting 500 000 +- in its neighbour zone.
    from rasterio.warp import transform

    (east,), (north,) = transform("EPSG:32633", "EPSG:32632", [300_480.0], [product.grids[10].uly_m - 480.0])
    same = _source(product, "32UPE", ulx_m=round(east) - 480.0, crs="EPSG:32632")
    grids = {g: replace(grid, uly_m=round(north) + 480.0) for g, grid in same.product.grids.items()}
    same = replace(same, product=replace(same.product, grids=grids))
    train = _source(product, "33UUB", ulx_m=300_000.0)
    avoiding = train.avoiding([same])
    assert len(avoiding.held_out) == 1
    assert avoiding.pair(training=True).marks["held_out"].mean() > 0.9
    assert train.avoiding([_source(product, "32UAA", ulx_m=300_000.0, crs="EPSG:32602")]).held_out == ()


@pytest.mark.parametrize("swapped", [False, True])
def test_ground_is_compared_across_180_degrees(tmp_path: Path, swapped: bool) -> None:
    # Two tiles of 960 m, of zones 60 and 1, on nearly the same ground.
    from rasterio.warp import transform

    (east,), (north,) = transform("EPSG:32701", "EPSG:32760", [178_900.0], [8_199_500.0])
    tiles = [
        Tile("01KAB", "EPSG:32701", 178_420, 8_199_980),
        Tile("60KXF", "EPSG:32760", round(east) - 480, round(north) + 480),
    ]
    scene = landscape(96, 5)
    labels = [Label("L1C", "05.09", "S2A", place, "2023-06-15") for place in (tiles[::-1] if swapped else tiles)]
    products = [open_product(write_granules(tmp_path, [(label, scene)], Marks())) for label in labels]
    train, held = (ProductSource(product, S2X, PrepareOptions(products=("x",))) for product in products)
    (trained, _), (_, split) = assign_splits([train, held], SplitOptions(test=(held.tile,)))
    assert split == "test" and isinstance(trained, ProductSource)
    assert len(trained.held_out) == 1
    assert trained.pair(training=True).marks["held_out"].mean() > 0.9


def test_the_jittered_mtf_is_the_product_s_own_and_only_for_training(product: Product) -> None:
    options = PrepareOptions(products=("x",), mtf_jitter=0.05)
    one, other = (replace(_source(product, tile, ulx_m=300_000.0), options=options) for tile in ("33UUB", "33UVB"))
    first, again, second = one.pair(True), one.pair(True), other.pair(True)
    plain = one.pair(False)
    assert first.found["mtf_nyquist"] == again.found["mtf_nyquist"] != second.found["mtf_nyquist"]
    assert plain.found["mtf_nyquist"] == {band: mtf_nyquist(band, "S2A") for band in (*BANDS_10M, *BANDS_20M)}
    moved = [first.found["mtf_nyquist"][band] - mtf for band, mtf in plain.found["mtf_nyquist"].items()]
    assert 0 < max(map(abs, moved)) <= 0.0501
    assert (first.layers["x10"] != plain.layers["x10"]).any() and (first.layers["x10"] != second.layers["x10"]).any()
    np.testing.assert_array_equal(first.layers["target"], plain.layers["target"])


def test_a_list_that_names_what_was_left_out_hears_why(product: Product, tmp_path: Path, log_lines: list[str]) -> None:
    older, newer = _source(product, "33UUA"), _source(product, "33UVB")
    left_out = {f"{older.name}.SAFE": "is the acquisition of NEWER, of baseline 05.09\n  cure: ..."}
    with pytest.raises(RecipeError, match=f"{older.name} is left out: is the acquisition of NEWER") as error:
        assign_splits([newer], SplitOptions(test=(older.name,)), left_out)
    assert "name the product that is taken" in str(error.value)
    (tmp_path / "x.txt").write_text(older.name)
    assign_splits([newer], SplitOptions(test=(str(tmp_path / "x.txt"),)), left_out)
    assert any("left out: is the acquisition of NEWER" in line for line in log_lines)
