"""A self-contained page: a template filled in, pictures inside, written whole or not at all."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

from hpc_sr.disk import partial_of, sweep_partials, write_atomically
from hpc_sr.errors import OutputError
from hpc_sr.extras import need


def fill(template: str, **values: Any) -> str:
    """Return a template of this folder with its values, which are text and never markup.

    Raises MissingComponentError without jinja2.
    """
    need("jinja2", "report", "a page")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def write_page(path: Path, page: str) -> Path:
    """Write a page and return its path. Raises OutputError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_partials(path.parent, path.name)
        write_atomically(path, page)
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=path, cure="give a writable path") from error
    return path


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


def svg_uri(text: str) -> str:
    """Return an SVG figure as the source of an image."""
    return _data_uri(text.encode(), "svg+xml")


def png_uri(content: bytes) -> str:
    """Return a PNG picture as the source of an image."""
    return _data_uri(content, "png")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
