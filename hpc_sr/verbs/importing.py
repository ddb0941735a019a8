"""From weights that somebody else trained to a folder that infer and evaluate take."""

from __future__ import annotations

from pathlib import Path

from hpc_sr.weights.keras import import_dsen2


def import_keras_file(file: Path, out: Path, level: str, bands_10m: str) -> str:
    """Write the checkpoint folder of a Keras DSen2 and return one line that says what it is."""
    card = import_dsen2(file, out, level, tuple(bands_10m.split(",")))
    model = card.model
    return (
        f"{out}: {card.family} for {card.task}, {model['width']} channels, {model['blocks']} blocks, "
        f"{card.parameters:,} parameters, {card.level}, degradation {card.degradation}"
    )
