"""The import rules: which room may know which other, and which library lives where. Imports in functions count."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BASE = {"errors", "disk", "locks", "logs", "markdown", "config", "yaml_files", "tasks", "extras"}
#: Rooms of ours that a room may import from, besides itself. A file beside the rooms counts as one.
MAY_IMPORT = {
    "errors": set(),
    "disk": {"errors"},
    "locks": {"errors", "disk"},
    "logs": {"errors", "disk"},
    "yaml_files": {"errors", "disk"},
    "config": {"errors", "yaml_files"},
    "markdown": set(),
    "extras": {"errors"},
    "tasks": {"errors"},
    "sentinel2": BASE,
    "shards": BASE,
    "comm": BASE,
    "data": BASE | {"shards"},
    "models": BASE,
    "losses": BASE,
    "weights": BASE | {"models"},
    "classical": BASE | {"sentinel2", "models"},
    "infer": BASE | {"sentinel2", "shards", "classical", "models", "comm", "weights", "__init__"},
    "evaluate": BASE | {"sentinel2", "shards", "data", "models", "classical", "comm", "infer", "weights"},
    "train": BASE | {"comm", "sentinel2", "shards", "data", "models", "losses", "evaluate", "weights"},
    "export": BASE | {"sentinel2", "shards", "models", "weights", "__init__"},
    "report": BASE,
    "data_prep": BASE | {"sentinel2", "shards", "comm", "__init__"},
}
#: The roof sees everything: it composes, and only the bench and the command line import it.
ROOF = {
    "__init__",
    "__main__",
    "api",
    "cli",
    "recipe",
    "shipped",
    "demo",
    "doctor",
    "environment",
    "run_directory",
    "bench",
}
#: Libraries with one home each. The doctor tries every library, the benchmarks compare with bare ones.
HOMES = {
    "torch": {"comm", "data", "models", "classical", "losses", "train", "evaluate", "infer", "weights", "export"},
    "rasterio": {
        "sentinel2/rasters.py",
        "sentinel2/ground.py",
        "sentinel2/local_rasters.py",
        "infer",
        "evaluate/protocols/external_images.py",
        "data_prep/build.py",
        "data_prep/image_files.py",
        "data_prep/safe_writer.py",
    },
    "h5py": {"shards", "data_prep/build.py", "weights/keras.py"},
    "hdf5plugin": {"shards"},
    "horovod": {"comm/horovod.py", "comm/horovod_gradients.py", "comm/elastic.py", "comm/srun_gloo.py"},
    "mpi4py": {"comm/mpi.py"},
    "yaml": {"yaml_files.py", "recipe.py"},
    "matplotlib": {"report", "data_prep/pictures.py"},
    "jinja2": {"report", "export"},
    "safetensors": {"weights"},
    "onnx": {"export/onnx_file.py"},
    "onnxscript": {"export/onnx_file.py"},
    "onnxruntime": {"export/onnx_file.py"},
    "typer": {"cli"},
    "xarray": {"api.py", "infer/dataset.py", "infer/dataset_image.py"},
}
FREE_OF_HOMES = {"doctor.py", "bench"}


def _files() -> list[Path]:
    return sorted([*(ROOT / "hpc_sr").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")])


def _short(path: Path) -> str:
    """Return the path without the package's own folder: "train/step.py", "data_prep/build.py"."""
    return path.relative_to(ROOT).as_posix().removeprefix("hpc_sr/")


def _room(path: Path) -> str:
    return _short(path).split("/")[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _room_of_import(name: str) -> str | None:
    """Return the room that a dotted name leads to, or None for a library."""
    parts = name.split(".")
    if parts[0] == "data_prep":
        return "data_prep"
    if parts[0] != "hpc_sr":
        return None
    known = {_room(path) for path in _files()}
    return parts[1] if len(parts) > 1 and parts[1] in known else "__init__"


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    room = _room(path)
    if room in ROOF or path.name == "__main__.py":
        return
    allowed = MAY_IMPORT[room] | {room}
    found = {name: _room_of_import(name) for name in _imports(path)}
    assert {name: to for name, to in found.items() if to is not None and to not in allowed} == {}


@pytest.mark.parametrize("path", _files(), ids=_short)
def test_a_library_is_named_in_its_home_only(path: Path) -> None:
    short = _short(path)
    if short.split("/")[0] in FREE_OF_HOMES:
        return
    strangers = {
        name
        for name in _imports(path)
        for library, homes in HOMES.items()
        if name.split(".")[0] == library
        and not any(short == home or short.startswith(f"{home}/") for home in homes)
        and short.removesuffix(".py") not in homes
    }
    assert strangers == set()


def test_torch_distributed_is_named_in_one_room() -> None:
    naming = {_short(p) for p in _files() if any(n.startswith("torch.distributed") for n in _imports(p))}
    assert {name for name in naming if not name.startswith(("comm/", "bench/"))} == set()


def test_every_room_is_known_to_the_rules() -> None:
    assert {_room(path) for path in _files()} <= set(MAY_IMPORT) | ROOF


def test_what_is_started_often_does_not_load_torch() -> None:
    """`hpc-sr --help`, a recipe and data preparation on hundreds of ranks come without torch's seconds."""
    import subprocess
    import sys

    code = "import sys, hpc_sr.cli, hpc_sr.recipe, data_prep.build, hpc_sr.comm.mpi; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_files_stay_readable() -> None:
    long = {_short(path): count for path in _files() if (count := len(path.read_text().splitlines())) > 300}
    assert long == {}


def test_files_of_tests_have_names_of_their_own() -> None:
    """Two modules of one name cannot be collected in one run, unless they lie in packages."""
    found = [path for path in (ROOT / "tests").rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    names = Counter(path.name for path in found)
    assert {name for name, count in names.items() if count > 1} == set()
