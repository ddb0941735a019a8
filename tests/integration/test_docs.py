"""What the pages say can be typed, and the site builds with no link broken."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from support import require

from hpc_sr.__main__ import expand_lists
from hpc_sr.cli import app
from hpc_sr.recipe import load_recipe

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
#: A file that a page tells its reader to write.
TO_BE_WRITTEN = "hpc_sr/models/vdsr.py"


def commands_of(page: Path) -> list[str]:
    """Return the commands `hpc-sr ...` of a page's code blocks and code words, comments and redirections left out."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^(?:    |```(?:bash|sh)\n)?(.*\bhpc-sr [a-z].*)$", text, re.MULTILINE)
    lines = [line for block in blocks for line in (re.findall(r"`([^`]*\bhpc-sr [^`]+)`", block) or [block])]
    found = []
    for line in lines:
        for part in re.split(r"&&|;|\|", re.sub(r"\s#.*| > \S+", "", line)):
            if told := re.search(r"\bhpc-sr ([a-z][a-z_-]+\b.*)", part):
                found.append(told[1].strip("`.,) "))
    return found


EXAMPLES = sorted({(page.name, command) for page in PAGES for command in commands_of(page)})


def test_there_are_examples_on_every_page_of_use() -> None:
    assert {"README.md", "prepare.md", "train.md", "evaluate.md"} <= {page for page, _ in EXAMPLES}
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize(("page", "example"), EXAMPLES, ids=[f"{page}: {example}" for page, example in EXAMPLES])
def test_an_example_can_be_typed(page: str, example: str) -> None:
    verb, *words = expand_lists(shlex.split(example))
    commands = typer.main.get_command(app).commands
    if words in ([], ["--help"]) and verb in commands:  # the name of a verb in a sentence
        return
    assert verb in commands, f"{page}: there is no verb {verb}"
    context = commands[verb].make_context(verb, list(words))
    recipe = context.params.get("recipe")
    if recipe and Path(recipe).parts[0] == "configs":
        load_recipe(TOP / recipe, [pair for pair in context.params.get("overrides") or () if "=" in pair])


def test_every_file_that_a_page_names_is_there() -> None:
    named = re.compile(
        r"\b((?:configs|slurm|docs|containers|tests|hpc_sr|data_prep)/[\w/]+\.(?:yaml|sh|py|md|def|json))"
    )
    told = {(page.name, name) for page in PAGES for name in named.findall(page.read_text())}
    missing = [(page, name) for page, name in sorted(told) if not (TOP / name).is_file() and name != TO_BE_WRITTEN]
    assert not missing


def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    require(importlib.util.find_spec("sphinx"), "Sphinx is not installed (pip install 'hpc_sr[docs]')")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nbclient", "ipykernel", "xarray", "matplotlib"):
        require(importlib.util.find_spec(name), f"{name} is not installed (pip install 'hpc_sr[dev]')")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = nbformat.read(TOP / "docs" / "tutorial.ipynb", as_version=4)
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert (tmp_path / "runs/mine/report.html").is_file() and (tmp_path / "mine.tif").is_file()
    ratios = next(out for cell in notebook.cells for out in cell.get("outputs", ()) if "supreme" in str(out))
    assert "0." in str(ratios)
