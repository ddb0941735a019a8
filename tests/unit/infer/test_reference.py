"""A reference on the grid of a picture's result, wherever it comes from, and what a network makes of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from array_images import on_cpu
from made_networks import saved, trained
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform
from support import run_cli

from data_prep.synthetic import landscape, write_product
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import ImageError, RecipeError
from hpc_sr.infer.pictures.products import product_picture
from hpc_sr.infer.pictures.reading import Picture, open_picture
from hpc_sr.infer.pictures.reference import on_grid_of
from hpc_sr.infer.pictures.upscale import UpscaleOptions, upscale
from hpc_sr.infer.predict import Predictor
from hpc_sr.models.options import parse_model
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.tasks import RGB, task_by_name
from hpc_sr.weights.trained import Trained

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
HEIGHT, WIDTH = 20, 14
#: Of the picture, 40 m; its result's pixels have 10 m.
PLACE = from_origin(500_000, 5_000_000, 40, 40)
FINE = PLACE * Affine.scale(1 / 4)


def network(**changes: object) -> Trained:
    options = parse_model({"family": "rrsgan", "width": 8, "blocks": 1, "gradient_width": 4, "groups": 2}, "a test")
    return trained(
        task_by_name("refsr_x4"), 16, options, units="8 bit", degradation="bicubic", level="", seed=3, **changes
    )


def write(path: Path, values: np.ndarray, place: Affine | None = None, crs: str = "EPSG:32633", **profile) -> Path:
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    where = {"transform": place, "crs": crs} if place is not None else {}
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    with rasterio.open(path, "w", driver=driver, **shape, **where, **profile) as image:
        image.write(values)
    return path


def drawn(height: int, width: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 250, (3, height, width)).astype(np.uint8)


def opened(path: Path) -> Picture:
    return open_picture(path, RGB, "8 bit")


def placed_picture(folder: Path) -> Picture:
    return opened(write(folder / "lr.tif", drawn(HEIGHT, WIDTH), PLACE))


def rows_of(picture: Picture, step: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return all of a picture, read in strips."""
    with picture.open() as read_rows:
        parts = [read_rows(top, min(top + step, picture.height)) for top in range(0, picture.height, step)]
    values, opacity = zip(*parts, strict=True)
    return np.concatenate(values, 1), np.concatenate(opacity)


@pytest.mark.parametrize("georeferenced", [False, True])
def test_a_reference_of_that_size_and_place_is_taken_as_it_stands(
    tmp_path: Path, georeferenced: bool, log_lines: list[str]
) -> None:
    values = drawn(4 * HEIGHT, 4 * WIDTH)
    file = write(tmp_path / "ref.tif", values, FINE if georeferenced else None)
    found, opacity = rows_of(on_grid_of(placed_picture(tmp_path), opened(file), 4, 255.0))
    np.testing.assert_allclose(found, values, rtol=0, atol=1e-3)
    assert (opacity == 255).all() and log_lines == []


def test_of_a_larger_reference_the_window_is_taken_and_what_it_lacks_is_zeros(
    tmp_path: Path, log_lines: list[str]
) -> None:
    picture, values = placed_picture(tmp_path), drawn(100, 120)
    file = write(tmp_path / "large.tif", values, FINE * Affine.translation(-8, -20))
    # The whole lies in it, but for the columns to the right of its 120.
    found, opacity = rows_of(on_grid_of(picture, opened(file), 4, 255.0))
    np.testing.assert_allclose(found, values[:, 20:, 8 : 8 + 56], rtol=0, atol=1e-3)
    assert (opacity == 255).all() and log_lines == []

    file = write(tmp_path / "part.tif", values[:, :50, :40], FINE * Affine.translation(6, -10))
    found, opacity = rows_of(on_grid_of(picture, opened(file), 4, 255.0))
    there = np.zeros((80, 56), bool)
    there[:40, 6:46] = True
    assert np.array_equal(opacity > 0, there) and not found[:, ~there].any()
    np.testing.assert_allclose(found[:, :40, 6:46], values[:, 10:50, :40], rtol=0, atol=1e-3)
    assert [line for line in log_lines if "lacks a part of the ground of lr: zeros there" in line] == log_lines != []


def test_nodata_of_the_reference_is_zeros(tmp_path: Path, log_lines: list[str]) -> None:
    values = drawn(4 * HEIGHT, 4 * WIDTH)
    values[:, 30:34, 20:30] = 255
    file = write(tmp_path / "ref.tif", values, FINE, nodata=255)
    found, opacity = rows_of(on_grid_of(placed_picture(tmp_path), opened(file), 4, 255.0))
    hole = (values == 255).all(0)
    assert np.array_equal(opacity == 0, hole) and not found[:, hole].any() and len(log_lines) == 1
    np.testing.assert_allclose(found[:, ~hole], values[:, ~hole], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("crs", "gsd_m"), [("EPSG:32633", 7.0), ("EPSG:32632", 10.0), ("EPSG:32632", 4.0)])
def test_a_reference_of_another_system_and_pixel_size_lies_where_its_ground_is(
    tmp_path: Path, crs: str, gsd_m: float
) -> None:
    """What is drawn is a smooth function of the place, which is known at every pixel of the result."""

    def ground(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 120 + 100 * np.sin((x - 500_000) / 90) * np.cos((y - 5_000_000) / 70)

    (x,), (y,) = transform("EPSG:32633", crs, [500_000 + 280], [5_000_000 - 400])
    side = int(1600 / gsd_m)
    place = from_origin(x - 800, y + 800, gsd_m, gsd_m)
    rows, columns = np.mgrid[:side, :side] + 0.5
    theirs = place * (columns.ravel(), rows.ravel())
    mine = transform(crs, "EPSG:32633", *map(list, theirs))
    values = np.rint(ground(*map(np.array, mine))).astype(np.uint8).reshape(1, side, side).repeat(3, 0)
    file = write(tmp_path / "ref.tif", values, place, crs)
    found, opacity = rows_of(on_grid_of(placed_picture(tmp_path), opened(file), 4, 255.0))
    rows, columns = np.mgrid[: 4 * HEIGHT, : 4 * WIDTH] + 0.5
    assert (opacity == 255).all()
    np.testing.assert_allclose(found[0], ground(*(FINE * (columns, rows))), rtol=0, atol=2)


def test_a_product_of_another_day_is_a_reference(tmp_path: Path) -> None:
    product = open_product(write_product(tmp_path, landscape(120, 3), tile="33UUB"))
    grid = product.grids[10]
    place = from_origin(grid.ulx_m + 80, grid.uly_m - 120, 40, 40)
    picture = opened(write(tmp_path / "lr.tif", drawn(10, 12), place, str(grid.crs)))
    theirs = product_picture(product, RGB, "8 bit")
    found, opacity = rows_of(on_grid_of(picture, theirs, 4, 255.0))
    wanted = rows_of(theirs)[0][:, 12 : 12 + 40, 8 : 8 + 48]
    assert (opacity == 255).all()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("place", "told"),
    [(None, "is 80 x 57 px, beside lr it must be 80 x 56 px"), (from_origin(0, 0, 10, 10), "does not show the ground")],
)
def test_a_reference_that_cannot_be_placed_is_refused(tmp_path: Path, place: Affine | None, told: str) -> None:
    file = write(tmp_path / "ref.tif", drawn(80, 57), place)
    with pytest.raises(ImageError, match=told) as error:
        on_grid_of(placed_picture(tmp_path), opened(file), 4, 255.0)
    assert error.value.cure


@pytest.fixture
def model() -> Predictor:
    """Returns a network whose details, those of the reference among them, are of tens of grey levels."""
    made = network()
    with torch.no_grad():
        made.generator.last[-1].weight *= 50
        for name, parameter in made.generator.named_parameters():
            if ".relevance." in name and parameter.ndim > 1:
                parameter *= 3
    return on_cpu(made)


def test_the_network_sees_both_in_place_tile_by_tile(tmp_path: Path, model: Predictor) -> None:
    """One tile is what the network makes of the whole, mirrored; several are it too, but near their seams."""
    lr, ref = drawn(HEIGHT, WIDTH), drawn(4 * HEIGHT, 4 * WIDTH, seed=6)
    files = [write(tmp_path / f"{name}.png", values) for name, values in (("lr", lr), ("ref", ref))]

    def made(name: str, *tile: int) -> np.ndarray:
        options, pair = UpscaleOptions(*tile), [opened(file) for file in files]
        out = upscale(model, pair[0], tmp_path / name, options, SerialComm(), pair[1])
        with rasterio.open(out) as image:
            return image.read().astype(int)

    sides = ((k, k) for k in (4, 16))
    wide = [np.pad(x, ((0, 0), side, side), "symmetric")[None] for x, side in zip((lr, ref), sides, strict=True)]
    with torch.inference_mode():
        (wanted,) = model.generator.estimate(*(torch.from_numpy(x).float() for x in wide))
    whole = wanted[0, :, 16:-16, 16:-16].clamp(0, 255).round().numpy()
    one = made("one.png", 32, 8)
    assert np.abs(one - whole).max() <= 1 and (one == whole).mean() > 0.99
    without = np.abs(made_with_zeros(model, files[0], tmp_path) - whole).mean()
    seams = np.abs(made("several.png", 12, 8) - whole).mean()
    assert without > 1, "the reference matters"
    assert seams < without / 3


def made_with_zeros(model: Predictor, file: Path, folder: Path) -> np.ndarray:
    zeros = write(folder / "zeros.png", np.zeros((3, 4 * HEIGHT, 4 * WIDTH), np.uint8))
    out = upscale(model, opened(file), folder / "o.png", UpscaleOptions(32, 8), SerialComm(), opened(zeros))
    with rasterio.open(out) as image:
        return image.read().astype(int)


def test_a_reference_goes_with_networks_that_take_one(tmp_path: Path, model: Predictor) -> None:
    lr = opened(write(tmp_path / "lr.png", drawn(HEIGHT, WIDTH)))
    with pytest.raises(RecipeError, match="needs a reference beside the picture.*\n.*give --reference FILE"):
        upscale(model, lr, tmp_path / "out.png", UpscaleOptions(), SerialComm())
    alone = on_cpu(trained(task_by_name("sisr_x4"), 16, units="8 bit", degradation="bicubic", level=""))
    with pytest.raises(RecipeError, match="takes no reference"):
        upscale(alone, lr, tmp_path / "out.png", UpscaleOptions(), SerialComm(), lr)


def test_the_command_takes_a_reference_for_each_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved(tmp_path / "run", network())
    lr = [write(tmp_path / f"{name}.png", drawn(8, 9, seed)) for seed, name in enumerate("ab")]
    ref = [write(tmp_path / f"ref_{name}.png", drawn(32, 36, seed + 9)) for seed, name in enumerate("ab")]

    def infer(*words: object) -> str:
        run_cli("infer", run, *words, "--precision", "fp32")
        return capsys.readouterr().err

    assert "error" not in infer("--image", lr[0], "--reference", ref[0], "--out", tmp_path / "one.png")
    infer("--image", *lr, "--reference", *ref, "--out", tmp_path / "both")
    files = tmp_path / "one.png", tmp_path / "both" / "a.png"
    assert len({file.read_bytes() for file in files}) == 1
    assert "needs a reference" in infer("--image", lr[0], "--out", tmp_path / "none.png")
    told = infer("--image", *lr, "--reference", ref[0], "--out", tmp_path / "few")
    assert "1 are given for 2 pictures" in told
    run_cli("infer", tmp_path / "x.SAFE", "--reference", ref[0])
    assert "is for runs of a task refsr_*" in capsys.readouterr().err
