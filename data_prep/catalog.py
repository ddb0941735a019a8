"""Finding products and sharing them out to splits, whole tiles at a time.

Overlapping dates of one tile show the same ground: a tile never lies in two splits.
"""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np

from data_prep.options import SplitOptions
from hpc_sr.errors import MissingFileError, MixedLevelsError, RecipeError, UnknownBandError
from hpc_sr.sentinel2.safe import Product, open_product
from hpc_sr.tasks import Task


def find_products(patterns: tuple[str, ...]) -> list[Path]:
    """Return the product paths that the patterns name, sorted, once each; a pattern without a match is an error."""
    found: set[Path] = set()
    for pattern in patterns:
        matches = glob.glob(pattern)
        if not matches:
            raise MissingFileError("matches no product", where=pattern, cure="mend prepare.products in the recipe")
        found.update(Path(match) for match in matches)
    return sorted(found)


def open_products(paths: list[Path], task: Task) -> list[Product]:
    """Return the products after checking that one store can hold them all: one level, every band, distinct names."""
    products = [open_product(path) for path in paths]
    levels = {product.level: product for product in products}
    if len(levels) > 1:
        where = " and ".join(f"{product.name} is {level}" for level, product in sorted(levels.items()))
        raise MixedLevelsError(f"{where}; a store holds one level", cure="prepare one store per level")
    needed = {name for layer in task.layers for name in layer.bands}
    for product in products:
        missing = sorted(needed - set(product.files))
        if missing:
            raise UnknownBandError(
                f"announces no {', '.join(missing)}", where=product.name, cure=f"task {task.name} needs all its bands"
            )
    names = [product.name for product in products]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RecipeError(f"product {twice} is given twice", where="prepare.products", cure="name it once")
    return products


def assign_splits(tiles: list[str], options: SplitOptions) -> dict[str, str]:
    """Return each tile's split. Tiles that no list names are drawn in an order that depends on the seed alone.

    Raises RecipeError if a list names a tile that no product has, or a share above 0 gets no tile.
    """
    distinct = sorted(set(tiles))
    assigned = {}
    for split in ("train", "validation", "test"):
        for tile in getattr(options, split):
            if tile not in distinct:
                raise RecipeError(
                    f"tile {tile} has no product",
                    where=f"prepare.split.{split}",
                    cure=f"known: {', '.join(distinct)}",
                )
            assigned[tile] = split
    free = [tile for tile in distinct if tile not in assigned]
    np.random.default_rng(options.seed).shuffle(free)
    for split, share in (("validation", options.validation_share), ("test", options.test_share)):
        count = round(share * len(free))
        if share > 0 and (count == 0 or count >= len(free)):
            raise RecipeError(
                f"{share} of {len(free)} tiles leaves the {split} or the training split empty",
                where=f"prepare.split.{split}_share", cure="add products or name tiles in prepare.split",
            )  # fmt: skip
    validation, test = (round(s * len(free)) for s in (options.validation_share, options.test_share))
    for place, tile in enumerate(free):
        assigned[tile] = "validation" if place < validation else "test" if place < validation + test else "train"
    if "train" not in assigned.values():
        raise RecipeError("no tile is left to train on", where="prepare.split", cure="shorten the other lists")
    return assigned
