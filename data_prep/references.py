"""Which product shows the ground of another at another date: the references of tasks that have them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hpc_sr.errors import HpcSrError, MissingFileError, ShapeError
from hpc_sr.sentinel2.safe import Product

_KEY = "images.references"


def with_references(
    products: Sequence[Product], others: Sequence[Product]
) -> tuple[list[tuple[Product, Product]], list[tuple[str, HpcSrError]]]:
    """Return each product with its reference, and the name and error of each that has none.

    A reference is a product of the same tile, taken on another day: of several the one nearest in time, of two as
    near the earlier. One product may be the reference of many, and have one itself.
    """
    pairs: list[tuple[Product, Product]] = []
    alone: list[tuple[str, HpcSrError]] = []
    for product in products:
        dates = [other for other in others if other.tile == product.tile and _day(other) != _day(product)]
        same_grid = [other for other in dates if other.grids[10] == product.grids[10]]
        if same_grid:
            pairs.append((product, min(same_grid, key=lambda other: (_apart_s(product, other), other.sensing_time))))
        elif dates:
            grids = (product.grids[10], dates[0].grids[10])
            told = [f"{grid.height} x {grid.width} px from {grid.ulx_m:g}, {grid.uly_m:g}" for grid in grids]
            error: HpcSrError = ShapeError(
                f"lies on another grid than {dates[0].name}: {' and '.join(told)}",
                where=product.name,
                cure=f"give whole products of one tile in {_KEY}",
            )
            alone.append((product.name, error))
        else:
            error = MissingFileError(
                f"has no reference: {_KEY} has no product of tile {product.tile} but of {_day(product)}",
                where=product.name,
                cure=f"add a product of tile {product.tile} of another day, or leave this one out",
            )
            alone.append((product.name, error))
    return pairs, alone


def _day(product: Product) -> str:
    return product.sensing_time[:10]


def _apart_s(product: Product, other: Product) -> float:
    begin, again = (datetime.fromisoformat(p.sensing_time).replace(tzinfo=None) for p in (product, other))
    return abs((again - begin).total_seconds())
