"""Finding products and checking that one store can hold them all."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.options import PrepareOptions
from data_prep.products import ProductSource
from hpc_sr.errors import HpcSrError, MissingFileError, MixedLevelsError, RecipeError, UnknownBandError
from hpc_sr.sentinel2.safe import Product, open_products
from hpc_sr.tasks import Task

Skipped = dict[str, Any]


def find_paths(patterns: tuple[str, ...], key: str) -> list[Path]:
    """Return the paths that the patterns name, sorted, once each; a pattern without a match is an error of `key`."""
    found: set[Path] = set()
    for pattern in patterns:
        matches = glob.glob(pattern)
        if not matches:
            raise MissingFileError("matches no file", where=pattern, cure=f"mend {key} in the recipe")
        found.update(Path(match) for match in matches)
    return sorted(found)


def skipped(name: str, error: HpcSrError) -> Skipped:
    """Return the manifest's line about a source that cannot be used."""
    return {"product": name, "error": type(error).__name__, "message": str(error)}


def product_sources(options: PrepareOptions, task: Task) -> tuple[list[ProductSource], list[Skipped]]:
    """Return the products that a recipe names, by name, and those that cannot be opened or lack a band of the task.

    Raises the first such error with `bad_products: fail` or if nothing is left; MixedLevelsError or RecipeError if
    the products cannot share a store.
    """
    needed = {name for layer in task.layers for name in layer.bands}
    cure = f"task {task.name} needs all its bands"
    products, errors = open_with_bands(options.products, "prepare.products", sorted(needed), cure)
    if errors and (options.bad_products == "fail" or not products):
        raise errors[0][1]
    check_together(products, "prepare.products")
    sources = [ProductSource(product, task, options) for product in sorted(products, key=lambda p: p.name)]
    return sources, [skipped(name, error) for name, error in errors]


def open_with_bands(
    patterns: tuple[str, ...], key: str, bands: Sequence[str], cure: str
) -> tuple[list[Product], list[tuple[str, HpcSrError]]]:
    """Return the products that the patterns of `key` name, and the path's name and error of what cannot be opened or
    lacks one of the bands, where `cure` helps."""
    products: list[Product] = []
    errors: list[tuple[str, HpcSrError]] = []
    for path in find_paths(patterns, key):
        try:
            opened = open_products(path)
            for product in opened:
                missing = [name for name in bands if name not in product.files]
                if missing:
                    raise UnknownBandError(f"announces no {', '.join(missing)}", where=product.name, cure=cure)
            products += opened
        except HpcSrError as error:
            errors.append((path.name, error))
    return products, errors


def check_together(products: list[Product], key: str) -> None:
    """Raise MixedLevelsError or RecipeError if one store cannot hold all the products: one level, distinct names."""
    levels = {product.level: product for product in products}
    if len(levels) > 1:
        where = " and ".join(f"{product.name} is {level}" for level, product in sorted(levels.items()))
        raise MixedLevelsError(f"{where}; a store holds one level", cure="prepare one store per level")
    names = [product.name for product in products]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RecipeError(f"product {twice} is given twice", where=key, cure="name it once")
