"""Sharing sources out to splits, so that no ground is both learnt and tested.

Overlapping dates of one tile show the same ground: by default a tile lies in one split whole, and training patches on
ground that a held-out neighbour also covers are refused. `by: date` splits in time instead: whole sensing days.
`by: block` holds out parts of every tile (data_prep.blocks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.blocks import split_into_blocks
from data_prep.image_products import ProductImageSource
from data_prep.options import SplitOptions
from data_prep.products import TileSource
from data_prep.sources import Source
from hpc_sr.disk import read_file
from hpc_sr.errors import LeakageError, RecipeError
from hpc_sr.logs import logger

_SPLITS = ("train", "validation", "test")


def assign_splits(
    sources: Sequence[Source], options: SplitOptions, left_out: Mapping[str, str] | None = None
) -> list[tuple[Source, str]]:
    """Return each source with its split; those to train on know the ground to avoid. Blocks are sources of their own.

    `left_out` says why products that lists may name are no sources, as an older baseline of another, by name.
    Raises RecipeError if a list names what is not there or a split that is asked for gets nothing, LeakageError if
    the lists put one tile (or day) into two splits.
    """
    if options.by == "block":
        return split_into_blocks(sources, options)
    section, kind, unit_kind = _words(sources, options.by)
    reasons = {_bare(name): reason.splitlines()[0] for name, reason in (left_out or {}).items()}
    units = {source.name: source.tile if options.by == "tile" else source.date for source in sources}
    assigned: dict[str, str] = {}
    told: dict[str, str] = {}
    for split in _SPLITS:
        for entry, listed in _entries(getattr(options, split), section):
            named = [s for s in sources if entry in (s.tile, s.date, s.name)]
            if not named and entry in reasons and not listed:
                raise RecipeError(
                    f"{entry} is left out: {reasons[entry]}",
                    where=f"{section}.split.{split}",
                    cure="name the product that is taken, or mend what is wrong with this one",
                )
            if not named and not listed:
                names = "name of a picture" if kind == "picture" else "tile, day or name of a product"
                raise RecipeError(
                    f"{entry} is no {names}",
                    where=f"{section}.split.{split}",
                    cure=f"known: {', '.join(sorted({s.tile for s in sources}))}",
                )
            if not named:
                why = f"left out: {reasons[entry]}" if entry in reasons else "not there"
                logger.warning("split %s lists %s, which is %s", split, entry, why)
            for source in named:
                unit = units[source.name]
                if assigned.setdefault(unit, split) != split:
                    raise LeakageError(
                        f"{unit_kind} {unit} is in {assigned[unit]} ({told[unit]}) and in {split} ({entry})",
                        where=f"{section}.split",
                        cure="keep all that shows the same ground in one split",
                    )
                told[unit] = entry
    assigned |= _drawn(sorted(set(units.values()) - set(assigned)), options, (section, kind, unit_kind))
    if "train" not in assigned.values():
        raise RecipeError("nothing is left to train on", where=f"{section}.split", cure="shorten the other lists")
    splits = [(source, assigned[units[source.name]]) for source in sources]
    if options.by == "date":
        return splits
    return [(_apart(source, splits) if split == "train" else source, split) for source, split in splits]


def _words(sources: Sequence[Source], by: str) -> tuple[str, str, str]:
    """Return what messages call the recipe's section, one of the sources, and what lies in one split whole."""
    if not any(isinstance(source, TileSource) for source in sources):
        return "images", "picture", "picture" if by == "tile" else by
    of_images = any(isinstance(source, ProductImageSource) for source in sources)
    return "images" if of_images else "prepare", "product", by


def _entries(names: tuple[str, ...], section: str) -> list[tuple[str, bool]]:
    """Return the names of a list and whether they come from a file; a .txt holds one a line, # starts a comment."""
    entries = []
    for name in names:
        if not name.endswith(".txt"):
            entries.append((_bare(name), False))
            continue
        cure = f"mend {section}.split"
        try:
            lines = read_file(name, RecipeError, cure).decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise RecipeError(f"is no text ({error})", where=name, cure=cure) from error
        entries += [(_bare(text), True) for line in lines if (text := line.split("#")[0].strip())]
    return entries


def _bare(name: str) -> str:
    return re.sub(r"\.(safe|zip)$", "", name.strip().rstrip("/"), flags=re.IGNORECASE)


def _drawn(free: list[str], options: SplitOptions, words: tuple[str, str, str]) -> dict[str, str]:
    """Return the split of units that no list names, in an order that depends on the seed alone."""
    np.random.default_rng(options.seed).shuffle(free)
    section, kind, unit_kind = words
    counts = {}
    for split, share in (("validation", options.validation_share), ("test", options.test_share)):
        counts[split] = round(share * len(free))
        if share > 0 and not 0 < counts[split] < len(free):
            raise RecipeError(
                f"{share} of {len(free)} {unit_kind}s leaves the {split} or the training split empty",
                where=f"{section}.split.{split}_share",
                cure=f"add {kind}s or name them in {section}.split",
            )
    if free and sum(counts.values()) >= len(free) and sum(counts.values()) > 0:
        raise RecipeError(f"no {unit_kind} is left to train on", where=f"{section}.split", cure="smaller shares")
    names = ["validation"] * counts["validation"] + ["test"] * counts["test"]
    return {unit: names[place] if place < len(names) else "train" for place, unit in enumerate(free)}


def _apart(source: Source, splits: list[tuple[Source, str]]) -> Source:
    """Return a training source that knows the held-out ground reaching into it."""
    if not isinstance(source, TileSource):
        return source
    return source.avoiding([other for other, split in splits if split != "train" and isinstance(other, TileSource)])
