"""What travels with the package beside its code: the recipes of configs/ and the job scripts of slurm/."""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass
from pathlib import Path

from hpc_sr.disk import telling, whole_folder
from hpc_sr.errors import RecipeError
from hpc_sr.yaml_files import as_yaml, load_yaml

CONFIGS, SLURM = (Path(__file__).resolve().parent / name for name in ("configs", "slurm"))
SCHEMA = CONFIGS / "recipe.schema.json"
#: By which editors find the schema, given a path beside the file or an address.
_MODELINE = "# yaml-language-server: $schema="


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe of configs/: `name` is its path there without the ending, `about` the first sentence of its head."""

    name: str
    task: str
    about: str


def shipped_recipes() -> list[ShippedRecipe]:
    """Return the recipes that travel with the package, by name; those in folders last."""
    paths = sorted(CONFIGS.rglob("*.yaml"), key=lambda path: (path.parent != CONFIGS, path))
    return [ShippedRecipe(_name(path), load_yaml(path)["task"], _about(path)) for path in paths]


def recipe_text(name: str) -> str:
    """Return a shipped recipe as a file that stands alone: one with a base is laid over it, and keeps its own head.

    Editors find the schema where it is installed. Raises RecipeError, with the nearest name, if there is none.
    """
    paths = {_name(path): path for path in CONFIGS.rglob("*.yaml")}
    path = paths.get(name.removesuffix(".yaml"))
    if path is None:
        near = difflib.get_close_matches(name, paths, n=1, cutoff=0.5)
        cure = f"did you mean {near[0]!r}?" if near else "`hpc-sr recipe` lists them"
        raise RecipeError(f"no recipe of this name is shipped: {name!r}", cure=cure)
    text = path.read_text(encoding="utf-8")
    head = [_MODELINE + SCHEMA.resolve().as_uri(), *_head(path)]
    body = text.splitlines()[len(head) :]
    told = as_yaml(load_yaml(path)) if any(line.startswith("base:") for line in body) else "\n".join(body) + "\n"
    return "\n".join(head) + "\n" + told


def write_job_scripts(out: Path) -> list[str]:
    """Write the job scripts, the sites and the private cluster's scripts as a new folder; return the sites' names.

    Raises OutputError if it is there already or cannot be written.
    """
    with telling(out), whole_folder(out) as folder:
        shutil.copytree(SLURM, folder, dirs_exist_ok=True)
    return sorted(path.stem for path in (SLURM / "sites").glob("*.sh") if "HPC_SR_SITE=" in path.read_text())


def _name(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


def _about(path: Path) -> str:
    lines = _head(path)
    return " ".join(line.lstrip("# ") for line in lines[: lines.index("#")])


def _head(path: Path) -> list[str]:
    """Return the comment that a recipe begins with, but the line for editors."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(_MODELINE), f"{path}: the first line names the schema"
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return lines[1:end]
