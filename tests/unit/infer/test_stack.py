"""GeoTIFFs instead of a product: the same result, names and laws from the files, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import ArrayImage, both_repeating, repeating

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import HpcSrError, ImageError, UnknownBandError
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
    file: str = "",
    described: bool | tuple[str | None, ...] = True,
    reflectance: bool = False,
    scaled: bool = True,
    nodata: float | None = 0,
    move_m: float = 0.0,
    crs: str = "EPSG:32632",
    dtype: str = "uint16",
) -> Path:
    """Return a GeoTIFF with these bands of the image."""
    grid, path = image.grids[gsd_m], folder / (file or f"{gsd_m}.tif")
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
            tif.descriptions = names if described is True else described
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
    scaled = StackImage([written(tmp_path, image, 10, BANDS_10M, dtype="float32", nodata=nodata)], nodata=0)
    assert scaled.radiometry("B04").quantification == pytest.approx(10_000)


@pytest.mark.parametrize("nodata", [0.0, 65535.0, np.nan])
def test_floats_without_any_measurement_are_accepted(tmp_path: Path, image: ArrayImage, nodata: float) -> None:
    path = written(tmp_path, image, 10, BANDS_10M, dtype="float32", scaled=False, nodata=nodata)
    with rasterio.open(path, "r+") as tif:
        tif.write(np.full((4, 60, 72), nodata, np.float32))
    assert StackImage([path]).bands == tuple(sorted(BANDS_10M))


def test_other_bad_files(tmp_path: Path, image: ArrayImage) -> None:
    fine = written(tmp_path, image, 10, BANDS_10M)
    with pytest.raises(ImageError, match="B02, as .*10.tif has"):
        StackImage([fine, fine])
    small = ArrayImage(48, 72)
    with pytest.raises(ImageError, match="24 x 36 px"):
        StackImage([fine, written(tmp_path, small, 20, BANDS_20M)])
    with rasterio.open(fine, "r+") as tif:
        tif.descriptions = ("B02", "B03", "B04", "ultramarine")
    with pytest.raises(UnknownBandError, match=r"10.tif: calls a band 'ultramarine'\n.* B02 B03"):
        StackImage([fine])
    with rasterio.open(fine, "r+") as tif:
        tif.descriptions = ("B02", "B03", "B04", "B05")
    with pytest.raises(UnknownBandError, match="10.tif: holds B05, which is no 10 m band"):
        StackImage([fine])


#: What other software calls the bands, and each of them.
ALIASES = [
    dict(zip((*BANDS_10M, *BANDS_20M), words.split(), strict=True))
    for words in (
        "B2 B3 B4 B8 B5 B6 B7 B8a B11 B12",
        "blue green red nir rededge1 rededge2 rededge3 nir08 swir16 swir22",
        "B02_10m B03_10m B04_10m B08_10m SR-B5-(705) sr_b6 b07 B8A SWIR1 swir-2",
    )
]


@pytest.mark.parametrize("told_by", ["description", "file name"])
@pytest.mark.parametrize("aliases", ALIASES, ids=["numbers", "colours", "longer names"])
def test_one_band_a_file_in_any_order_under_any_of_its_names(
    tmp_path: Path, image: ArrayImage, aliases: dict[str, str], told_by: str
) -> None:
    image.dn["B05"][3, 4] = image.dn["B02"][7, 8] = 77
    files = []
    for index, (name, alias) in enumerate(aliases.items()):
        gsd_m = 10 if name in BANDS_10M else 20
        named = {"file": f"{alias}.tif", "described": False}
        if told_by == "description":
            named = {"file": f"{index}.tif", "described": (alias,)}
        files.append(written(tmp_path, image, gsd_m, (name,), **named))
    order = np.random.default_rng(0).permutation(len(files))
    stack, other = StackImage(files), StackImage([files[index] for index in order])
    assert (stack.name, stack.identity, stack.sources) == (other.name, other.identity, other.sources)
    super_resolve([repeating(S2X)], other, tmp_path / "x.tif", InferOptions(), SerialComm())
    assert super_resolve([repeating(S2X)], stack, tmp_path / "x.tif", InferOptions(), SerialComm()).predicted == 0
    found = bands_of(tmp_path / "x.tif")
    assert sorted(found) == sorted(aliases)
    for name, values in found.items():
        assert np.array_equal(
            values[:: 1 if name in BANDS_10M else 2, :: 1 if name in BANDS_10M else 2], image.dn[name]
        )


def test_a_file_of_one_band_that_says_nothing_is_refused_by_name(tmp_path: Path, image: ArrayImage) -> None:
    with pytest.raises(UnknownBandError, match=r"first.tif: calls a band 'first'\n.*B02 B03 B04 B08"):
        StackImage([written(tmp_path, image, 10, ("B02",), file="first.tif", described=False)])
    with pytest.raises(UnknownBandError, match=r"10.tif: calls a band nothing"):
        StackImage([written(tmp_path, image, 10, BANDS_10M, described=("B02", None, "B04", "B08"))])
    with pytest.raises(UnknownBandError, match=r"names a band twice"):
        StackImage([written(tmp_path, image, 10, BANDS_10M, described=("B02", "B2", "B04", "B08"))])


def beyond_the_swath(image: ArrayImage) -> np.ndarray:
    """Leave 0 in a corner of all bands; return where, on the 10 m grid."""
    rows, columns = np.mgrid[:60, :72] // 6 * 6
    outside = rows + columns < 60
    for values in image.dn.values():
        stride = 60 // values.shape[0]
        values[outside[::stride, ::stride]] = 0
    return outside


@pytest.mark.parametrize("one_a_file", [True, False])
def test_zeros_that_nobody_declares_are_refused_and_can_be_declared(
    tmp_path: Path, image: ArrayImage, one_a_file: bool
) -> None:
    outside = beyond_the_swath(image)
    image.dn["B05"][20, 20] = 0  # of one band alone
    files = [written(tmp_path, image, 20, BANDS_20M, nodata=0)]
    if one_a_file:
        files += [written(tmp_path, image, 10, (n,), file=f"{n}.tif", nodata=None) for n in BANDS_10M]
    else:
        files += [written(tmp_path, image, 10, BANDS_10M, nodata=None)]
    with pytest.raises(ImageError, match=r"(10|B02)\.tif: is 0 in all bands of \d\d\.\d % .*\n.*--nodata 0") as error:
        StackImage(files)
    assert "--nodata nan" in str(error.value)
    out = tmp_path / "x.tif"
    super_resolve([repeating(S2X)], StackImage(files, nodata=0), out, InferOptions(), SerialComm())
    with rasterio.open(out) as tif:
        assert tif.nodata == 0
        for name, mask in zip(tif.descriptions, tif.read_masks(), strict=True):
            expected = outside.copy()
            if name == "B05":
                expected[40:42, 40:42] = True
            if name == "B02":
                expected[7, 8] = True
            assert np.array_equal(mask == 0, expected), name


@pytest.mark.parametrize("nodata", [np.nan, 65535.0, -9999.0])
def test_where_nothing_marks_missing_pixels_no_band_of_the_result_has_any(
    tmp_path: Path, image: ArrayImage, nodata: float
) -> None:
    # As an option, and as a tag of few zeros: none of the values is one that a pixel has.
    beyond_the_swath(image)
    files = [written(tmp_path, image, g, n, nodata=None) for g, n in ((10, BANDS_10M), (20, BANDS_20M))]
    super_resolve([repeating(S2X)], StackImage(files, nodata=nodata), tmp_path / "x.tif", InferOptions(), SerialComm())
    with rasterio.open(tmp_path / "x.tif") as tif:
        assert tif.nodata == (65535 if nodata == 65535 else None)
        assert tif.read_masks().all()
        assert np.array_equal(tif.read(1), image.dn["B02"])
        assert tif.read(5).min() >= 0 and tif.descriptions[4] == "B06"


def test_zeros_beside_a_nodata_value_are_declared(tmp_path: Path, image: ArrayImage) -> None:
    beyond_the_swath(image)
    path = written(tmp_path, image, 10, BANDS_10M, dtype="float32", nodata=np.nan)
    assert StackImage([path]).bands == tuple(sorted(BANDS_10M))
    with pytest.raises(ImageError, match="is 0 in all bands"):  # a value that no pixel can have declares nothing
        StackImage([written(tmp_path, image, 10, BANDS_10M, dtype="int16", nodata=None)])


@pytest.mark.parametrize("nodata", [None, -1.0])
def test_a_few_zeros_are_measurements(tmp_path: Path, image: ArrayImage, nodata: float | None) -> None:
    path = written(tmp_path, image, 10, BANDS_10M, dtype="uint16" if nodata is None else "int32", nodata=nodata)
    assert StackImage([path]).radiometry("B02").nodata == nodata


@pytest.mark.parametrize(
    ("scales", "offsets"), [((0.0,) * 4, (0.0,) * 4), ((np.nan,) * 4, (0.1,) * 4), ((1e-4,) * 4, (np.inf,) * 4)]
)
def test_a_scale_that_is_none_is_refused(
    tmp_path: Path, image: ArrayImage, scales: tuple[float, ...], offsets: tuple[float, ...]
) -> None:
    path = written(tmp_path, image, 10, BANDS_10M)
    with rasterio.open(path, "r+") as tif:
        tif.scales, tif.offsets = scales, offsets
    with pytest.raises(ImageError, match=r"10.tif: (has a scale of|does not say what)"):
        StackImage([path])


@pytest.mark.parametrize("time", ["nan", "2024-13-01T00:00:00Z", "2024-06-15", "2024-06-15T10:20:31"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, image: ArrayImage, time: str) -> None:
    path = written(tmp_path, image, 10, BANDS_10M)
    for told in (time, "2024-06-15T10:20:31.024Z"):
        with rasterio.open(path, "r+") as tif:
            tif.update_tags(sensing_time=told)
        if told == time:
            with pytest.raises(ImageError, match=f"sensing_time={time}, which is no time"):
                StackImage([path])
    assert StackImage([path]).sensing_time == told
