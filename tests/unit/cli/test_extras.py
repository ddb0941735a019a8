"""Commands without the libraries that are extras: what does not need them works, what does names the extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import TinyWorld

#: Runs commands one after the other in a process for which some libraries are not installed.
BLOCKED = """
import json, sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"matplotlib", "jinja2", "tensorboard", "tensorboardX"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, TESTS)
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from support import run_cli

told = {}
for name, command in json.loads(sys.stdin.read()).items():
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = run_cli(*command)
    told[name] = [code or 0, out.getvalue()]
assert not {"matplotlib", "jinja2", "tensorboard"} & set(sys.modules)
print(json.dumps(told))
"""
REPORT, BOARD = "pip install 'hpc_sr[report]'", "pip install 'hpc_sr[tensorboard]'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bare")


@pytest.fixture(scope="module")
def told(tiny: TinyWorld, folder: Path) -> dict[str, tuple[int, str]]:
    """What each verb ended with, and said, where no extra is installed."""
    store, run = folder / "store", folder / "runs" / "bare"
    changes = [f"store={store}", f"train.runs={folder / 'runs'}", "name=bare"]
    point = folder / "points" / "serial_1.json"
    point.parent.mkdir()
    commands = {
        "prepare": ["prepare", tiny.recipe, *changes],
        "inspect": ["inspect", store],
        "inspect --sheet": ["inspect", store, "--sheet", folder / "sheet.png"],
        "verify": ["verify", store],
        "train": ["train", tiny.recipe, *changes, "schedule.total_samples=32"],
        "train --plot-schedule": ["train", tiny.recipe, "--plot-schedule", folder / "rate.png"],
        "evaluate": ["evaluate", run],
        "evaluate --table": ["evaluate", "--table", "thesis", run],
        "infer": ["infer", run, tiny.products[0], "--out", folder / "a.tif", "--region-px", "0,0,60,60"],
        "report": ["report", run],
        "export": ["export", run],
        "benchmark": ["benchmark", tiny.recipe, "--out", point, "--steps", "1", "--rounds", "1"],
        "scaling": ["scaling", point.parent],
        "demo": ["demo", "--out", folder / "demo"],
        "doctor": ["doctor"],
    }
    words = json.dumps({name: list(map(str, command)) for name, command in commands.items()})
    code = BLOCKED.replace("TESTS", repr(str(Path(__file__).parents[2])))
    done = subprocess.run([sys.executable, "-c", code], input=words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: (code, said) for name, (code, said) in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize(
    ("verb", "left_out", "made"),
    [
        ("prepare", f"no maps of patches are drawn without matplotlib: {REPORT}", "store/manifest.json"),
        ("inspect", f"no contact sheet is drawn without matplotlib: {REPORT}", None),
        ("verify", None, None),
        ("train", f"no events for TensorBoard are written beside metrics.jsonl: {BOARD}", "runs/bare/metrics.jsonl"),
        ("evaluate", None, "runs/bare/evaluate"),
        ("infer", None, "a.tif"),
        ("benchmark", f"no events for TensorBoard are written beside metrics.jsonl: {BOARD}", "points/serial_1.json"),
        ("scaling", f"no figure is drawn without matplotlib: {REPORT}", "points/scaling.md"),
        ("doctor", None, None),
    ],
)
def test_a_verb_works_without_the_extras(told, folder: Path, verb: str, left_out: str | None, made: str | None) -> None:
    code, said = told[verb]
    assert code == 0, said
    assert said.count("pip install") == (left_out is not None) and (left_out or "") in said, said
    assert made is None or (folder / made).exists()


@pytest.mark.parametrize(
    ("verb", "library", "not_made"),
    [
        ("inspect --sheet", "matplotlib", "sheet.png"),
        ("train --plot-schedule", "matplotlib", "rate.png"),
        ("evaluate --table", "jinja2", "evaluation"),
        ("report", "matplotlib", "runs/bare/report.html"),
        ("export", "jinja2", "runs/bare/export"),
        ("demo", "matplotlib", "demo"),
    ],
)
def test_a_verb_that_needs_an_extra_names_it(told, folder: Path, verb: str, library: str, not_made: str) -> None:
    code, said = told[verb]
    assert code == 2 and f"needs {library}, which is not installed" in said and f"cure: {REPORT}" in said, said
    assert "Traceback" not in said and not (folder / not_made).exists()
