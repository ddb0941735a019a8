"""Pictures up-scaled: right place, right bands, right numbers, nothing eaten, nothing half-written, refusals."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from array_images import on_cpu
from made_networks import trained
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import ImageError, OutputError, RecipeError
from hpc_sr.infer.mosaic import MosaicWriter
from hpc_sr.infer.pictures.reading import REFLECTANCE_UNITS, Picture, RowCache, open_picture
from hpc_sr.infer.pictures.upscale import UpscaleOptions, upscale
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.windows import Area
from hpc_sr.tasks import RGB, RGBN, task_by_name

SMALL = UpscaleOptions(tile_px=24, overlap_px=8)
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def model(task: str = "sisr_x2", untouched: bool = True) -> Predictor:
    """Return a network of random weights; `untouched` gives bilinear up-sampling, which others can compute."""
    made = trained(task_by_name(task), 16, units="8 bit", degradation="bicubic", level="", seed=3)
    if untouched:
        torch.nn.init.zeros_(made.generator.head.weight)
    return on_cpu(made)


def run(picture: Picture, out: Path, options: UpscaleOptions = SMALL, **changes: object) -> Path:
    return upscale(model(**changes), picture, out, options, SerialComm())


def bilinear(values_CHW: np.ndarray, scale: int) -> np.ndarray:
    fine = F.interpolate(torch.from_numpy(values_CHW.astype(np.float64))[None], scale_factor=scale, mode="bilinear")
    return fine[0].numpy()


def drawn(count: int = 3, height: int = 50, width: int = 41, dtype: str = "uint8", most: int = 250) -> np.ndarray:
    return np.random.default_rng(5).integers(1, most, (count, height, width)).astype(dtype)


def write(path: Path, values: np.ndarray, colours: tuple[ColorInterp, ...] = (), names: tuple = (), **profile) -> Path:
    driver = {".png": "PNG", ".jpg": "JPEG", ".tif": "GTiff"}[path.suffix]
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=values.dtype, **profile
    ) as image:
        image.write(values)
        if colours:
            image.colorinterp = colours
        if names:
            image.descriptions = names
    return path


@pytest.mark.parametrize("form", ["cog", "gtiff"])
def test_a_geotiff_keeps_its_place_bands_and_nodata(tmp_path: Path, form: str) -> None:
    values = drawn()
    values[:, 20, 30] = values[0, 49, 0] = 0
    place = {"crs": "EPSG:32633", "transform": from_origin(400_000, 5_500_000, 10, 10), "nodata": 0}
    source = write(tmp_path / "a.tif", values, names=("B04", "B03", "B02"), **place)
    out = run(open_picture(source, RGB, "8 bit"), tmp_path / "b.tif", UpscaleOptions(24, 8, form), untouched=False)
    with rasterio.open(out) as image:
        assert (image.count, image.height, image.width, image.dtypes[0]) == (3, 100, 82, "uint8")
        assert image.crs == "EPSG:32633" and image.nodata == 0
        assert image.transform == from_origin(400_000, 5_500_000, 5, 5)
        assert image.descriptions == ("B04", "B03", "B02")
        assert image.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        missing = image.read() == 0
    expected = np.zeros((100, 82), bool)
    expected[40:42, 60:62] = expected[98:, :2] = True
    assert np.array_equal(missing, np.broadcast_to(expected, missing.shape))


@pytest.mark.parametrize("hole", [(slice(20, 21), slice(20, 21)), (slice(0, 30), slice(10, 41)), (slice(14, 36),) * 2])
def test_what_is_missing_does_not_darken_its_neighbours(tmp_path: Path, hole: tuple[slice, slice]) -> None:
    values = np.full((3, 50, 41), 100, np.uint8)
    values[(slice(None), *hole)] = 0
    out = run(open_picture(write(tmp_path / "a.tif", values, nodata=0), RGB, None), tmp_path / "b.tif")
    with rasterio.open(out) as image:
        assert np.array_equal(image.read(), np.repeat(np.repeat(values, 2, 1), 2, 2))


def test_every_number_is_that_of_the_whole_picture(tmp_path: Path) -> None:
    values = drawn()
    out = run(open_picture(write(tmp_path / "a.tif", values), RGB, None), tmp_path / "b.tif")
    with rasterio.open(out) as image:
        assert np.abs(image.read() - bilinear(values, 2)).max() <= 0.5 + 1e-3
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.tif", "b.tif"]


@pytest.mark.parametrize("order", [("B", "G", "R"), ("G", "R", "B")])
@pytest.mark.parametrize("told_by", ["names", "colours"])
def test_bands_are_found_by_name_or_colour(tmp_path: Path, order: tuple[str, ...], told_by: str) -> None:
    values = drawn()
    kinds = {"R": ColorInterp.red, "G": ColorInterp.green, "B": ColorInterp.blue}
    words = {"R": "B04", "G": "Green", "B": "blue"}
    told = (
        {"names": tuple(words[c] for c in order)} if told_by == "names" else {"colours": tuple(kinds[c] for c in order)}
    )
    shuffled = values[[RGB.index(colour) for colour in order]]
    source = write(tmp_path / "a.tif", shuffled, **told, photometric="minisblack")
    with open_picture(source, RGB, "8 bit").open() as read_rows:
        assert np.array_equal(read_rows(0, 50)[0], values)


def test_the_fourth_band_beside_red_green_and_blue_is_near_infrared(tmp_path: Path) -> None:
    values = drawn(4)
    colours = (ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red)
    source = write(tmp_path / "a.tif", values[[3, 2, 1, 0]], colours, photometric="minisblack")
    out = run(open_picture(source, RGBN, "8 bit"), tmp_path / "b.tif", task="sisr_x2_rgbn")
    with rasterio.open(out) as image:
        assert np.abs(image.read() - bilinear(values, 2)).max() <= 0.5 + 1e-3
        assert ColorInterp.alpha not in image.colorinterp


@pytest.mark.parametrize(("name", "dtype"), [("b.png", "uint8"), ("b.png", "uint16"), ("b.tif", "uint16")])
def test_transparency_is_carried_over(tmp_path: Path, name: str, dtype: str) -> None:
    most = int(np.iinfo(dtype).max)
    values = np.concatenate([drawn(dtype=dtype), np.full((1, 50, 41), most, dtype)])
    values[3, 10:12, 5] = 0
    source = write(tmp_path / "a.png", values)
    out = run(open_picture(source, RGB, None), tmp_path / name)
    far = np.ones((50, 41), bool)
    far[9:13, 4:7] = False
    far = np.repeat(np.repeat(far, 2, 0), 2, 1)
    with rasterio.open(out) as image:
        assert image.count == 4 and image.colorinterp[3] == ColorInterp.alpha and image.dtypes[0] == dtype
        assert np.array_equal(image.read(4), np.repeat(np.repeat(values[3], 2, 0), 2, 1))
        colours = image.read([1, 2, 3])
    assert (colours[:, 20:24, 10:12] == 0).all()
    assert np.abs(colours - bilinear(values[:3], 2))[:, far].max() <= 0.5 + 1e-3


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_real_picture_becomes_a_png_that_others_read(shared_data: Path, tmp_path: Path, suffix: str) -> None:
    from skimage import io

    lr = io.imread(shared_data / "rgb" / "Set5" / "image_SRF_3" / "img_005_SRF_3_LR.png")
    source = write(tmp_path / f"a{suffix}", np.ascontiguousarray(lr.transpose(2, 0, 1)))
    out = run(open_picture(source, RGB, "8 bit"), tmp_path / "b.png", task="sisr_x3")
    with rasterio.open(source) as image:  # decoders of JPEG differ in how they enlarge its colours
        expected = bilinear(image.read(), 3).transpose(1, 2, 0)
    assert np.abs(io.imread(out) - expected).max() <= 0.5 + 1e-3


def test_reflectance_is_what_scale_and_offset_say(tmp_path: Path) -> None:
    values = drawn(dtype="uint16", most=9000)
    source = write(tmp_path / "a.tif", values)
    with rasterio.open(source, "r+") as image:
        image.scales, image.offsets = (1e-4,) * 3, (-0.1,) * 3
    picture = open_picture(source, RGB, REFLECTANCE_UNITS)
    with picture.open() as read_rows:
        assert np.abs(read_rows(0, 50)[0] - (values.astype(float) - 1000)).max() < 1e-2
    with pytest.raises(OutputError, match="its scale and offset"):
        run(picture, tmp_path / "b.png")
    with rasterio.open(run(picture, tmp_path / "b.tif")) as image:
        assert image.scales == (1e-4,) * 3 and image.offsets == (-0.1,) * 3
        assert np.abs(image.read() - bilinear(values, 2)).max() <= 0.51


def test_rows_are_read_once_and_only_a_band_of_them_is_kept(tmp_path: Path) -> None:
    picture = open_picture(write(tmp_path / "a.tif", drawn(height=400)), RGB, None)
    asked: list[int] = []
    with picture.open() as read_rows:

        def counted(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
            asked.extend(range(first, last))
            return read_rows(first, last)

        cache = RowCache(counted, picture)
        whole = read_rows(0, 400)[0]
        for top in range(0, 376, 16):
            cache.forget_above(top - 4)
            first = max(0, top - 4)
            values, opacity = cache.read(Area(first, 3, top + 24 - first, 20))
            assert np.array_equal(values, whole[:, first : top + 24, 3:23]) and opacity.all()
            assert cache._values.shape[1] <= 28
        assert np.array_equal(cache.read(Area(0, 0, 9, 41))[0], whole[:, :9]), "going back is allowed"
    assert asked[:384] == list(range(384))


def test_a_broken_off_command_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = drawn()
    values[:, 24:30, 10:40] = 0
    picture = open_picture(write(tmp_path / "a.tif", values, nodata=0), RGB, None)
    unbroken, out = run(picture, tmp_path / "b.tif", untouched=False), tmp_path / "c.tif"
    honest, written = MosaicWriter.write, []

    def torn(self: MosaicWriter, number: int, *rest: object) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        honest(self, number, *rest)
        self.sync()
        written.append(number)

    monkeypatch.setattr(MosaicWriter, "write", torn)
    with pytest.raises(KeyboardInterrupt):
        run(picture, out, untouched=False)
    assert not out.exists() and len(written) == 4
    monkeypatch.setattr(MosaicWriter, "write", lambda self, n, *rest: (written.append(n), honest(self, n, *rest))[1])
    run(picture, out, untouched=False)
    assert len(written) == len(set(written)), "no tile is made twice"
    assert out.read_bytes() == unbroken.read_bytes()


@pytest.mark.parametrize("name", ["b.tif", "b.png"])
def test_what_is_there_is_kept_unless_told(tmp_path: Path, name: str) -> None:
    picture = open_picture(write(tmp_path / "a.png", drawn()), RGB, None)
    out = run(picture, tmp_path / name)
    stamp = out.stat().st_mtime_ns
    assert run(picture, out).stat().st_mtime_ns == stamp, "the very same is not made again"
    with pytest.raises(OutputError, match="exists already"):
        run(picture, out, untouched=False)
    assert out.stat().st_mtime_ns == stamp
    run(picture, out, UpscaleOptions(24, 8, overwrite=True), untouched=False)
    assert out.stat().st_mtime_ns != stamp and len(list(tmp_path.iterdir())) == 2


def palette(path: Path) -> Path:
    write(path, drawn(1))
    with rasterio.open(path, "r+") as image:
        image.write_colormap(1, {1: (9, 9, 9, 255)})
    return path


def torn(path: Path) -> Path:
    path.write_bytes(write(path.with_name("whole.png"), drawn()).read_bytes()[:3000])
    return path


def huge(path: Path) -> Path:
    """Return a PNG that says to be of 100 000 x 100 000 px; its pixels would fill no disk."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    lines = zlib.compress(bytes(300_001 * 3))
    chunks = [header, b"IDAT" + lines, b"IEND"]
    body = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize(
    ("made", "bands", "units", "told"),
    [
        (lambda p: p / "absent.png", RGB, None, "is missing"),
        (lambda p: torn(p / "a.png"), RGB, None, "cannot be decoded"),
        (lambda p: huge(p / "a.png"), RGB, None, "is 100000 x 100000 px, a PNG is read up to"),
        (lambda p: palette(p / "a.tif"), RGB, None, "palette colours"),
        (lambda p: write(p / "a.tif", drawn(dtype="float32")), RGB, None, "float32 pixels"),
        (lambda p: write(p / "a.png", drawn(4)), RGBN, None, "3 bands and alpha, the model needs R, G, B, N"),
        (lambda p: write(p / "a.png", drawn()), RGBN, None, "3 bands, the model needs R, G, B, N"),
        (lambda p: write(p / "a.tif", drawn(2)), RGB, None, "has 2 bands"),
        (lambda p: write(p / "a.png", drawn(dtype="uint16")), RGB, "8 bit", "16 bit numbers, the model was"),
        (lambda p: write(p / "a.png", drawn()), RGB, "16 bit", "8 bit numbers, the model was trained on 16 bit"),
        (lambda p: write(p / "a.png", drawn()), RGB, REFLECTANCE_UNITS, "without scale and offset"),
    ],
)
def test_what_the_network_never_saw_is_refused(tmp_path: Path, made, bands, units, told: str) -> None:
    with pytest.raises(ImageError, match=told) as error:
        run(open_picture(made(tmp_path), bands, units), tmp_path / "out.tif")
    assert error.value.where and error.value.cure and not (tmp_path / "out.tif").exists()


def test_a_grey_picture_is_taken_for_three_equal_bands_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = drawn(1)
    picture = open_picture(write(tmp_path / "a.png", values), RGB, "8 bit")
    assert "is grey" in caplog.text
    with picture.open() as read_rows:
        assert np.array_equal(read_rows(0, 50)[0], np.repeat(values, 3, 0))


@pytest.mark.parametrize(
    ("name", "profile", "task", "told"),
    [
        ("b.jpg", {}, "sisr_x2", "no GeoTIFF and no PNG"),
        ("b.png", {"nodata": 0}, "sisr_x2", "its nodata"),
        ("b.png", {"crs": "EPSG:32633", "transform": from_origin(0, 0, 1, 1)}, "sisr_x2", "its georeference"),
        ("b.png", {}, "sisr_x2_rgbn", "4 bands"),
        ("missing/b.tif", {}, "sisr_x2", "cannot be written"),
        ("b.tif", {}, "refsr_x4", "needs a reference"),
        ("b.tif", {}, "s2x", "several grids"),
    ],
)
def test_results_that_cannot_be_are_refused_first(
    tmp_path: Path, name: str, profile: dict, task: str, told: str
) -> None:
    bands = RGBN if task.endswith("rgbn") else RGB
    values = drawn(len(bands))
    picture = open_picture(write(tmp_path / "a.tif", values, photometric="minisblack", **profile), bands, None)
    with pytest.raises((OutputError, RecipeError), match=told):
        run(picture, tmp_path / name, task=task)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
