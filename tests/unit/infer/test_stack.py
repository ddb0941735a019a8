"""GeoTIFFs instead of a product: the same result, names and laws from the files, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import ArrayImage, both_repeating, repeating

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import HpcSrError, ImageError, MissingFileError, RasterError, UnknownBandError
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.stack import StackImage
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M, S2X

GRIDS = {10: BANDS_10M, 20: BANDS_20M, 60: BANDS_60M}


def written(
    folder: Path,
    image: ArrayImage,
    gsd_m: int,
    names: tuple[str, ...],
    *,
    described: bool = True,
    reflectance: bool = False,
    scaled: bool = True,
    nodata: float | None = 0,
    move_m: float = 0.0,
    crs: str = "EPSG:32632",
    dtype: str = "uint16",
) -> Path:
    """Return a GeoTIFF with these bands of the image."""
    grid, path = image.grids[gsd_m], folder / f"{gsd_m}.tif"
    values = np.stack([image.dn[name] for name in names]).astype(dtype)
    if reflectance:
        values = np.where(values == 0, np.nan, values * 1e-4 - 0.1).astype(np.float32)
    at = affine(grid) @ rasterio.Affine.translation(move_m / gsd_m, 0)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=values.dtype,
        count=len(names),
        height=values.shape[1],
        width=values.shape[2],
        crs=crs,
        transform=at,
        nodata=np.nan if reflectance else nodata,
    ) as tif:
        tif.write(values)
        if described:
            tif.descriptions = names
        if scaled and not reflectance:
            tif.scales, tif.offsets = (1e-4,) * len(names), (-0.1,) * len(names)
    return path


@pytest.fixture
def image() -> ArrayImage:
    image = ArrayImage(60, 72)
    image.dn["B05"][3, 4] = 0
    image.dn["B02"][7, 8] = 0
    return image


def bands_of(path: Path) -> dict[str, np.ndarray]:
    with rasterio.open(path) as tif:
        return dict(zip(tif.descriptions, tif.read(), strict=True))


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("reflectance", [True, False])
def test_a_stack_gives_what_the_product_gives(
    tmp_path: Path, image: ArrayImage, described: bool, reflectance: bool
) -> None:
    files = [written(tmp_path, image, g, n, described=described, reflectance=reflectance) for g, n in GRIDS.items()]
    options = InferOptions(format="gtiff")
    super_resolve(both_repeating(4, 9), image, tmp_path / "product.tif", options, SerialComm())
    super_resolve(both_repeating(4, 9), StackImage(files[::-1]), tmp_path / "stack.tif", options, SerialComm())
    expected, found = bands_of(tmp_path / "product.tif"), bands_of(tmp_path / "stack.tif")
    assert list(found) == list(expected)
    for name, values in expected.items():
        # Reflectance comes back as the DN of products since baseline 04.00, of which these are.
        assert np.array_equal(found[name], values), name
    assert not (tmp_path / "stack.json").exists()  # nobody said when it was taken


def test_names_may_come_in_any_order(tmp_path: Path, image: ArrayImage) -> None:
    files = [written(tmp_path, image, 10, BANDS_10M[::-1]), written(tmp_path, image, 20, BANDS_20M[::-1])]
    super_resolve([repeating(S2X)], StackImage(files), tmp_path / "x.tif", InferOptions(), SerialComm())
    found = bands_of(tmp_path / "x.tif")
    assert np.array_equal(found["B04"], image.dn["B04"]) and np.array_equal(found["B11"][::2, ::2], image.dn["B11"])


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (ImageError, {"names": BANDS_20M[:3], "described": False}),
        (ImageError, {"names": BANDS_20M, "scaled": False}),
        (ImageError, {"names": BANDS_20M, "move_m": 10.0}),
        (ImageError, {"names": BANDS_20M, "crs": "EPSG:32633"}),
    ],
    ids=["three bands", "no scale", "shifted", "another system"],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, image: ArrayImage, error: type[HpcSrError], wrong: dict
) -> None:
    files = [written(tmp_path, image, 10, BANDS_10M), written(tmp_path, image, 20, **wrong)]
    with pytest.raises(error) as found:
        StackImage(files)
    assert "20.tif" in str(found.value) and "cure" in str(found.value)


@pytest.mark.parametrize("nodata", [0, None])
def test_dn_in_floats_are_not_taken_as_reflectance(tmp_path: Path, image: ArrayImage, nodata: float | None) -> None:
    for name in BANDS_10M:
        image.dn[name][:50] = 0  # most of a band without a measurement tells nothing of the rest
    path = written(tmp_path, image, 10, BANDS_10M, dtype="float32", scaled=False, nodata=nodata)
    with pytest.raises(ImageError, match="does not say what .* mean") as found:
        StackImage([path])
    assert "10.tif" in str(found.value) and "-scale 0.0001" in str(found.value)
    scaled = StackImage([written(tmp_path, image, 10, BANDS_10M, dtype="float32", nodata=nodata)])
    assert scaled.radiometry("B04").quantification == pytest.approx(10_000)


@pytest.mark.parametrize("nodata", [0.0, 65535.0, np.nan])
def test_floats_without_any_measurement_are_accepted(tmp_path: Path, image: ArrayImage, nodata: float) -> None:
    path = written(tmp_path, image, 10, BANDS_10M, dtype="float32", scaled=False, nodata=nodata)
    with rasterio.open(path, "r+") as tif:
        tif.write(np.full((4, 60, 72), nodata, np.float32))
    assert StackImage([path]).bands == tuple(sorted(BANDS_10M))


def test_other_bad_files(tmp_path: Path, image: ArrayImage) -> None:
    fine = written(tmp_path, image, 10, BANDS_10M)
    with pytest.raises(MissingFileError):
        StackImage([fine, tmp_path / "absent.tif"])
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError):
        StackImage([fine, tmp_path / "text.tif"])
    with pytest.raises(ImageError, match="second file"):
        StackImage([fine, fine])
    small = ArrayImage(48, 72)
    with pytest.raises(ImageError, match="24 x 36 px"):
        StackImage([fine, written(tmp_path, small, 20, BANDS_20M)])
    with rasterio.open(fine, "r+") as tif:
        tif.descriptions = ("B02", "B03", "B04", "red")
    with pytest.raises(UnknownBandError):
        StackImage([fine])
    with rasterio.open(fine, "r+") as tif:
        tif.descriptions = ("B02", "B03", "B04", "B05")
    with pytest.raises(UnknownBandError, match="B05 is no 10 m band"):
        StackImage([fine])
