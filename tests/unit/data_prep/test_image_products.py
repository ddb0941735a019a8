"""The 10 m bands of products as images: stretch, reflectance, marks; and stores of images, all the way."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_prep.build import prepare
from data_prep.images import image_sources
from data_prep.options import ImageOptions, SplitOptions
from data_prep.resample import downsample
from data_prep.synthetic import landscape, write_product
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.errors import MissingFileError, MixedLevelsError, RecipeError
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import TASKS

RGB_BANDS = ("B04", "B03", "B02")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("product"), landscape(240, 3), baseline="05.09")


def reflectance(product: Path, bands: tuple[str, ...]) -> np.ndarray:
    with BandReader(open_product(product)) as reader:
        return np.stack([reader.reflectance(band)[0] for band in bands])


def patches(store: Path, split: str, manifest_layers: dict) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Yield (product, origin, layers) of each patch of a split."""
    for shard in Store(store).split(split):
        layers = {}
        for name, layer in manifest_layers.items():
            layers[name] = np.empty((shard.rows, *layer["shape"]), np.int16)
            shard.take(name, np.arange(shard.rows), layers[name])
        for row, (source, origin) in enumerate(zip(shard.products(), shard.origins(), strict=True)):
            yield str(source), origin, {name: layer[row] for name, layer in layers.items()}


def test_stretch_maps_the_2nd_and_98th_percentile_to_0_and_255(product: Path) -> None:
    (source,), skipped = image_sources(ImageOptions(products=(str(product),)), TASKS["sisr_x4"])
    pair, measured = source.pair(training=False), reflectance(product, RGB_BANDS)
    assert skipped == [] and list(pair.layers) == ["lr", "target"]
    for band, values, stored in zip(RGB_BANDS, measured, pair.layers["target"], strict=True):
        low, high = np.nanpercentile(values, (2, 98))
        assert pair.found["stretch"][band] == pytest.approx([low, high], abs=1e-6)
        expected = ((values - low) / (high - low) * 255).clip(0, 255)
        assert np.nanmax(np.abs(stored - expected)) < 0.51
    lr = downsample(pair.layers["target"], 4, "bicubic")
    assert np.array_equal(pair.layers["lr"], np.rint(lr).clip(0, 255))


def test_reflectance_is_kept_to_the_last_digit_whatever_the_number_of_bands(product: Path) -> None:
    bands = ("B02", "B03", "B04", "B08")
    options = ImageOptions(products=(str(product),), bands=bands, values="reflectance", degradation="box")
    (source,), _ = image_sources(options, TASKS["sisr_x2_rgbn"])
    pair = source.pair(training=True)
    assert np.array_equal(pair.layers["target"], np.rint(reflectance(product, bands) * 1e4))
    means = pair.layers["target"].reshape(4, 120, 2, 120, 2).mean((2, 4))
    assert np.abs(pair.layers["lr"] - means).max() <= 0.5 and "stretch" not in pair.found


def test_a_product_as_image_is_told_as_a_product(product: Path) -> None:
    (source,), _ = image_sources(ImageOptions(products=(str(product),)), TASKS["sisr_x4"])
    assert pickle.loads(pickle.dumps(source)) == source
    assert source.about() == {**open_product(product).provenance(), "lr": "made"}
    assert (source.tile, source.level, source.date) == ("33UUB", "L1C", "2023-06-15")
    assert sorted(source.facts()["sizes"]) == ["B02", "B03", "B04"] and source.size_bytes > 0


def test_nodata_and_saturation_are_marked_and_leave_the_stretch_alone(tmp_path: Path) -> None:
    scene = landscape(240, 4)
    scene.dn["B04"][100:110, 50:60] = 0
    scene.dn["B03"][200:204, 200:204] = 65535
    path = write_product(tmp_path, scene, tile="32TQM")
    (source,), _ = image_sources(ImageOptions(products=(str(path),), degradation="box"), TASKS["sisr_x4"])
    pair = source.pair(training=True)
    nodata, saturated = np.zeros((2, 240, 240), bool)
    nodata[100:112, 48:60] = saturated[200:204, 200:204] = True
    assert np.array_equal(pair.marks["nodata"], nodata) and (pair.marks["saturated"] >= saturated).all()
    low, high = np.nanpercentile(reflectance(path, ("B04",)), (2, 98))
    assert pair.found["stretch"]["B04"] == pytest.approx([low, high], abs=1e-6)


def test_ground_of_a_held_out_neighbour_is_left_out_of_training(tmp_path: Path) -> None:
    for date in ("2023-06-15", "2023-07-15"):
        write_product(tmp_path, landscape(240, 1), date=date)
    (learnt, other), _ = image_sources(ImageOptions(products=(f"{tmp_path}/*.SAFE",)), TASKS["sisr_x4"])
    apart = learnt.avoiding([other])
    assert apart.pair(training=True).marks["held_out"].all()
    assert "held_out" not in apart.pair(training=False).marks


def test_levels_do_not_mix(tmp_path: Path, product: Path) -> None:
    other = write_product(tmp_path, landscape(240, 3), level="L2A")
    with pytest.raises(MixedLevelsError, match="is L1C and .* is L2A"):
        image_sources(ImageOptions(products=(str(product), str(other))), TASKS["sisr_x4"])


def test_absent_products_and_doubles_are_refused(tmp_path: Path, product: Path) -> None:
    with pytest.raises(MissingFileError, match="matches no"):
        image_sources(ImageOptions(products=(f"{tmp_path}/*.SAFE",)), TASKS["sisr_x4"])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / product.name).symlink_to(product)
    with pytest.raises(RecipeError, match="given twice"):
        image_sources(ImageOptions(products=(str(product), f"{tmp_path}/copy/*")), TASKS["sisr_x4"])


def test_a_store_of_set5_holds_the_pixels_of_the_files(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "rgb" / "Set5" / "image_SRF_2"
    options = ImageOptions(
        hr=(f"{folder}/*_HR.png",),
        lr=(f"{folder}/*_LR.png",),
        patch_px=32,
        stride_px=32,
        split=SplitOptions(test=("img_005_SRF_2_HR",)),
    )
    manifest = prepare(options, TASKS["sisr_x2"], tmp_path / "store", SerialWorld())
    assert manifest is not None
    assert (manifest.task, manifest.units, manifest.level, manifest.degradation) == ("sisr_x2", "8 bit", "", "given")
    images: dict[str, np.ndarray] = {}
    for file in folder.glob("*.png"):
        with rasterio.open(file) as dataset:
            images[file.stem] = dataset.read()
    seen = set()
    for split in ("train", "test"):
        for name, (row, column), layers in patches(tmp_path / "store", split, manifest.layers):
            assert (name == "img_005_SRF_2_HR") == (split == "test")
            seen.add((name, row, column))
            hr = images[name][:, row : row + 32, column : column + 32]
            lr = images[name.replace("_HR", "_LR")][:, row // 2 : row // 2 + 16, column // 2 : column // 2 + 16]
            assert np.array_equal(layers["target"], hr) and np.array_equal(layers["lr"], lr)
    expected = sum(
        -(-h // 32) * -(-w // 32) for h, w in ((images[f"img_00{n}_SRF_2_HR"].shape[1:]) for n in range(1, 6))
    )
    assert len(seen) == expected == manifest.rows("train") + manifest.rows("test")
    Store(tmp_path / "store").verify()


def test_a_torn_image_is_left_out_of_the_store_and_told(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    rng = np.random.default_rng(1)
    for name in ("a", "b", "c"):
        Pillow.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    torn = tmp_path / "b.png"
    torn.write_bytes(torn.read_bytes()[:-2000])
    options = ImageOptions(hr=(str(tmp_path),), patch_px=32)
    manifest = prepare(options, TASKS["sisr_x4"], tmp_path / "store", SerialWorld())
    assert manifest is not None
    assert [line["product"] for line in manifest.products] == ["a", "c"] and manifest.rows("train") == 8
    assert [(line["product"], line["error"]) for line in manifest.skipped] == [("b", "ImageError")]
    assert manifest.products[0]["lr"] == "made" and manifest.products[0]["height"] == 64
