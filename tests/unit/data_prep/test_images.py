"""Images as sources: what is read is what the file holds, pairs belong together, and what does not fit is refused."""

from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image as Pillow
from rasterio.enums import ColorInterp

from data_prep.image_files import by_name, find_images, read_image
from data_prep.images import image_sources
from data_prep.options import ImageOptions
from data_prep.resample import LAWS, downsample, support_px
from hpc_sr.errors import ImageError, RecipeError
from hpc_sr.tasks import RGB, RGBN, TASKS

RNG = np.random.default_rng(7)


def picture(height: int = 40, width: int = 48, bands: int = 3, largest: int = 255, kind: type = np.uint8) -> np.ndarray:
    """Return made-up pixels (H, W, C)."""
    return RNG.integers(0, largest + 1, (height, width, bands)).astype(kind)


def write_png(path: Path, pixels_HWC: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels_HWC.squeeze()).save(path, **options)
    return path


def write_tiff(path: Path, pixels_HWC: np.ndarray, nodata: int | None = None, **options: object) -> Path:
    height, width, count = pixels_HWC.shape
    shape = {"height": height, "width": width, "count": count, "dtype": pixels_HWC.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as out:
        out.write(pixels_HWC.transpose(2, 0, 1))
    return path


def given(*folders: Path) -> tuple[str, ...]:
    return tuple(map(str, folders))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5_pairs_are_the_files_pixels(shared_data: Path, scale: int) -> None:
    folder = shared_data / "rgb" / "Set5" / f"image_SRF_{scale}"
    options = ImageOptions(hr=(f"{folder}/*_HR.png",), lr=(f"{folder}/*_LR.png",))
    sources, skipped = image_sources(options, TASKS[f"sisr_x{scale}"])
    assert [s.name for s in sources] == [f"img_00{n}_SRF_{scale}_HR" for n in range(1, 6)] and skipped == []
    for source in sources:
        hr = np.asarray(Pillow.open(folder / f"{source.name}.png")).transpose(2, 0, 1)
        lr = np.asarray(Pillow.open(folder / f"{source.name[:-2]}LR.png")).transpose(2, 0, 1)
        pair = source.pair(training=True)
        assert list(pair.layers) == ["lr", "target"] and all(x.dtype == np.int16 for x in pair.layers.values())
        assert np.array_equal(pair.layers["target"], hr) and np.array_equal(pair.layers["lr"], lr)
        assert not any(mask.any() for mask in pair.marks.values())
        assert (source.about()["lr"], source.tile, source.level) == ("given", source.name, "")


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_made_low_resolution_is_the_law_on_the_trimmed_image_rounded_and_clipped(
    tmp_path: Path, scale: int, law: str
) -> None:
    blocks = np.where(picture(5, 6) > 127, 255, 0).repeat(9, 0).repeat(9, 1)
    pixels = blocks[:41, :50].astype(np.uint8)
    write_png(tmp_path / "a.png", pixels)
    (source,), _ = image_sources(ImageOptions(hr=given(tmp_path), degradation=law), TASKS[f"sisr_x{scale}"])
    pair = source.pair(training=False)
    height, width = 41 // scale * scale, 50 // scale * scale
    target = pixels.transpose(2, 0, 1)[:, :height, :width]
    assert np.array_equal(pair.layers["target"], target) and pair.shape == (height, width)
    expected = downsample(target, scale, law)
    assert np.array_equal(pair.layers["lr"], np.rint(expected).clip(0, 255))
    assert pair.layers["lr"].min() >= 0 and pair.layers["lr"].max() <= 255
    assert law != "bicubic" or expected.max() > 255
    assert source.about()["lr"] == "made" and (pair.found["height"], pair.found["bits"]) == (height, 8)


def test_triples_are_matched_by_name_and_trimmed_alike(tmp_path: Path) -> None:
    stacks = {}
    for name in ("one", "two"):
        stacks[name] = picture(42, 49), picture(42, 49), picture(10, 12)
        for part, pixels in zip(("HR", "ref", "LR"), stacks[name], strict=True):
            write_png(tmp_path / part / f"{name}_{part}.png", pixels)
    options = ImageOptions(hr=given(tmp_path / "HR"), lr=given(tmp_path / "LR"), ref=given(tmp_path / "ref"))
    sources, _ = image_sources(options, TASKS["refsr_x4"])
    assert [source.name for source in sources] == ["one_HR", "two_HR"]
    for source, (hr, ref, lr) in zip(sources, stacks.values(), strict=True):
        layers = source.pair(training=True).layers
        assert list(layers) == ["lr", "ref", "target"]
        assert np.array_equal(layers["target"], hr.transpose(2, 0, 1)[:, :40, :48])
        assert np.array_equal(layers["ref"], ref.transpose(2, 0, 1)[:, :40, :48])
        assert np.array_equal(layers["lr"], lr.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("0001", "0001x4"),
        ("0001", "0001"),
        ("HR_7", "LR_7"),
        ("a.hr", "a.lr"),
        ("img_x4_HR", "img_x4_LR"),
        ("thr", "thr_lr"),
        ("img_001_SRF_2_HR", "img_001_SRF_2_LR"),
    ],
)
def test_names_that_differ_by_role_belong_together(hr: str, lr: str) -> None:
    keys = [by_name([Path(f"{folder}/{name}.png")], without_role=True) for folder, name in (("h", hr), ("l", lr))]
    assert list(keys[0]) == list(keys[1])


def test_names_that_differ_otherwise_do_not() -> None:
    names = ["shr", "s", "a_HR_1", "a_HR_2", "x", "ax3d"]
    assert len(by_name([Path(f"{name}.png") for name in names], without_role=True)) == len(names)


def test_sources_are_picklable_and_their_facts_follow_the_content(tmp_path: Path) -> None:
    file = write_png(tmp_path / "a.png", picture())
    (source,), _ = image_sources(ImageOptions(hr=given(file)), TASKS["sisr_x2"])
    again = pickle.loads(pickle.dumps(source))
    assert again == source and again.facts() == source.facts() and source.size_bytes == file.stat().st_size
    before = source.facts()
    file.touch()
    assert source.facts() == before
    write_png(file, picture())
    assert source.facts() != before


def test_folders_and_globs_name_each_image_once(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.png", "deep/c.png"):
        write_png(tmp_path / name, picture(8, 8))
    (tmp_path / "notes.txt").write_text("no image")
    assert [p.name for p in find_images(given(tmp_path), "images.hr")] == ["a.png", "b.PNG"]
    found = find_images((f"{tmp_path}/**/*", str(tmp_path / "a.png"), str(tmp_path)), "images.hr")
    assert [p.name for p in found] == ["a.png", "b.PNG", "c.png"]


def test_grey_becomes_three_equal_bands(tmp_path: Path) -> None:
    pixels = picture(bands=1)
    image = read_image(write_png(tmp_path / "grey.png", pixels), 3)
    assert np.array_equal(image.pixels, np.repeat(pixels.transpose(2, 0, 1), 3, 0)) and image.bits == 8


@pytest.mark.parametrize("bands", [1, 3])
def test_alpha_is_dropped_and_transparent_pixels_are_marked(tmp_path: Path, bands: int) -> None:
    colours, alpha = picture(bands=bands), np.full((40, 48, 1), 255, np.uint8)
    alpha[3, 4] = 0
    image = read_image(write_png(tmp_path / "alpha.png", np.dstack([colours, alpha])), 3)
    assert np.argwhere(image.nodata).tolist() == [[3, 4]]
    opaque = ~image.nodata
    assert np.array_equal(image.pixels[:, opaque], np.broadcast_to(colours.transpose(2, 0, 1), (3, 40, 48))[:, opaque])


def test_jpeg_is_what_another_decoder_sees(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(48))[..., None].repeat(3, 2).astype(np.uint8)
    path = write_png(tmp_path / "a.jpg", smooth, quality=95)
    theirs = np.asarray(Pillow.open(path)).transpose(2, 0, 1).astype(int)
    assert np.abs(read_image(path, 3).pixels - theirs).max() <= 1


def test_sixteen_bits_are_kept_as_they_are_if_they_fit(tmp_path: Path) -> None:
    pixels = picture(bands=4, largest=32767, kind=np.uint16)
    pixels[5, 6] = 65535
    path = write_tiff(tmp_path / "a.tif", pixels, nodata=65535)
    (source,), _ = image_sources(ImageOptions(hr=given(path)), TASKS["sisr_x2_rgbn"])
    pair = source.pair(training=True)
    measured = ~read_image(path, 4).nodata
    assert np.array_equal(pair.layers["target"][:, measured], pixels.transpose(2, 0, 1)[:, measured])
    assert pair.found["bits"] == 16 and pair.layers["lr"].max() > 255
    with pytest.raises(ImageError, match="holds 65535, patches hold at most 32767") as caught:
        read_image(write_tiff(tmp_path / "b.tif", pixels), 4)
    assert "8 bits" in str(caught.value)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_low_resolution_pixel_that_depends_on_nodata_is_marked(tmp_path: Path, scale: int, law: str) -> None:
    size, row, column = 20 * scale, 8 * scale + 1, 9 * scale
    alpha = np.full((size, size, 1), 255, np.uint8)
    alpha[row, column] = 0
    write_png(tmp_path / "a.png", np.dstack([np.full((size, size, 3), 100, np.uint8), alpha]))
    (source,), _ = image_sources(ImageOptions(hr=given(tmp_path), degradation=law), TASKS[f"sisr_x{scale}"])
    pair = source.pair(training=True)
    reach, boxes = support_px(law, scale), np.arange(20) * scale
    rows, columns = ((boxes - reach <= at) & (at < boxes + scale + reach) for at in (row, column))
    marked = np.outer(rows, columns)
    assert np.array_equal(pair.marks["nodata"], marked.repeat(scale, 0).repeat(scale, 1))
    lr = pair.layers["lr"]
    assert (lr[:, ~marked] == 100).all() and not (lr[:, marked] == 100).all()


def test_marks_of_given_images_reach_the_target_grid(tmp_path: Path) -> None:
    def with_hole(shape: tuple[int, int], row: int, column: int) -> np.ndarray:
        alpha = np.full((*shape, 1), 255, np.uint8)
        alpha[row, column] = 0
        return np.dstack([picture(*shape), alpha])

    write_png(tmp_path / "hr" / "a.png", picture(160, 160))
    write_png(tmp_path / "ref" / "a.png", with_hole((160, 160), 100, 20))
    write_png(tmp_path / "lr" / "a.png", with_hole((40, 40), 2, 30))
    options = ImageOptions(hr=given(tmp_path / "hr"), lr=given(tmp_path / "lr"), ref=given(tmp_path / "ref"))
    (source,), _ = image_sources(options, TASKS["refsr_x4"])
    nodata = source.pair(training=True).marks["nodata"]
    assert nodata[100, 20] and nodata[8:12, 120:124].all() and nodata[0:8, 100:].sum() == 0
    assert nodata.mean() < 0.05


def break_file(path: Path, how: str) -> None:
    """Write a file that is no usable image of three 8-bit bands."""
    good = path.with_name(f"good{path.suffix}")
    if how == "truncated" or how == "header only" or how == "changed":
        write_tiff(good, picture()) if path.suffix == ".tif" else write_png(good, picture())
        content = bytearray(good.read_bytes())
        good.unlink()
        if how == "changed":
            content[len(content) // 2] ^= 255
        path.write_bytes(content if how == "changed" else content[: 80 if how == "header only" else -300])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("no image at all")
    elif how == "float":
        write_tiff(path, picture().astype(np.float32))
    elif how == "negative":
        write_tiff(path, picture().astype(np.int16))
    elif how == "two bands":
        write_tiff(path, picture(bands=2))
    elif how == "four bands":
        write_tiff(path, picture(bands=4), photometric="MINISBLACK")
    elif how == "palette":
        Pillow.fromarray(picture()).convert("P").save(path)
    elif how == "one bit":
        Pillow.fromarray(picture(bands=1).squeeze() > 99).save(path)
    elif how == "gif":
        Pillow.fromarray(picture()).save(path, format="GIF")
    elif how == "tiny":
        write_png(path, picture(3, 48))
    else:
        raise AssertionError(how)


@pytest.mark.parametrize(
    ("name", "how", "told"),
    [
        ("a.png", "truncated", "cannot be decoded"),
        ("a.png", "header only", "cannot be decoded"),
        ("a.png", "changed", "cannot be decoded"),
        ("a.jpg", "truncated", "cannot be decoded"),
        ("a.jpg", "header only", "cannot be decoded"),
        ("a.tif", "truncated", "cannot be decoded"),
        ("a.png", "empty", "cannot be decoded"),
        ("a.tif", "empty", "cannot be decoded"),
        ("a.png", "text", "cannot be decoded"),
        ("a.tif", "float", "holds float32 pixels"),
        ("a.tif", "negative", "holds int16 pixels"),
        ("a.tif", "two bands", "has 2 bands, the task needs 3"),
        ("a.tif", "four bands", "has 4 bands, the task needs 3"),
        ("a.png", "palette", "palette colours"),
        ("a.png", "one bit", "holds 1-bit pixels"),
        ("a.png", "gif", "is no PNG, JPEG, GeoTIFF"),
        ("a.png", "tiny", "is smaller than 4 x 4 px"),
    ],
)
def test_a_broken_image_is_an_error_that_names_file_and_cure(tmp_path: Path, name: str, how: str, told: str) -> None:
    break_file(tmp_path / name, how)
    (source,), _ = image_sources(ImageOptions(hr=given(tmp_path)), TASKS["sisr_x4"])
    with pytest.raises(ImageError, match=told) as caught:
        source.pair(training=True)
    assert str(tmp_path / name) in str(caught.value) and "cure" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def announced(side: int, colour: int) -> bytes:
    """Return a whole PNG of a few bytes that announces `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", [0, 2])
def test_an_image_that_no_memory_holds_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour: int
) -> None:
    (tmp_path / "bomb.png").write_bytes(announced(100_000, colour))
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 1 << 24, "SC_PAGE_SIZE": 1 << 12}[name])
    with pytest.raises(ImageError, match="(?s)bomb.png: is 100,000 x 100,000 px.*machine has 68,719,476,736.*cure"):
        read_image(tmp_path / "bomb.png", 3)


def test_a_fourth_band_that_is_alpha_is_not_taken_for_near_infrared(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", picture(bands=4))
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    with pytest.raises(ImageError, match="has 3 bands and alpha, the task needs 4"):
        read_image(path, len(RGBN))
    assert len(read_image(path, len(RGB)).pixels) == 3


@pytest.mark.parametrize(
    ("lr", "ref", "told"),
    [
        (picture(11, 12), picture(), "is 11 x 12 px, with a.png of 40 x 48 px it must be 10 x 12"),
        (picture(40, 48), picture(), "it must be 10 x 12"),
        (picture(12, 10), picture(), "it must be 10 x 12"),
        (picture(10, 12), picture(40, 47), "is 40 x 47 px, .* it must be 40 x 48"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, lr: np.ndarray, ref: np.ndarray, told: str) -> None:
    for part, pixels in (("hr", picture()), ("lr", lr), ("ref", ref)):
        write_png(tmp_path / part / "a.png", pixels)
    options = ImageOptions(hr=given(tmp_path / "hr"), lr=given(tmp_path / "lr"), ref=given(tmp_path / "ref"))
    (source,), _ = image_sources(options, TASKS["refsr_x4"])
    with pytest.raises(ImageError, match=told):
        source.pair(training=True)


def test_depths_of_a_pair_must_be_one(tmp_path: Path) -> None:
    hr, lr = (
        write_png(tmp_path / "a_HR.png", picture()),
        write_tiff(tmp_path / "a_LR.tif", picture(20, 24, kind=np.uint16)),
    )
    (source,), _ = image_sources(ImageOptions(hr=given(hr), lr=given(lr)), TASKS["sisr_x2"])
    with pytest.raises(ImageError, match="has 16 bits, a_HR.png has 8"):
        source.pair(training=True)


def test_what_has_no_partner_is_skipped_by_name_or_fatal(tmp_path: Path) -> None:
    for name in ("hr/a.png", "hr/b.png", "lr/b.png", "lr/c.png"):
        write_png(tmp_path / name, picture())
    options = ImageOptions(hr=given(tmp_path / "hr"), lr=given(tmp_path / "lr"))
    sources, skipped = image_sources(options, TASKS["sisr_x4"])
    assert [source.name for source in sources] == ["b"]
    assert {line["product"]: line["error"] for line in skipped} == {"a": "ImageError", "c": "ImageError"}
    assert "no partner in images.lr" in skipped[0]["message"] and "no partner in images.hr" in skipped[1]["message"]
    with pytest.raises(ImageError, match="no partner in images.lr"):
        image_sources(options.model_copy(update={"bad_products": "fail"}), TASKS["sisr_x4"])
    with pytest.raises(ImageError, match="no partner"):
        image_sources(options.model_copy(update={"lr": (str(tmp_path / "lr" / "c.png"),)}), TASKS["sisr_x4"])


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture())
    write_png(tmp_path / "a.jpg", picture())
    with pytest.raises(ImageError, match="has the same name"):
        image_sources(ImageOptions(hr=given(tmp_path)), TASKS["sisr_x2"])


@pytest.mark.parametrize("pattern", ["", "*.png", "absent.png", "**/*"])
def test_patterns_without_an_image_are_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ImageError, match="matches no image") as caught:
        image_sources(ImageOptions(hr=(str(tmp_path / pattern),)), TASKS["sisr_x2"])
    assert "images.hr" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "task", "told"),
    [
        ({"hr": ("a",)}, "refsr_x4", "needs references"),
        ({"hr": ("a",), "ref": ("b",)}, "sisr_x4", "takes no reference"),
        ({"products": ("a",)}, "sisr_x4_rgbn", "3 bands, task sisr_x4_rgbn has 4"),
    ],
)
def test_settings_that_do_not_fit_the_task_are_refused(fields: dict, task: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        image_sources(ImageOptions(**fields), TASKS[task])
