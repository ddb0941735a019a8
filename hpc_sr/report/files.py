"""Files of a report, all of them or none; tables as Markdown, CSV, LaTeX and a page."""

from __future__ import annotations

import shutil
from pathlib import Path

from hpc_sr.disk import partial_of, sweep_partials, write_atomically
from hpc_sr.errors import OutputError
from hpc_sr.extras import has, install
from hpc_sr.logs import logger
from hpc_sr.report.rendering import Grid, as_csv, as_html, as_latex, as_markdown


def can_draw() -> bool:
    """Return whether figures can be drawn; it is said once for each that cannot."""
    if has("matplotlib"):
        return True
    logger.warning("no figure is drawn without matplotlib: %s", install("report"))
    return False


def write_tables(grids: list[Grid], title: str, folder: Path, name: str) -> list[Path]:
    """Write folder/name.{md,csv,tex,html} and return their paths; if one cannot be written, none is replaced.

    Raises OutputError if the folder cannot be written.
    """
    contents = {
        f"{name}.md": "\n\n".join([f"# {title}", *(f"## {as_markdown(grid)}" for grid in grids)]) + "\n",
        f"{name}.csv": as_csv(grids),
        f"{name}.tex": as_latex(grids),
        f"{name}.html": as_html(grids, title),
    }
    return write_together(folder, name, contents)


def write_together(folder: Path, name: str, contents: dict[str, str]) -> list[Path]:
    """Write files {name.suffix: text} of a folder and return their paths; if one cannot be written, none is replaced.

    Raises OutputError if the folder cannot be written.
    """
    partial = partial_of(folder / name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the targets, because no rename crosses file systems; all are written before the first is renamed.
        sweep_partials(folder, name)
        partial.mkdir()
        for file, content in contents.items():
            write_atomically(partial / file, content)
        return [(partial / file).replace(folder / file) for file in contents]
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error})", where=folder, cure="give a folder that is writable"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
