"""Blocks of a tile held out, so that one product is enough: to learn from, to choose by and to test on.

A block is a square of ground. What a held-out patch depends on, its degradation's surroundings included, lies within
blocks of its split. What a training patch depends on stays a margin away from every held-out block, whichever product
or neighbouring tile it comes from. So no pixel is both learnt and tested. It is the same tile all the same: scores on
blocks are easier than scores on unseen ground.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_prep.options import SplitOptions
from data_prep.products import ProductSource
from data_prep.sources import Source
from hpc_sr.errors import RecipeError
from hpc_sr.sentinel2.ground import Ground, ground_of, grown, overlap
from hpc_sr.sentinel2.pairs import pair_shape

_WHERE = "prepare.split"

#: The blocks of a tile that are held out, by split.
Blocks = dict[str, tuple[Ground, ...]]


def split_into_blocks(sources: Sequence[Source], options: SplitOptions) -> list[tuple[Source, str]]:
    """Return each product in up to three parts, with their splits: the one to train on has the product's name.

    All products of a tile have the same blocks, which follow from the tile's ground and the seed alone.
    Raises RecipeError if a block holds no patch, or a share of a tile's blocks is none or all of them.
    """
    products = [source for source in sources if isinstance(source, ProductSource)]
    for product in products:
        _check_size(product, options)
    drawn = {ground: blocks_of(ground, gsd_m, options) for ground, gsd_m in set(map(_place, products))}
    parts: list[tuple[Source, str]] = []
    for product in products:
        reach_px, own = product.reach_px(), drawn[_place(product)[0]]
        away_px = reach_px + options.margin_px
        training = replace(product, held_out=_reaching_in(product, drawn, ("validation", "test"), away_px))
        later = _reaching_in(product, drawn, ("test",), reach_px)
        validation = replace(product, part="validation", blocks=own["validation"], held_out=later)
        test = replace(product, part="test", blocks=own["test"])
        parts += [(training, "train"), *((part, part.part) for part in (validation, test) if part.blocks)]
    return parts


def blocks_of(ground: Ground, gsd_m: int, options: SplitOptions) -> Blocks:
    """Return the blocks of validation and test on a ground whose grid has this GSD; the rest is for training.

    Raises RecipeError if a share of the blocks is none or all of them.
    """
    left, bottom, right, top = ground.bounds_m
    side_m = options.block_px * gsd_m
    corners = [
        (left + column * side_m, top - row * side_m)
        for row in range(int((top - bottom) // side_m))
        for column in range(int((right - left) // side_m))
    ]
    counts = {split: _count(split, options, len(corners)) for split in ("validation", "test")}
    if sum(counts.values()) >= len(corners):
        raise RecipeError(
            f"{sum(counts.values())} of {len(corners)} blocks are held out, none is left to train on",
            where=_WHERE,
            cure="smaller shares, or a smaller block_px",
        )
    seed = [options.seed, *hashlib.sha256(f"{ground.crs} {ground.bounds_m}".encode()).digest()]
    order = np.random.default_rng(seed).permutation(len(corners)).tolist()
    squares = [Ground(ground.crs, (x, y - side_m, x + side_m, y)) for x, y in (corners[k] for k in order)]
    first, last = counts["validation"], sum(counts.values())
    return {"validation": tuple(squares[:first]), "test": tuple(squares[first:last])}


def _count(split: str, options: SplitOptions, blocks: int) -> int:
    share = getattr(options, f"{split}_share")
    count = round(share * blocks)
    if share > 0 and not 0 < count < blocks:
        raise RecipeError(
            f"{share} of a tile's {blocks} blocks of {options.block_px} px is {count}",
            where=f"{_WHERE}.{split}_share",
            cure="a smaller block_px, or another share",
        )
    return count


def _check_size(source: ProductSource, options: SplitOptions) -> None:
    """Raise RecipeError unless every block holds a patch of the product's grid of patches, wherever it lies."""
    least_px = source.options.patch_px + source.options.stride_px - 1 + 2 * source.reach_px()
    if options.block_px < least_px:
        raise RecipeError(
            f"blocks of {options.block_px} px hold no patch of {source.options.patch_px} px every "
            f"{source.options.stride_px} px whose degradation looks {source.reach_px()} px around it",
            where=f"{_WHERE}.block_px",
            cure=f"at least {least_px}",
        )


def _place(source: ProductSource) -> tuple[Ground, int]:
    """Return what decides the blocks of a product: the ground that its patches lie on, and the GSD of their grid."""
    height, width = pair_shape(source.product, source.task)
    gsd_m, whole = source.task.grid_gsd_m, ground_of(source.product.grids[10])
    left, _, _, top = whole.bounds_m
    return Ground(whole.crs, (left, top - height * gsd_m, left + width * gsd_m, top)), gsd_m


def _reaching_in(
    product: ProductSource, drawn: dict[Ground, Blocks], splits: tuple[str, ...], by_px: int
) -> tuple[Ground, ...]:
    """Return the blocks of these splits that reach into a product, its own and its neighbours', grown by so much."""
    here, by_m = ground_of(product.product.grids[10]), by_px * product.task.grid_gsd_m
    near = [blocks for ground, blocks in drawn.items() if overlap(here, grown(ground, by_m))]
    around = {grown(block, by_m) for blocks in near for split in splits for block in blocks[split]}
    return tuple(sorted((g for g in around if overlap(here, g)), key=lambda g: (g.crs, g.bounds_m)))
