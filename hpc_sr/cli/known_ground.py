"""The ground that runs know: the products that they trained on, and what their recipes held out of them."""

from __future__ import annotations

from pathlib import Path

from data_prep.catalog import find_paths
from hpc_sr.errors import HpcSrError, RecipeError
from hpc_sr.logs import logger
from hpc_sr.recipe import load_run_recipe
from hpc_sr.sentinel2.safe import Product, open_products
from hpc_sr.shards.reader import Store
from hpc_sr.shards.schema import BlocksLine


def known_ground(runs: tuple[Path, ...], products: list[Product]) -> tuple[list[str], dict[str, BlocksLine]]:
    """Return those of the products that any run trained on, and the blocks that all of them held out of products.

    Raises RecipeError if they held out different ones: there is no ground that none of them has seen.
    """
    known = [_known_to(run_dir, products) for run_dir in runs]
    if any(blocks != known[0][1] for _, blocks in known):
        raise RecipeError("the runs held out different blocks", where=runs[0], cure="give runs of one store")
    seen = {name for names, _ in known for name in names}
    return [product.name for product in products if product.name in seen], known[0][1] if known else {}


def _known_to(run_dir: Path, products: list[Product]) -> tuple[list[str], dict[str, BlocksLine]]:
    """Return those of the products that the run's store trained on, and the blocks that it held out of products, as
    far as it can still be read."""
    recipe = None
    try:
        recipe = load_run_recipe(run_dir)
        store = Store(Path(recipe.store))
    except HpcSrError:
        if recipe is not None and recipe.prepare is not None and recipe.prepare.split.by == "block":
            logger.warning("%s cannot be read: nobody knows which ground of a product was held out", recipe.store)
        return [], {}
    seen = {product["product"] for product in store.manifest.products if product["split"] == "train"}
    return [product.name for product in products if product.name in seen], store.manifest.blocks(held_out(store))


def own_products(run_dir: Path) -> list[Product]:
    """Return the products that a run's recipe held out, as far as they can still be read."""
    try:
        recipe = load_run_recipe(run_dir)
        store = Store(Path(recipe.store))
        told = [product for product in store.manifest.products if product["split"] == held_out(store)]
        names = {product.get("part_of", product["product"]) for product in told}
        patterns = recipe.prepare.products if recipe.prepare else ()
        found = [product for path in find_paths(patterns, "prepare.products") for product in open_products(path)]
    except HpcSrError as error:
        logger.info("the run's own products cannot be read (%s): its store is scored", error)
        return []
    return [product for product in found if product.name in names]


def held_out(store: Store) -> str:
    """Return the split of a store that scores are taken on: test, or validation where there is no test."""
    return next((name for name in ("test", "validation") if store.manifest.splits[name]), "test")


def own_store(run_dir: Path) -> Path:
    """Return the store that a run was trained on, from the recipe in its directory."""
    return Path(load_run_recipe(run_dir).store)
