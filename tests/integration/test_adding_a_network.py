"""docs/adding_a_network.md, followed word by word in a copy of the package: options, class, line, recipe, use."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import rasterio

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_adds_a_network_that_trains_is_scored_and_used(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding_a_network.md").read_text(encoding="utf-8")
    blocks: dict[str, list[str]] = {}
    for language, text in re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL):
        blocks.setdefault(language, []).append(text)
    options, union, network, imports, line = blocks["python"]
    (recipe,), (commands,) = blocks["yaml"], blocks["sh"]
    tree = tmp_path / "tree"
    for package in ("hpc_sr", "data_prep"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    models = tree / "hpc_sr" / "models"
    edit(models / "options.py", r"^#: The options of one family", lambda found: f"{options}\n\n{found}")
    edit(models / "options.py", r"^ModelOptions = Annotated\[\n(.*\n)*?\]\n", lambda _: union)
    (models / "vdsr.py").write_text(network)
    edit(models / "build.py", r"^from hpc_sr\.models\.srresnet .*\n", lambda found: f"{found}{imports}")
    edit(models / "build.py", r"^GENERATORS.*\n(.*\n)*?\}\n", lambda found: f"{found}{line}")
    (tmp_path / "vdsr.yaml").write_text(recipe)

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(tree), "PATH": path, "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    scores = json.loads((tmp_path / "runs" / "vdsr" / "evaluate" / "synthesis.json").read_text())
    assert list(scores["mean"]) == ["bicubic", "guided", "vdsr"]
    assert scores["ratio_to_bicubic"]["vdsr"]["rmse"] < 1
    with rasterio.open(tmp_path / "vdsr.tif") as image:
        assert image.count == 10 and image.transform.a == 10.0


def edit(path: Path, pattern: str, change) -> None:
    """Replace the one place in a file that the pattern finds."""
    text, count = re.subn(pattern, lambda found: change(found[0]), path.read_text(), flags=re.MULTILINE)
    assert count == 1, (path, pattern, count)
    path.write_text(text)
