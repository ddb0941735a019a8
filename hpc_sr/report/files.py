"""Tables as files: Markdown, CSV, LaTeX and a page, all of them or none."""

from __future__ import annotations

from pathlib import Path

from hpc_sr.report.page import write_together
from hpc_sr.report.rendering import Grid, as_csv, as_html, as_latex, as_markdown


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
