"""An exported folder: every file checked against the network before the folder gets its name.

    model.safetensors   weights by name; what `hpc-sr infer` and `hpc-sr evaluate` read
    model.pt2           the graph with weights, for torch.export.load
    model.onnx          the same for ONNX runtimes
    card.json           weights.Card, and all else that is known of the model
    model_card.md       the same to read

The graphs take and return stored units, reflectance x 10 000 or grey levels of images. The weights belong to a network
in network units (hpc_sr.tasks).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from hpc_sr.disk import check_path, sha256_of, whole_folder
from hpc_sr.errors import ExportError, MissingComponentError, NotExpressibleError, OutputError
from hpc_sr.export.card import as_markdown, describe
from hpc_sr.export.graphs import Inputs, Run, StoredUnits, as_tuple, capture, like_measured, open_graph, write_graph
from hpc_sr.export.onnx_file import OPSET, open_onnx, write_onnx
from hpc_sr.logs import logger
from hpc_sr.models.generator import Generator
from hpc_sr.weights.card import Card
from hpc_sr.weights.tensors import write_safetensors
from hpc_sr.weights.trained import Trained, restore_generator

#: The formats and the names of their files, in the order in which they are written.
FORMATS = {"safetensors": "model.safetensors", "torch": "model.pt2", "onnx": "model.onnx"}

#: The largest accepted difference from the eager network in float32, in stored units: half a DN of a product.
#: Sums in another order differ by hundredths; another operation, or another weight, by far more.
TOLERANCE = 0.5


@dataclass(frozen=True)
class Export:
    """What is exported: a trained generator on the CPU, what is known of its making, and the inputs that every file is
    checked on."""

    trained: Trained
    provenance: dict[str, Any]
    probes: list[Inputs]

    @property
    def generator(self) -> Generator:
        return self.trained.generator

    @property
    def card(self) -> Card:
        return self.trained.card

    @cached_property
    def program(self) -> ExportedProgram:
        return capture(self.generator)


def probes_of(trained: Trained) -> list[Inputs]:
    """Return made-up inputs, like measured ones, of two sizes and batches: at least two patches a side."""
    generator, patch_px = trained.generator, trained.card.patch_px
    side = -(-2 * patch_px // generator.multiple_px) * generator.multiple_px
    wider = -(-3 * patch_px // generator.multiple_px) * generator.multiple_px
    return [like_measured(generator, 1, side, wider, seed=1), like_measured(generator, 2, side, side, seed=2)]


def write_export(export: Export, out: Path, formats: tuple[str, ...] | None) -> Path:
    """Write the folder, whole or not at all, and return its path. `formats` None: all that the network allows.

    What a format cannot express is a warning and a line of the card, unless that format was asked for.
    Raises OutputError if `out` is there or cannot be written; ExportError if a file, read again, differs from the
    network by more than TOLERANCE; NotExpressibleError or MissingComponentError for a format that was asked for.
    """
    check_absent(out)
    try:
        with whole_folder(out) as partial:
            files, left_out = _write_formats(export, partial, formats)
            document = {**_described(export), "files": files, "not_written": left_out}
            (partial / "card.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            (partial / "model_card.md").write_text(as_markdown(document), encoding="utf-8")
            for file in partial.iterdir():  # safetensors makes a file that only its owner reads
                shutil.copymode(partial / "card.json", file)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error})", where=out, cure="free disk space or give a writable --out"
        ) from error
    return out


def check_absent(out: Path) -> None:
    """Raise OutputError if there is something already: an export that somebody may be using is never replaced."""
    check_path(out)
    if out.exists():
        raise OutputError("is there already", where=out, cure="remove it or give another --out")


def _write_formats(
    export: Export, folder: Path, formats: tuple[str, ...] | None
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what the card says of each file written, and why the others were not."""
    with torch.inference_mode():
        expected = [export.generator.estimate(*probe) for probe in export.probes]
    files, left_out = {}, {}
    for name in formats or FORMATS:
        path = folder / FORMATS[name]
        try:
            run = _write_and_open(name, path, export)
        except (NotExpressibleError, MissingComponentError) as error:
            if formats:
                raise
            logger.warning("%s is left out: %s", name, error.problem)
            left_out[name] = error.problem
            path.unlink(missing_ok=True)
            continue
        difference = check_same(run, export.probes, expected, name)
        unit = _described(export)["units"]["short"]
        logger.info("%s: differs from the network by %.2g at most (%s)", path.name, difference, unit)
        files[path.name] = {
            "format": name,
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            **({"opset": OPSET} if name == "onnx" else {}),
        }
    return files, left_out


def _write_and_open(name: str, path: Path, export: Export) -> Run:
    """Write one format and return the network as it is in the file."""
    generator, card_json = export.generator, json.dumps(_described(export))
    if name == "safetensors":
        write_safetensors(path, generator, card_json)
        restored = StoredUnits(restore_generator(export.card, path))
        return lambda inputs: as_tuple(restored(*inputs))
    if name == "torch":
        write_graph(path, export.program, card_json)
        return open_graph(path)
    write_onnx(path, export.program, generator.task, generator.multiple_px, card_json)
    return open_onnx(path, generator.task)


def check_same(run: Run, probes: list[Inputs], expected: list[tuple[torch.Tensor, ...]], name: str) -> float:
    """Return the largest difference of a network from what was expected of it, in stored units.

    Raises ExportError if it is above TOLERANCE, or no number.
    """
    with torch.inference_mode():
        differences = [
            (found - wanted).abs().max()
            for probe, targets in zip(probes, expected, strict=True)
            for found, wanted in zip(run(probe), targets, strict=True)
        ]
    largest = float(torch.stack(differences).max())
    if not largest <= TOLERANCE:
        raise ExportError(
            f"differs from the network by {largest:.3g} in stored units, accepted is {TOLERANCE}",
            where=FORMATS[name],
            cure=f"leave {name} out with --format",
        )
    return largest


def _described(export: Export) -> dict[str, Any]:
    return {**export.card.as_json(), **describe(export.generator, export.card), **export.provenance}
