"""The 10 m bands of a product as a picture, as networks for RGB(N) see them: reflectance, or an 8-bit stretch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rasterio.transform import Affine

from hpc_sr.errors import ImageError
from hpc_sr.infer.images import TILE_ROWS, ProductImage, Radiometry
from hpc_sr.infer.pictures.reading import REFLECTANCE_UNITS, Coding, Picture, ReadRows
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.masks import special_values
from hpc_sr.sentinel2.radiometry import to_stored
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import REFLECTANCE_ONE

#: The 10 m bands of a product by colour.
PRODUCT_BANDS = {"R": "B04", "G": "B03", "B": "B02", "N": "B08"}
#: Percentiles of a band's measured pixels that an 8-bit stretch maps to 0 and 255, as in preparation.
_STRETCH_PERCENTILES = (2, 98)
_GSD_M = 10
_INT16 = np.iinfo(np.int16)


def product_picture(product: Product, bands: tuple[str, ...], trained_units: str | None) -> Picture:
    """Return a product's 10 m bands as a picture for a network of these bands (R, G, B, N).

    Trained on reflectance: DN in the product's convention go in and come out. Trained on 8 bits: each band is
    stretched from its 2nd to its 98th percentile to 0..255 as in preparation, for which it is read twice; the
    result's scale and offset turn it back into reflectance, 0 marks missing pixels.
    Raises ImageError if the network was trained on something else, or nobody knows on what.
    """
    image, names = ProductImage(product), tuple(PRODUCT_BANDS[band] for band in bands)
    laws = [image.radiometry(name) for name in names]
    stretches: list[tuple[float, float] | None] = [None] * len(names)
    if trained_units == REFLECTANCE_UNITS:
        codings, dtype = tuple(_of_reflectance(law) for law in laws), "uint16"
    elif trained_units == "8 bit":
        bounds = [_stretch(product, name) for name in names]
        codings, dtype, stretches = tuple(_of_stretch(*pair) for pair in bounds), "uint8", [*bounds]
    else:
        raise ImageError(
            f"is a product, the model was trained on {trained_units or 'values that it does not tell'}",
            where=product.path,
            cure="use a model trained on reflectance or 8 bits, from its run directory with its store in place",
        )
    grid = product.grids[_GSD_M]

    @contextmanager
    def open_rows() -> Iterator[ReadRows]:
        opened = [image.open(name) for name in names]

        def read(first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
            dn = [band.read(Area(first, 0, last - first, grid.width)) for band in opened]
            measured = ~np.any([law.missing(values) for law, values in zip(laws, dn, strict=True)], axis=0)
            planes = [_seen(values, law, stretch) for values, law, stretch in zip(dn, laws, stretches, strict=True)]
            return np.stack(planes), measured.astype(np.uint8) * np.uint8(255)

        try:
            yield read
        finally:
            for band in opened:
                band.close()

    nodata = 0.0 if dtype == "uint8" or laws[0].nodata is None else laws[0].nodata
    return Picture(
        image.name,
        grid.height,
        grid.width,
        bands,
        names,
        codings,
        dtype,
        nodata,
        False,
        grid.crs,
        Affine(grid.gsd_m, 0, grid.ulx_m, 0, -grid.gsd_m, grid.uly_m),
        image.provenance,
        {**image.identity, "bands": names, "values": dtype},
        product.path,
        open_rows,
    )


def _of_reflectance(law: Radiometry) -> Coding:
    gain = REFLECTANCE_ONE / law.quantification
    return Coding(gain, law.offset * gain, 1 / law.quantification, law.offset / law.quantification)


def _of_stretch(low: float, high: float) -> Coding:
    return Coding(scale=max(high - low, 1) / 255 / REFLECTANCE_ONE, offset=low / REFLECTANCE_ONE)


def _stretch(product: Product, name: str) -> tuple[float, float]:
    """Return the percentiles of all measured pixels of a band, in reflectance x 10 000."""
    counts = np.zeros(_INT16.max - _INT16.min + 1, np.int64)
    offset, quantification, grid = (
        product.radiometric_offset[name],
        product.quantification_value,
        product.grids[_GSD_M],
    )
    with BandReader(product) as reader:
        for top in range(0, grid.height, TILE_ROWS[_GSD_M]):
            dn = reader.dn(name, (top, 0, min(TILE_ROWS[_GSD_M], grid.height - top), grid.width))
            special = special_values(dn, offset, quantification, product.nodata_dn, product.saturated_dn)
            stored = to_stored(dn, offset, quantification)[~(special["nodata"] | special["saturated"])]
            counts += np.bincount(stored.astype(np.int64) - _INT16.min, minlength=len(counts))
    upto = np.cumsum(counts)
    if not upto[-1]:
        return 0.0, float(REFLECTANCE_ONE)
    low, high = (_percentile(upto, percent) + _INT16.min for percent in _STRETCH_PERCENTILES)
    return float(low), float(high)


def _percentile(upto: np.ndarray, percent: float) -> float:
    """Return the percentile of values 0, 1, ... whose cumulative counts are given, between neighbours linearly."""
    rank = percent / 100 * (upto[-1] - 1)
    below, above = (int(np.searchsorted(upto, place, side="right")) for place in (np.floor(rank), np.ceil(rank)))
    return below + (above - below) * (rank - np.floor(rank))


def _seen(dn: np.ndarray, law: Radiometry, stretch: tuple[float, float] | None) -> np.ndarray:
    """Return what the network gets of a band: reflectance x 10 000, or its stretch to whole 0..255."""
    if stretch is None:
        return law.stored(dn)
    low, high = stretch
    grey = np.rint((to_stored(dn, law.offset, law.quantification) - low) * (255 / max(high - low, 1)))
    return np.clip(grey, 0, 255).astype(np.float32)
