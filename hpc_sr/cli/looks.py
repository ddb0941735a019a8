"""`hpc-sr looks`: an exported network is told what its training ground looks like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hpc_sr.shards.schema import Manifest


def looks(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `hpc-sr export` wrote.")],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store of the products that it was trained on.")],
) -> None:
    """Write into a network's card what the ground of a store looks like: inference then warns of what is unlike.

    For networks that were trained before cards had it; training now measures it. The weights stay as they are. Needs
    a store of the products that the card names, with two tiles or more, prepared by this version.
    """
    import json
    from dataclasses import asdict, replace

    from hpc_sr.disk import read_json, write_atomically
    from hpc_sr.errors import CheckpointError, RecipeError
    from hpc_sr.export.card import as_markdown
    from hpc_sr.shards.schema import read_manifest
    from hpc_sr.train.looks import looks_of
    from hpc_sr.weights.card import read_card

    card, manifest = read_card(folder), read_manifest(store)
    document = read_json(folder / "card.json", CheckpointError, "export the run again")
    _check_same_ground(document, manifest, store)
    found = looks_of(manifest.products)
    if found is None:
        raise RecipeError(
            "does not tell what its ground looks like",
            where=store,
            cure="prepare it again in a new folder, of products of two tiles or more",
        )
    if manifest.task != card.task:
        found = replace(found, unexplained={})
    document["facts"]["looks"] = asdict(found)
    write_atomically(folder / "card.json", json.dumps(document, indent=1) + "\n")
    write_atomically(folder / "model_card.md", as_markdown(document))
    typer.echo(str(folder / "card.json"))


def _check_same_ground(document: dict[str, Any], manifest: Manifest, store: Path) -> None:
    """Raise RecipeError unless a store's products to train on are those that a card names."""
    from hpc_sr.errors import RecipeError

    data = document.get("training", {}).get("data") or {"products": []}
    named = {line["product"] for line in data["products"] if line.get("split") == "train"}
    trained = {line["product"] for line in manifest.products if line["split"] == "train"}
    if named != trained:
        differing = sorted(named ^ trained)
        raise RecipeError(
            f"is not what the network was trained on: {differing[0]} and {len(differing) - 1} more are in one alone",
            where=store,
            cure="prepare the products that model_card.md names",
        )
