"""Finding products and checking that one store can hold them all."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from data_prep.options import PrepareOptions
from data_prep.products import ProductSource
from hpc_sr.errors import HpcSrError, MissingFileError, MixedLevelsError, RecipeError, RepeatedError, UnknownBandError
from hpc_sr.sentinel2.safe import Product, open_products
from hpc_sr.tasks import Task

Skipped = dict[str, Any]

#: A satellite sees a place again after an orbit of 100 minutes at the earliest; a tile takes seconds.
_ONE_OVERPASS = timedelta(minutes=10)


def find_paths(patterns: tuple[str, ...], key: str) -> list[Path]:
    """Return the paths that the patterns name, sorted, once each; a pattern without a match is an error of `key`."""
    found: set[Path] = set()
    for pattern in patterns:
        try:
            matches = glob.glob(pattern)
        except ValueError as error:  # a byte that no path has
            raise MissingFileError(f"is no path ({error})", where=repr(pattern), cure=f"mend {key}") from error
        if not matches:
            raise MissingFileError("matches no file", where=pattern, cure=f"mend {key} in the recipe")
        found.update(Path(match) for match in matches)
    return sorted(found)


def skipped(name: str, error: HpcSrError) -> Skipped:
    """Return the manifest's line about a source that cannot be used."""
    return {"product": name, "error": type(error).__name__, "message": str(error)}


def product_sources(options: PrepareOptions, task: Task) -> tuple[list[ProductSource], list[Skipped]]:
    """Return the products that a recipe names, by name, and those that cannot be opened or lack a band of the task.

    Raises the first such error with `bad_products: fail`, an acquisition given twice among them, or if nothing is
    left; MixedLevelsError or RecipeError if the products cannot share a store.
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
    """Return the products that the patterns of `key` name, and the path's name and error of what is left out.

    Left out is what cannot be opened, what lacks one of the bands, where `cure` helps, and an acquisition that another
    product has under a newer baseline. Raises RecipeError if one product is given twice.
    """
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
            errors.append((path.name or str(path), error))
    _refuse_doubles(products, key)
    newest, repeated = _newest(products)
    return newest, errors + repeated


def _refuse_doubles(products: list[Product], key: str) -> None:
    """Raise RecipeError if one product is given twice; its metadata tell, whatever its copies are called."""
    paths: dict[str, Path] = {}
    for product in products:
        if product.name in paths:
            raise RecipeError(
                f"product {product.name} is given twice: {paths[product.name]} and {product.path}",
                where=key,
                cure="name it once",
            )
        paths[product.name] = product.path


def _newest(products: list[Product]) -> tuple[list[Product], list[tuple[str, HpcSrError]]]:
    """Return the newest product of each acquisition, in order, and the name and error of each that it replaces.

    One acquisition is one tile, level and satellite within minutes. Of one baseline, the parts that two stations
    received begin at other times and are both kept.
    """
    kept: list[Product] = []
    repeated: list[tuple[str, HpcSrError]] = []
    for product in sorted(products, key=lambda p: (p.processing_baseline, p.name), reverse=True):
        newer = next((other for other in kept if _repeats(product, other)), None)
        if newer is None:
            kept.append(product)
            continue
        error = RepeatedError(
            f"is the acquisition of {newer.name}, of baseline {newer.processing_baseline}, under baseline "
            f"{product.processing_baseline}",
            where=product.name,
            cure="the newer one is taken; to take this one, leave the other out",
        )
        repeated.append((product.name, error))
    names = {product.name for product in kept}
    return [product for product in products if product.name in names], repeated


def _repeats(product: Product, newer: Product) -> bool:
    mine, other = ((p.satellite, p.tile, p.level) for p in (product, newer))
    if mine != other:
        return False
    if product.processing_baseline == newer.processing_baseline:
        return product.sensing_time == newer.sensing_time
    begin, again = (datetime.fromisoformat(p.sensing_time) for p in (product, newer))
    return abs(again.replace(tzinfo=None) - begin.replace(tzinfo=None)) < _ONE_OVERPASS


def check_together(products: list[Product], key: str) -> None:
    """Raise MixedLevelsError if one store cannot hold all the products: they are of one level."""
    levels = {product.level: product for product in products}
    if len(levels) > 1:
        where = " and ".join(f"{product.name} is {level}" for level, product in sorted(levels.items()))
        raise MixedLevelsError(f"{where}; a store holds one level", where=key, cure="prepare one store per level")
