"""hpc_sr.sharpen: the file's values, the conventions of rioxarray, every form of bands in xarray, what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers .rio
import xarray
from made_networks import saved, trained
from support import run_cli

import hpc_sr
from data_prep.synthetic import landscape, write_product
from hpc_sr.errors import (
    HpcSrError,
    ImageError,
    MissingComponentError,
    OutputError,
    RecipeError,
    RegionError,
    UnknownBandError,
)
from hpc_sr.infer.images import ProductImage
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M, S2X, S6X

NAMES = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
GRIDS = {10: BANDS_10M, 20: BANDS_20M, 60: BANDS_60M}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of 180 x 240 px with holes at 10 m and at 20 m."""
    scene = landscape(240, 3)
    scene.dn["B11"][20:24, 60:70] = 0
    scene.dn["B04"][7, 9] = 0
    return write_product(tmp_path_factory.mktemp("api"), scene, tile="33UUB")


@pytest.fixture(scope="module")
def sharp(product: Path) -> xarray.Dataset:
    return hpc_sr.sharpen(product, method="guided")


@pytest.fixture(scope="module")
def native(product: Path) -> dict[int, xarray.Dataset]:
    """The product's bands as reflectance on their own grids, by resolution."""
    image, found = ProductImage(hpc_sr.open_product(product)), {}
    for gsd_m, names in GRIDS.items():
        grid, variables = image.grids[gsd_m], {}
        for name in names:
            law, dn = image.radiometry(name), image.open(name).read(Area(0, 0, grid.height, grid.width))
            values = np.where(law.missing(dn), np.nan, (dn.astype(np.float64) + law.offset) / law.quantification)
            variables[name] = (("y", "x"), values)
        coordinates = {
            "x": grid.ulx_m + (np.arange(grid.width) + 0.5) * gsd_m,
            "y": grid.uly_m - (np.arange(grid.height) + 0.5) * gsd_m,
        }
        found[gsd_m] = xarray.Dataset(variables, coordinates).rio.write_crs(grid.crs)
    return found


def on_one_grid(native: dict[int, xarray.Dataset]) -> xarray.DataArray:
    """Return what stackstac makes of the bands: all at 10 m, the coarse ones repeated, in one array with `epsg`."""
    planes = [
        np.kron(data[name].values, np.ones((gsd_m // 10, gsd_m // 10)))
        for gsd_m, data in native.items()
        for name in data.data_vars
    ]
    names = [name for data in native.values() for name in data.data_vars]
    coordinates = {"band": names, "x": native[10].x, "y": native[10].y, "epsg": 32633, "time": ["2023-06-15"]}
    return xarray.DataArray(np.stack(planes)[None], coordinates, ("time", "band", "y", "x"), name="stackstac")


def with_own_dims(native: dict[int, xarray.Dataset]) -> xarray.Dataset:
    """Return one dataset with dimensions y_10m, x_10m, y_20m ..."""
    renamed = [data.rename(x=f"x_{gsd_m}m", y=f"y_{gsd_m}m") for gsd_m, data in native.items()]
    return xarray.merge(renamed, compat="no_conflicts").assign(
        SCL=(("y_20m", "x_20m"), np.zeros(native[20].B05.shape, np.uint8))
    )


def as_dn(native: dict[int, xarray.Dataset]) -> list[xarray.Dataset]:
    """Return whole numbers with the attributes that say what they mean."""
    told = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0}
    numbers = [(((data + 0.1) * 1e4).round().fillna(0)).astype(np.uint16) for data in native.values()]
    for data in numbers:
        for band in data.data_vars.values():
            band.attrs = told
    return numbers


FORMS: dict[str, Callable] = {
    "a dict of datasets by resolution": lambda native: native,
    "a list of arrays with a dimension `band`": lambda native: [data.to_dataarray("band") for data in native.values()],
    "one dataset with dimensions of its own for each grid": with_own_dims,
    "all bands repeated on the 10 m grid": on_one_grid,
    "the same as a dataset": lambda native: on_one_grid(native).isel(time=0).to_dataset("band"),
    "whole numbers with a scale": as_dn,
    "dask's chunks": lambda native: [data.chunk(x=50, y=70) for data in native.values()],
    "dask's chunks on one grid": lambda native: on_one_grid(native).chunk(x=100, y=77, band=1),
    "common names": lambda native: [
        native[10].rename(B02="blue", B03="green", B04="red", B08="nir"),
        native[20].rename(B05="rededge1", B06="rededge2", B07="rededge3", B8A="nir08", B11="swir16", B12="swir22"),
        native[60].rename(B01="coastal", B09="nir09"),
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_bands_in_xarray_give_what_the_product_gives(
    native: dict[int, xarray.Dataset], sharp: xarray.Dataset, form: str
) -> None:
    found = hpc_sr.sharpen(FORMS[form](native))
    assert list(found) == NAMES
    for name in NAMES:
        np.testing.assert_allclose(found[name], sharp[name], rtol=0, atol=2e-5)
    assert found.rio.crs == sharp.rio.crs and found.rio.transform() == sharp.rio.transform()


def test_a_dataset_is_the_file(product: Path, sharp: xarray.Dataset, tmp_path: Path) -> None:
    assert not run_cli("infer", product, "--method", "guided", "--dtype", "float32", "--out", tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as tif:
        assert list(sharp) == list(tif.descriptions)
        for index, name in enumerate(tif.descriptions, start=1):
            assert np.array_equal(sharp[name].values, tif.read(index), equal_nan=True), name
            assert sharp[name].attrs["native_gsd_m"] == str(BANDS[name].gsd_m)
        assert sharp.rio.crs == tif.crs and sharp.rio.transform() == tif.transform
        assert sharp.rio.bounds() == tuple(tif.bounds)
        for key in ("product", "level", "model", "degradation"):
            assert sharp.attrs[key] == tif.tags()[key]
    written = hpc_sr.sharpen(str(product), method="guided", out=str(tmp_path / "y"), dtype="float32")
    assert written == tmp_path / "y" / f"{product.stem}.tif"
    assert written.read_bytes() == (tmp_path / "x.tif").read_bytes()


def test_a_dataset_goes_where_rioxarray_and_files_go(sharp: xarray.Dataset, tmp_path: Path) -> None:
    assert all(np.isnan(band.rio.encoded_nodata) for band in sharp.data_vars.values())
    sharp.rio.to_raster(tmp_path / "r.tif")
    with rasterio.open(tmp_path / "r.tif") as tif:
        assert tif.crs == "EPSG:32633" and np.isnan(tif.nodata) and list(tif.descriptions) == NAMES
        assert tif.transform == sharp.rio.transform() and tif.read(5)[0, 0] == sharp.B05.values[0, 0]
    assert (sharp.B08 - sharp.B04).rio.crs == "EPSG:32633"
    assert np.isnan(sharp.B11.values[40:48, 120:140]).all() and np.isnan(sharp.B11.values).sum() == 160
    assert np.isnan(sharp.B04.values[7, 9]) and sharp.B05.dtype == np.float32


@pytest.mark.parametrize(
    ("crs", "step", "x", "y"),
    [
        ("EPSG:4326", 1e-4, ("degrees_east", "longitude"), ("degrees_north", "latitude")),
        ("EPSG:32633", 10, ("metre", "projection_x_coordinate"), ("metre", "projection_y_coordinate")),
    ],
)
def test_coordinates_say_what_they_are_in(tmp_path: Path, crs: str, step: float, x: tuple, y: tuple) -> None:
    files = []
    for factor, names in ((1, ("B02", "B04")), (2, ("B05", "B11"))):
        files.append(tmp_path / f"{factor}.tif")
        size = {"count": 2, "width": 24 // factor, "height": 24 // factor, "dtype": "float32", "nodata": np.nan}
        where = {"crs": crs, "transform": rasterio.transform.from_origin(13, 55, step * factor, step * factor)}
        with rasterio.open(files[-1], "w", driver="GTiff", **size, **where) as tif:
            tif.write(np.full((2, 24 // factor, 24 // factor), 0.1, np.float32))
            tif.descriptions = names
    sharpened = hpc_sr.sharpen(files, method="nearest")
    for axis, told in (("x", x), ("y", y)):
        assert (sharpened[axis].attrs["units"], sharpened[axis].attrs["standard_name"]) == told


def test_a_region_is_cut_and_bands_are_chosen(product: Path, sharp: xarray.Dataset) -> None:
    opened, chosen = hpc_sr.open_product(product), {"bands": ["B8A", "B03"], "region_px": (60, 66, 60, 30)}
    part = hpc_sr.sharpen(opened, method="guided", **chosen)
    assert list(part) == ["B03", "B8A"] and dict(part.sizes) == {"y": 60, "x": 30 + 6 - 6}
    for name in part:
        assert np.array_equal(part[name], sharp[name].sel(x=part.x, y=part.y), equal_nan=True)
    left, bottom, right, top = part.rio.bounds()
    again = hpc_sr.sharpen(product, bands="B03", region_map=(left, bottom, right, top))
    assert np.array_equal(again.B03, part.B03) and again.x.equals(part.x)
    west, south, east, north = part.rio.transform_bounds("EPSG:4326")
    inside = (0.6 * west + 0.4 * east, 0.6 * south + 0.4 * north, (west + east) / 2, (south + north) / 2)
    small = hpc_sr.sharpen(product, bands="B03", region=inside)
    assert small.sizes["x"] <= part.sizes["x"] and part.x.min() <= small.x.min()


def test_ready_made_weights_are_taken_for_the_level_and_a_part_is_as_the_whole(
    product: Path, sharp: xarray.Dataset, native: dict[int, xarray.Dataset]
) -> None:
    whole = hpc_sr.sharpen(product)
    assert list(whole) == NAMES and whole.B8A.attrs["model"] == "detail"
    assert whole.B09.identical(sharp.B09) and not np.array_equal(whole.B8A, sharp.B8A, equal_nan=True)
    part = hpc_sr.sharpen(product, weights="detail_mtf", bands="B8A", region_px=(60, 66, 60, 30))
    np.testing.assert_allclose(part.B8A, whole.B8A.sel(x=part.x, y=part.y), rtol=0, atol=2e-5)
    unknown = hpc_sr.sharpen([native[10], native[20].drop_vars("B05")])
    assert unknown.B8A.attrs["model"] == "guided"


def test_networks_are_given_by_path_or_loaded(product: Path, tmp_path: Path) -> None:
    runs = [saved(tmp_path / task.name, trained(task, px)) for task, px in ((S2X, 16), (S6X, 24))]
    by_path = hpc_sr.sharpen(product, runs, bands="sharpened", back_project=True)
    loaded = hpc_sr.sharpen(product, [hpc_sr.load_model(run) for run in runs], bands="sharpened", back_project=True)
    assert by_path.equals(loaded) and len(by_path) == 8 and "step 7" in by_path.attrs["model"]
    assert list(hpc_sr.sharpen(product, str(runs[0]), self_ensemble=True, spread=True))[-1] == "B12_spread"


def test_only_chunks_near_the_region_are_computed(native: dict[int, xarray.Dataset]) -> None:
    import dask.array

    seen: list[tuple[int, ...]] = []

    def noted(values: np.ndarray, block_info: dict) -> np.ndarray:
        seen.append(block_info[0]["chunk-location"][1:])
        return values

    large = {}
    for gsd_m, data in native.items():
        array = data.to_dataarray("band")
        tiles = dask.array.tile(array.data, (1, 5, 5)).rechunk((1, 2400 // gsd_m, 2400 // gsd_m))
        lazy = dask.array.map_blocks(noted, tiles, dtype=tiles.dtype, meta=np.empty((0, 0, 0)))
        left, top = float(array.x[0]), float(array.y[0])
        coordinates = {
            "band": array.band,
            "x": left + gsd_m * np.arange(lazy.shape[2]),
            "y": top - gsd_m * np.arange(lazy.shape[1]),
        }
        large[gsd_m] = xarray.DataArray(lazy, coordinates, ("band", "y", "x"))
    found = hpc_sr.sharpen(large, crs="EPSG:32633", region_px=(480, 480, 60, 60), method="bicubic", window_px=240)
    np.testing.assert_allclose(found.B02, native[10].B02[:60, :60], atol=1e-6)
    # Whether it is reflectance is looked up in the middle; one row of chunks is computed ahead.
    assert {row for row, _ in seen} <= {1, 2, 3} and {column for _, column in seen} <= {1, 2, 3}


def changed(native: dict[int, xarray.Dataset], gsd_m: int, change: Callable) -> dict[int, xarray.Dataset]:
    return native | {gsd_m: change(native[gsd_m])}


def out_of_reach(block: np.ndarray) -> np.ndarray:
    raise ConnectionError("gone")


def attributed(data: xarray.Dataset, **attributes: object) -> xarray.Dataset:
    """The data with attributes at every band."""
    return data.assign({name: band.assign_attrs(**attributes) for name, band in data.data_vars.items()})


REFUSED: dict[str, tuple[Callable, type[HpcSrError], str]] = {
    "nothing": (lambda n: None, ImageError, "is a NoneType, which holds no bands"),
    "numpy": (lambda n: n[10].B02.values, ImageError, "is a ndarray"),
    "no 10 m band": (lambda n: n[20], UnknownBandError, "no 10 m band among B05"),
    "a band twice": (lambda n: [n[10], n[20], n[20]], ImageError, "B05: is there twice"),
    "no coordinates": (lambda n: changed(n, 20, lambda d: d.drop_vars(["x", "y"])), ImageError, "no coordinates along"),
    "no system": (lambda n: {10: n[10].drop_vars("spatial_ref")}, ImageError, "write_crs"),
    "degrees": (lambda n: {10: n[10].rio.write_crs("EPSG:4326")}, ImageError, "in degrees"),
    "another system": (
        lambda n: changed(n, 20, lambda d: d.rio.write_crs("EPSG:32632")),
        ImageError,
        "is in EPSG:32632",
    ),
    "south first": (lambda n: {10: n[10].sortby("y")}, ImageError, "sortby"),
    "uneven": (lambda n: {10: n[10].isel(x=[0, 1, 3, 4])}, ImageError, "not evenly spaced"),
    "grids that do not nest": (
        lambda n: changed(n, 10, lambda d: d.isel(x=slice(6, None))),
        ImageError,
        "begins 60 m beside",
    ),
    "two times": (lambda n: xarray.concat([on_one_grid(n)] * 2, "time"), ImageError, r"isel\(time=0\)"),
    "DN without a scale": (
        lambda n: {10: (n[10] * 1e4).fillna(0).astype(np.uint16)},
        ImageError,
        "holds uint16 without",
    ),
    "DN as floats": (lambda n: {10: n[10] * 1e4}, ImageError, "is no reflectance: half of it is above"),
    "resampled smoothly": (
        lambda n: on_one_grid(n).rolling(x=3, min_periods=1, center=True).mean(),
        ImageError,
        "pixels are not those of",
    ),
    "cut inside a coarse pixel": (
        lambda n: on_one_grid(n).isel(x=slice(1, None), y=slice(0, 100)),
        ImageError,
        r"y=slice\(0, 96\), x=slice\(5, 239\)",
    ),
    "coordinates that are no numbers": (
        lambda n: {10: n[10].assign_coords(x=[f"column {i}" for i in range(n[10].sizes["x"])])},
        ImageError,
        "or no numbers",
    ),
    "a scale that is no number": (
        lambda n: {10: attributed(n[10], scale_factor="x")},
        ImageError,
        "scale_factor = 'x'",
    ),
    "a fill value that is no number": (
        lambda n: {10: attributed(n[10], _FillValue=[0, 1])},
        ImageError,
        r"_FillValue = \[0, 1\]",
    ),
    "a code that is no system": (
        lambda n: {10: n[10].drop_vars("spatial_ref").assign_coords(epsg=np.nan)},
        ImageError,
        "reference system that is none",
    ),
    "chunks that cannot be fetched": (
        lambda n: {
            10: n[10].chunk(60).map(lambda band: band.copy(data=band.data.map_blocks(out_of_reach, dtype=band.dtype)))
        },
        ImageError,
        "cannot be computed .ConnectionError: gone.",
    ),
    "no time": (lambda n: {10: n[10].assign_attrs(sensing_time="noon"), 20: n[20]}, ImageError, "which is no time"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_understood_is_refused_with_a_cure(native: dict[int, xarray.Dataset], what: str) -> None:
    give, kind, told = REFUSED[what]
    with pytest.raises(kind, match=told) as refusal:
        hpc_sr.sharpen(give(native))
    assert refusal.value.cure or "cure" in str(refusal.value)


@pytest.mark.parametrize(
    ("keywords", "kind", "told"),
    [
        ({"model": "run", "method": "guided"}, RecipeError, "method: is given beside a model"),
        ({"model": "run", "degradation": "wald"}, RecipeError, "degradation: is given beside a model"),
        ({"method": "lanczos"}, RecipeError, "unknown method"),
        ({"method": "guided", "weights": "detail_mtf"}, RecipeError, "weights: is given beside method"),
        ({"weights": "detail_mtf", "degradation": "wald"}, RecipeError, "degradation: is given beside weights"),
        ({"method": "guided", "self_ensemble": True}, RecipeError, "is for trained networks"),
        ({"overwrite": True}, RecipeError, "is for files"),
        ({"bands": ["B10"]}, UnknownBandError, "no band 'B10'"),
        ({"bands": []}, UnknownBandError, "no band is asked for"),
        ({"region": (1, 2, 3)}, RegionError, "is not four numbers"),
        ({"region": (0, 0, 1, 1), "region_px": (0, 0, 6, 6)}, RegionError, "given both"),
        ({"out": "absent/x.tif"}, HpcSrError, "cannot be written"),
        ({"out": "x.png"}, HpcSrError, "no GeoTIFF by its name"),
        ({"out": "x" * 300}, HpcSrError, "cannot be written .*too long"),
        ({"out": "x" * 251 + ".tif"}, HpcSrError, "cannot be written .*too long"),  # what lies beside is longer
        ({"out": "a\0b.tif"}, HpcSrError, "cannot be written .*null"),
        ({"out": b"x.tif"}, RecipeError, "out: is a bytes"),
        ({"out": "x.tif", "dtype": "int8"}, RecipeError, "unknown 'int8'"),
        ({"out": "x.tif", "format": None}, RecipeError, "unknown None"),
        ({"model": 3}, RecipeError, "model: is a int"),
        ({"model": [None]}, RecipeError, "model: is a NoneType"),
        ({"model": []}, RecipeError, "model: is empty"),
        ({"bands": None}, RecipeError, "bands: is a NoneType"),
        ({"region": 5}, RecipeError, "region: is a int"),
        ({"window_px": "a"}, RecipeError, "a px is no side"),
        ({"degradation": ""}, HpcSrError, "unknown degradation"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(product: Path, keywords: dict, kind: type, told: str) -> None:
    with pytest.raises(kind, match=told):
        hpc_sr.sharpen(product, **keywords)


@pytest.mark.parametrize("given", [None, 3, b"X.SAFE", [], object()])
def test_what_is_no_path_is_refused(given: object) -> None:
    for ask in (hpc_sr.open_product, hpc_sr.load_model, hpc_sr.score):
        with pytest.raises(HpcSrError, match="is no path|: is a ") as refusal:
            ask(given)
        assert refusal.value.cure


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"model": []}, "model: is a list"),
        ({"methods": None}, "methods: is a NoneType"),
        ({"methods": "lanczos"}, "unknown method 'lanczos'"),
        ({"task": "sisr_x4"}, "is for images"),
        ({"protocol": []}, r"unknown protocol \[\]"),
    ],
)
def test_scores_that_make_no_sense_are_refused(product: Path, keywords: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        hpc_sr.score(product, **keywords)


@pytest.mark.parametrize("name", ["../escaped", "a/b", "a\0b", "x" * 400])
def test_no_attribute_leads_out_of_the_folder(native: dict[int, xarray.Dataset], tmp_path: Path, name: str) -> None:
    out = tmp_path / "inner"
    with pytest.raises(OutputError, match="no plain name"):
        hpc_sr.sharpen({10: native[10].assign_attrs(name=name), 20: native[20]}, method="nearest", out=out)
    assert not list(tmp_path.iterdir())


def test_xarray_is_written_as_a_file_too(
    native: dict[int, xarray.Dataset], sharp: xarray.Dataset, tmp_path: Path
) -> None:
    path = hpc_sr.sharpen(native, out=tmp_path / "x.tif", dtype="float32", format="gtiff")
    with rasterio.open(path) as tif:
        np.testing.assert_allclose(tif.read(5), sharp.B05, rtol=0, atol=2e-5)
    with pytest.raises(HpcSrError, match="exists already"):  # arrays are not compared with those of before
        hpc_sr.sharpen(native, out=tmp_path / "x.tif", dtype="float32", format="gtiff")


def test_without_xarray_files_are_written_and_the_extra_is_named(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingComponentError, match=r"xarray: is not installed") as refusal:
        hpc_sr.sharpen(product)
    assert "hpc_sr[xarray]" in str(refusal.value)
    with pytest.raises(MissingComponentError, match="no file needs xarray"):
        hpc_sr.sharpen(5, out=tmp_path / "y.tif")
    assert hpc_sr.sharpen(product, method="nearest", out=tmp_path / "x.tif").exists()


def test_the_package_itself_loads_nothing_large() -> None:
    code = (
        "import sys, hpc_sr; assert {'sharpen', 'score'} <= set(dir(hpc_sr)); "
        "sys.exit(bool({'torch', 'xarray', 'rasterio', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'sharpenn'"):
        hpc_sr.sharpenn  # noqa: B018


def test_scores_are_those_of_an_evaluation(product: Path, tmp_path: Path) -> None:
    found = hpc_sr.score(product, methods=["guided"])
    assert list(found["mean"]) == ["bicubic", "guided"] and 0 < found["ratio_to_bicubic"]["guided"]["rmse"] < 1
    run = saved(tmp_path / "run", trained(S6X, 24))
    assert len(hpc_sr.score(str(product), run, protocol="consistency")["mean"]) == 2
    with pytest.raises(RecipeError, match="has its own"):
        hpc_sr.score(product, run, degradation="mtf")
