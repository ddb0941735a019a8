"""A truth beside a product: refused, before a method is asked for anything, where nothing of it can be scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_prep.synthetic import landscape, write_product
from hpc_sr.errors import ImageError
from hpc_sr.evaluate.protocols.external_images import open_image
from hpc_sr.evaluate.protocols.scenes import Lineup
from hpc_sr.evaluate.protocols.truth import truth_scene
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import BANDS_20M, S2X


@pytest.mark.parametrize("nothing", ["nodata", "NaN", "masked", ""])
def test_a_truth_without_a_pixel_to_score_is_refused(tmp_path: Path, nothing: str) -> None:
    product = open_product(write_product(tmp_path, landscape(120, 6)))
    grid, values = product.grids[10], np.zeros((6, 120, 120), np.float32)
    mask = np.zeros((120, 120), np.uint8)
    values[:] = {"nodata": -1.0, "NaN": np.nan}.get(nothing, 0.5)
    mask[119, 119] = nothing != "masked"
    size = {"driver": "GTiff", "dtype": "float32", "count": 6, "height": 120, "width": 120, "nodata": -1.0}
    with rasterio.open(tmp_path / "truth.tif", "w", crs=grid.crs, transform=affine(grid), **size) as file:
        file.write(values)
        file.descriptions = BANDS_20M
    np.save(tmp_path / "mask.npy", mask)
    lineup = Lineup(S2X, "wald", ("nearest",))
    with (
        BandReader(product) as reader,
        open_image(tmp_path / "truth.tif", "reflectance") as truth,
        open_image(tmp_path / "mask.npy", "dn") as chosen,
    ):
        if not nothing:
            assert truth_scene(product, reader, lineup, truth, chosen).height == 120
            return
        with pytest.raises(ImageError, match="truth.tif: has no pixel to score"):
            truth_scene(product, reader, lineup, truth, chosen)
