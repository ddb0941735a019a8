"""Whole images: every pixel once, known networks give known pixels, no tiling, region or nodata shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from array_images import ArrayImage, both_repeating, network, on_cpu, repeating
from made_networks import narrow, trained

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.infer.images import Image
from hpc_sr.infer.mosaic import MosaicWriter
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.plan import cores_of
from hpc_sr.infer.predict import Predictor, read_area
from hpc_sr.infer.region import Region
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.tasks import BANDS_20M, BANDS_60M, S2X, S6X, S26X, Task

FLOAT = InferOptions(dtype="float32", format="gtiff")


def made(
    tmp_path: Path, models: list[Predictor], image: Image, options: InferOptions = FLOAT, core_px: int = 10_000
) -> dict[str, np.ndarray]:
    """Return the bands of the image that is written, cut into windows of `core_px`."""
    out = tmp_path / f"{len(list(tmp_path.iterdir()))}.tif"
    super_resolve(models, image, out, replace(options, window_px=core_px), SerialComm())
    with rasterio.open(out) as tif:
        return dict(zip(tif.descriptions, tif.read(), strict=True))


def repeated(image: ArrayImage, name: str) -> np.ndarray:
    stride = BANDS[name].gsd_m // 10
    return np.repeat(np.repeat(image.dn[name], stride, 0), stride, 1)


@pytest.mark.parametrize("seed", range(12))
def test_networks_that_repeat_give_back_the_dn_whatever_the_tiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    height, width = (6 * int(n) for n in rng.integers(1, 30, 2))
    image = ArrayImage(height, width, seed, strip_rows=int(rng.integers(1, 40)))
    image.dn["B05"][rng.random(image.dn["B05"].shape) < 0.05] = 0
    image.dn["B02"][rng.random(image.dn["B02"].shape) < 0.05] = 0
    image.dn["B02"][0, 0] = 65_535
    hits = np.zeros((height, width), int)
    write = MosaicWriter.write

    def counting(self, number, values, area):
        hits[area.slices] += 1
        write(self, number, values, area)

    monkeypatch.setattr(MosaicWriter, "write", counting)
    multiple_px, halo_px = int(rng.integers(1, 9)), int(rng.integers(0, 30))
    models = both_repeating(multiple_px, halo_px) if seed < 8 else [repeating(S26X, multiple_px, halo_px)]
    options = InferOptions(format=("cog", "gtiff")[seed % 2])
    bands = made(tmp_path, models, image, options, core_px=int(rng.integers(20, 200)))
    assert (hits == 1).all()
    assert list(bands) == list(image.bands)  # Sentinel-2's order
    for name, dn in bands.items():
        assert np.array_equal(dn, repeated(image, name)), name


@pytest.mark.parametrize(
    ("family", "task", "patch_px"),
    [("dsen2", S2X, 1), ("dsen2", S6X, 1), ("s2x", S2X, 8), ("s2x", S6X, 12), ("s2x", S26X, 12)],
)
def test_windows_do_not_show(tmp_path: Path, family: str, task: Task, patch_px: int) -> None:
    models, image = [network(family, task, patch_px)], ArrayImage(96, 132)
    whole = made(tmp_path, models, image)
    for core_px in (24, 50):
        tiled = made(tmp_path, models, image, core_px=core_px)
        for name, values in whole.items():
            np.testing.assert_allclose(tiled[name], values, rtol=1e-5, atol=5e-5)  # float32 sums in another order


@pytest.mark.parametrize(
    "region", [Region("pixels", (31, 17, 40, 50)), Region("pixels", (0, 0, 6, 6)), Region("pixels", (90, 90, 100, 100))]
)
def test_a_region_is_that_part_of_the_whole_to_the_bit(tmp_path: Path, region: Region) -> None:
    models, image = [network("s2x", S2X, 8), network("s2x", S6X, 12)], ArrayImage(120, 132)
    whole = made(tmp_path, models, image, core_px=48)
    options = InferOptions(dtype="float32", format="gtiff", region=region)
    part = made(tmp_path, models, image, options, core_px=48)
    row, column, height, width = (int(n) for n in region.numbers)
    top, left = row // 6 * 6, column // 6 * 6
    bottom, right = min(-(-(row + height) // 6) * 6, 120), min(-(-(column + width) // 6) * 6, 132)
    for name, values in part.items():
        assert np.array_equal(values, whole[name][top:bottom, left:right]), name


def test_a_region_in_the_middle_reads_only_its_surroundings(tmp_path: Path) -> None:
    image, rows = ArrayImage(360, 360, strip_rows=50), []
    for name, dn in image.dn.items():
        dn[:] = np.arange(dn.shape[0], dtype=np.uint16)[:, None] * (BANDS[name].gsd_m // 10) + 1
    opened = image.open

    def watched(name: str):
        band = opened(name)
        read, stride = band.read, BANDS[name].gsd_m // 10
        band.read = lambda area: (rows.extend((area.row * stride, (area.row + area.height) * stride)), read(area))[1]
        return band

    image.open = watched
    options = InferOptions(region=Region("pixels", (222, 180, 12, 30)))
    bands = made(tmp_path, both_repeating(), image, options, core_px=24)
    for name, dn in bands.items():
        assert np.array_equal(dn, repeated(image, name)[222:234, 180:210]), name
    assert min(rows) >= 180 and max(rows) <= 270


def test_no_strip_is_decoded_twice(tmp_path: Path) -> None:
    image, reads = ArrayImage(240, 180, strip_rows=16), []
    opened = image.open

    def watched(name: str):
        band = opened(name)
        read = band.read
        band.read = lambda area: (reads.append((name, area.row)), read(area))[1]
        return band

    image.open = watched
    made(tmp_path, [network("s2x", S2X, 8), network("s2x", S6X, 12)], image, core_px=48)
    assert len(reads) == len(set(reads)) == 4 * 15 + 6 * 8 + 2 * 3


def test_one_missing_pixel_blanks_itself_alone(tmp_path: Path) -> None:
    models, image = [network("s2x", S2X, 8)], ArrayImage(96, 96, 3)
    before = made(tmp_path, models, image)
    image.dn["B05"][20, 21], image.dn["B03"][50, 60] = 0, 0
    for core_px in (10_000, 24):
        after = made(tmp_path, models, image, core_px=core_px)
        for name, values in after.items():
            expected = np.zeros((96, 96), bool)
            if name == "B05":
                expected[40:42, 42:44] = True
            if name == "B03":
                expected[50, 60] = True
            assert np.array_equal(np.isnan(values), expected), name
        # Far from both nothing has changed, and near them nothing has become a cliff.
        np.testing.assert_allclose(after["B06"][:16], before["B06"][:16], rtol=1e-5, atol=5e-5)
        assert np.nanmax(np.abs(after["B06"] - before["B06"])) < 3.0


@pytest.mark.parametrize(("family", "patch_px"), [("dsen2", 1), ("s2x", 8)])
def test_the_edge_of_a_swath_is_no_cliff_and_shows_no_seams(tmp_path: Path, family: str, patch_px: int) -> None:
    models, image = [network(family, S2X, patch_px)], ArrayImage(120, 144, 4)
    for name, dn in image.dn.items():
        stride = BANDS[name].gsd_m // 10
        rows, columns = np.indices(dn.shape)
        dn[columns * stride > 60 + rows * stride // 3] = 0
    whole = made(tmp_path, models, image)
    assert 0.3 < np.isnan(whole["B05"]).mean() < 0.7
    for core_px in (24, 40):
        tiled = made(tmp_path, models, image, core_px=core_px)
        for name, values in whole.items():
            np.testing.assert_allclose(tiled[name], values, rtol=1e-5, atol=5e-5)
            if name in BANDS_20M:
                assert np.array_equal(np.isnan(values), repeated(image, name) == 0)
    # Ground of one brightness: what is predicted up to the edge is what is predicted without an edge.
    level, flat = ArrayImage(120, 144), ArrayImage(120, 144)
    for name, dn in image.dn.items():
        level.dn[name][:], flat.dn[name] = 5_000, np.where(dn == 0, 0, 5_000).astype(np.uint16)
    endless, cut = made(tmp_path, models, level), made(tmp_path, models, flat)
    for name in BANDS_20M:
        valid = ~np.isnan(cut[name])
        np.testing.assert_allclose(cut[name][valid], endless[name][valid], rtol=1e-5, atol=5e-5)


def test_reflectance_beyond_0_and_1_survives(tmp_path: Path) -> None:
    image = ArrayImage(24, 24)
    for name in BANDS_20M + BANDS_60M:
        image.dn[name][:] = 300  # -0.07
        image.dn[name][:2] = 25_000  # 2.4
    dn = made(tmp_path, both_repeating(), image, InferOptions())
    reflectance = made(tmp_path, both_repeating(), image)
    for name in BANDS_20M + BANDS_60M:
        assert set(np.unique(dn[name])) == {300, 25_000}
        np.testing.assert_allclose(reflectance[name], dn[name] * 1e-4 - 0.1, atol=1e-6)


def test_only_the_sharpened_bands(tmp_path: Path) -> None:
    bands = made(tmp_path, [repeating(S6X)], ArrayImage(24, 24), InferOptions(bands="sharpened"))
    assert list(bands) == ["B01", "B09"]


def test_the_ensemble_sees_all_sides(tmp_path: Path) -> None:
    model, image = network("s2x", S2X, 8), ArrayImage(48, 48)
    options = InferOptions(dtype="float32", format="gtiff", ensemble=True, spread=True)
    mean = made(tmp_path, [model], image, options)
    assert list(mean)[-6:] == [f"{name}_spread" for name in BANDS_20M]
    turned = ArrayImage(48, 48)
    turned.dn = {name: np.ascontiguousarray(np.rot90(dn)[:, ::-1]) for name, dn in image.dn.items()}
    seen = made(tmp_path, [model], turned, options)
    single = made(tmp_path, [model], image)
    for name in BANDS_20M:
        for kind in (name, f"{name}_spread"):
            np.testing.assert_allclose(seen[kind], np.rot90(mean[kind])[:, ::-1], rtol=1e-5, atol=5e-5)
        assert mean[f"{name}_spread"].min() >= 0 and mean[f"{name}_spread"].mean() > 1e-3
        # One of the eight is the plain prediction: no more than sqrt(7) standard deviations from their mean.
        assert (np.abs(single[name] - mean[name]) <= 2.7 * mean[f"{name}_spread"] + 1e-4).all()
    tiled = made(tmp_path, [model], image, options, core_px=16)
    for name, values in mean.items():
        np.testing.assert_allclose(tiled[name], values, rtol=1e-5, atol=5e-5)
    still = made(tmp_path, [repeating(S2X, 8, 8)], image, options)
    assert max(still[f"{name}_spread"].max() for name in BANDS_20M) < 1e-6


@pytest.mark.parametrize(
    ("task", "patch_px", "width", "precision", "core_px"),
    [
        (S2X, 32, 128, "bf16", 480),
        (S6X, 96, 128, "bf16", 288),
        (S2X, 32, 128, "fp32", 416),
        (S6X, 96, 128, "fp32", 192),
        (S6X, 96, 48, "fp32", 480),
    ],
)
def test_wide_networks_get_windows_that_fit_into_memory(
    task: Task, patch_px: int, width: int, precision: str, core_px: int
) -> None:
    predictor = replace(on_cpu(trained(task, patch_px, narrow(width=width))), precision=precision)
    cores = cores_of([predictor], 2000, 2000)
    assert cores[len({core.column for core in cores}) + 1].height == core_px
    assert cores_of([predictor], 2000, 2000, 480)[0].height == 480 + predictor.generator.reach.after_px, (
        "as was asked for"
    )


def test_inner_windows_read_no_more_than_attention_needs() -> None:
    """With edges one pixel beyond attention windows only one side of a core needs a further row of them."""
    for task, patch_px, beyond_px in ((S2X, 32, 32 + 2 * 32), (S6X, 96, 96 + 2 * 96)):
        predictor = network("s2x", task, patch_px)
        for window_px, core_px in ((None, 480), (300, 288), (1, patch_px)):
            columns = len({core.column for core in cores_of([predictor], 2000, 2000, window_px)})
            inner = cores_of([predictor], 2000, 2000, window_px)[columns + 1]
            around = read_area(predictor.generator, inner)
            assert (inner.height, inner.width) == (core_px, core_px)
            assert (around.height, around.width) == (core_px + beyond_px, core_px + beyond_px)
