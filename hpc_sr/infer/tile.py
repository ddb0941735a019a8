"""One product, one generator, one GeoTIFF: all bands of the inputs' finest grid and the target bands, at 10 m.

Host memory is bounded by one window of the network plus the decoder's cache, whatever the product's size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
import torch

from hpc_sr import __version__
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.infer.write import GeoTiffWriter
from hpc_sr.logs import logger, track
from hpc_sr.models.generator import Generator
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.radiometry import to_dn, to_reflectance
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import REFLECTANCE_ONE, Layer
from hpc_sr.weights import Card, check_level

#: Decoded JPEG2000 blocks are kept up to this, so that overlapping windows do not decode them again.
_DECODER_CACHE_BYTES = 512 * 2**20

#: Pixels of a window's core on each side, before it is rounded down to the network's multiple.
_CORE_PX = 384


def super_resolve(predictor: Predictor, card: Card, product: Product, out: Path) -> Path:
    """Write the product's super-resolved GeoTIFF and return its path.

    Native bands keep their DN; super-resolved ones are in the same convention (uint16 DN, the product's offset and
    nodata). A target pixel is nodata where the measured band is, never because a neighbour is.
    Raises LevelError if the model is of another level; errors of BandReader and GeoTiffWriter.
    """
    check_level(card, product.level, product.name)
    task = predictor.generator.task
    native = next(layer for layer in task.inputs if layer.stride == 1)
    bands = [name for name in BANDS if name in (*native.bands, *task.target.bands)]
    core_px = core_px_of(predictor.generator)
    block_px = core_px if core_px % 16 == 0 else 512
    tags = {
        "software": f"hpc_sr {__version__}", "product": product.name, "model": card.family,
        "degradation": card.degradation, "training_step": str(card.step),
        "super_resolved": " ".join(task.target.bands), "reflectance": "DN * scale + offset",
    }  # fmt: skip
    grid = product.grids[10]
    cores = tile_cores(grid.height, grid.width, core_px)
    logger.info("%s: %d x %d px in %d windows", product.name, grid.height, grid.width, len(cores))
    with (
        rasterio.Env(GDAL_CACHEMAX=_DECODER_CACHE_BYTES),
        BandReader(product) as reader,
        GeoTiffWriter(out, product, bands, block_px, tags) as writer,
    ):
        for core in track(cores, "windows"):
            estimate = predict_native(predictor, reader, core).cpu().numpy()
            planes = {name: reader.dn(name, _window(core)) for name in native.bands}
            for name, values in zip(task.target.bands, estimate, strict=True):
                planes[name] = _as_measured(values, reader, name, task.coarse, core)
            writer.write(np.stack([planes[name] for name in bands]), core)
    return out


def core_px_of(generator: Generator) -> int:
    """Return the side of the windows' cores for a generator: a multiple of what it asks for."""
    return max(1, _CORE_PX // generator.multiple_px) * generator.multiple_px


def predict_native(predictor: Predictor, reader: BandReader, area: Area) -> torch.Tensor:
    """Return the target bands (C, h, w) of an area of the 10 m grid, float32 in stored units."""
    grid = reader.product.grids[10]

    def read(layer: Layer, inside: Area) -> np.ndarray:
        return np.stack([_measured(reader, name, inside) for name in layer.bands])

    return predictor.predict(read, area, grid.height, grid.width)


def _measured(reader: BandReader, name: str, area: Area) -> np.ndarray:
    """Return a band's stored units (float32), nodata set to the mean of the rest so that the network sees no cliff.

    Saturated pixels keep their value, the best that is known of them: no quality mask is decoded for a prediction.
    """
    product = reader.product
    dn = reader.dn(name, _window(area))
    plane = to_reflectance(dn, product.radiometric_offset[name], product.quantification_value) * REFLECTANCE_ONE
    missing = dn == product.nodata_dn
    if missing.any():
        plane[missing] = plane[~missing].mean() if not missing.all() else 0.0
    return plane


def _as_measured(stored: np.ndarray, reader: BandReader, name: str, coarse: Layer, core: Area) -> np.ndarray:
    """Return a predicted plane as DN of the product, nodata where the measured band has none."""
    product = reader.product
    dn = to_dn(stored / REFLECTANCE_ONE, product.radiometric_offset[name], product.quantification_value)
    around = core.aligned(coarse.stride)
    measured = reader.dn(name, _window(around.divided(coarse.stride)))
    missing = np.repeat(np.repeat(measured == product.nodata_dn, coarse.stride, 0), coarse.stride, 1)
    dn[missing[core.relative_to(around).slices]] = product.nodata_dn
    return dn


def _window(area: Area) -> tuple[int, int, int, int]:
    return area.row, area.column, area.height, area.width
