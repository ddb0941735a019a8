"""A truth beside a product: refused, before a method is asked for anything, where nothing of it can be scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from made_networks import saved, trained

from data_prep.synthetic import landscape, write_product
from hpc_sr.cli.scores import Request, evaluate_run
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import ImageError
from hpc_sr.evaluate.protocols.external_images import open_image
from hpc_sr.evaluate.protocols.scenes import Lineup
from hpc_sr.evaluate.protocols.truth import truth_scene
from hpc_sr.sentinel2.rasters import affine
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M, S2X, S26X


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


def test_a_truth_of_one_target_suffices_for_a_joint_network(tmp_path: Path) -> None:
    path = write_product(tmp_path, landscape(120, 6))
    grid, run = open_product(path).grids[10], saved(tmp_path / "run", trained(S26X, 12))
    for bands, named, scored in (
        (BANDS_20M, True, ["truth_target20"]),
        (BANDS_60M, False, ["truth_target60"]),
        (S26X.bands, True, ["truth_target20", "truth_target60"]),
        (BANDS_10M, True, []),
    ):
        truth = tmp_path / "truth.tif"
        size = {"driver": "GTiff", "dtype": "float32", "count": len(bands), "height": 120, "width": 120}
        with rasterio.open(truth, "w", crs=grid.crs, transform=affine(grid), **size) as file:
            file.write(np.full((len(bands), 120, 120), 0.3, np.float32))
            file.descriptions = bands if named else [None] * len(bands)
        request = Request(products=(path,), truth=truth, unit="reflectance", baselines=("nearest",), precision="fp32")
        if scored:
            assert list(evaluate_run(run, request, SerialComm())) == scored
            continue
        with pytest.raises(ImageError, match="has neither B05, .* nor B01, B09: B02, B03, B04, B08"):
            evaluate_run(run, request, SerialComm())
