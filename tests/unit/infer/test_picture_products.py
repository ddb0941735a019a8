"""Products' 10 m bands as pictures: the network sees what preparation made of them, the result is in their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from array_images import on_cpu
from made_networks import trained

from data_prep.images import image_sources
from data_prep.options import ImageOptions
from data_prep.synthetic import landscape, write_product
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import ImageError
from hpc_sr.infer.pictures.products import PRODUCT_BANDS, product_picture
from hpc_sr.infer.pictures.reading import REFLECTANCE_UNITS
from hpc_sr.infer.pictures.upscale import UpscaleOptions, upscale
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import RGB, TASKS

UNITS = {"stretch": "8 bit", "reflectance": REFLECTANCE_UNITS}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product of 120 x 120 px with offsets, bright pixels and a hole."""
    scene = landscape(120, 3)
    scene.dn["B03"][50:53, 60:64] = 0
    scene.dn["B04"][10, 10] = 20_000
    return write_product(tmp_path_factory.mktemp("product"), scene, baseline="05.09")


@pytest.mark.parametrize("values", UNITS)
@pytest.mark.parametrize("bands", [("R", "G", "B"), ("B", "G", "R")])
def test_the_network_sees_what_preparation_stored(product: Path, values: str, bands: tuple[str, ...]) -> None:
    options = ImageOptions(products=(str(product),), values=values, bands=tuple(PRODUCT_BANDS[band] for band in bands))
    (source,), _ = image_sources(options, TASKS["sisr_x4"])
    pair = source.pair(training=False)
    picture = product_picture(open_product(product), bands, UNITS[values])
    with picture.open() as read_rows:
        seen, opacity = (np.concatenate(parts, -2) for parts in zip(read_rows(0, 50), read_rows(50, 120), strict=True))
    measured = opacity > 0
    assert (~measured).sum() == 12
    stored = pair.layers["target"]
    assert np.abs(seen - stored)[:, measured].max() < 1e-2
    assert np.array_equal(np.rint(seen)[:, measured], stored[:, measured])


@pytest.mark.parametrize(("values", "dtype"), [("stretch", "uint8"), ("reflectance", "uint16")])
def test_the_result_is_the_product_twice_as_fine(product: Path, tmp_path: Path, values: str, dtype: str) -> None:
    made = trained(TASKS["sisr_x2"], 16, units=UNITS[values], degradation="bicubic")
    torch.nn.init.zeros_(made.generator.head.weight)
    model = on_cpu(made)
    opened = open_product(product)
    picture = product_picture(opened, RGB, UNITS[values])
    out = upscale(model, picture, tmp_path / "a.tif", UpscaleOptions(48, 12), SerialComm())
    grid = opened.grids[10]
    with BandReader(opened) as reader:
        dn = np.stack([reader.dn(band) for band in ("B04", "B03", "B02")])
        truth = np.stack([reader.reflectance(band)[0] for band in ("B04", "B03", "B02")])
    with rasterio.open(out) as image:
        assert image.dtypes[0] == dtype and image.nodata == 0 and image.crs == grid.crs
        assert image.descriptions == ("B04", "B03", "B02")
        assert image.transform.a == 5 and (image.transform.c, image.transform.f) == (grid.ulx_m, grid.uly_m)
        found = image.read()
        reflectance = found * np.array(image.scales)[:, None, None] + np.array(image.offsets)[:, None, None]
        tags = image.tags()
    assert tags["product"] == opened.name and tags["level"] == "L1C"
    hole = np.repeat(np.repeat((dn == 0).any(0), 2, 0), 2, 1)
    assert np.array_equal(found == 0, np.broadcast_to(hole, found.shape))
    # Bilinear up-sampling by 2, averaged over 2 x 2, is (1, 6, 1) / 8 along each axis.
    coarse = reflectance.reshape(3, 120, 2, 120, 2).mean((2, 4))
    low, step = (np.array([getattr(c, key) for c in picture.codings])[:, None, None] for key in ("offset", "scale"))
    truth = np.clip(truth, low, low + 255 * step) if dtype == "uint8" else truth  # a stretch cuts before the network
    taps = np.array([1, 6, 1]) / 8
    smooth = sum(taps[i] * taps[j] * truth[:, 19 + i : 44 + i, 19 + j : 99 + j] for i in range(3) for j in range(3))
    # Rounded to whole grey levels before and after; DN after alone.
    worst = (np.abs(coarse[:, 20:45, 20:100] - smooth) / step).max()
    assert worst < (1.1 if dtype == "uint8" else 0.6), worst


@pytest.mark.parametrize("units", [None, "16 bit"])
def test_a_product_is_refused_where_nobody_knows_its_units(product: Path, units: str | None) -> None:
    with pytest.raises(ImageError, match="is a product, the model was trained on"):
        product_picture(open_product(product), RGB, units)
