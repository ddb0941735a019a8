"""From a run to a folder that others can use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpc_sr.errors import RecipeError
from hpc_sr.export.folder import FORMATS, Export, check_absent, probes_of, write_export
from hpc_sr.export.provenance import provenance_of
from hpc_sr.weights.trained import Trained, load_trained


def export_run(
    run_dir: Path, out: Path | None, formats: str | None, use: Callable[[Trained], Trained] = lambda trained: trained
) -> Path:
    """Write a run's network to `out` (default: RUN/export) and return the folder.

    `formats` are names joined by commas; None takes all that the network and the installed libraries allow. `use`
    makes of the run's network the one that is written.
    """
    chosen = None if formats is None else parse_formats(formats)
    out = out or run_dir / "export"
    check_absent(out)
    found = load_trained(run_dir)
    trained = use(found)
    return write_export(Export(trained, provenance_of(run_dir, found.card), probes_of(trained)), out, chosen)


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats in a list, each once. Raises RecipeError for a name that is none."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise RecipeError(
            f"unknown format {unknown[0]!r}", where="--format", cure=f"choose from {', '.join(FORMATS)}, with commas"
        )
    return names
