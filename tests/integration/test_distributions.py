"""The product is whole when it is installed from a wheel or a source distribution, without the repository."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from hpc_sr import __version__

PROJECT = Path(__file__).resolve().parents[2]
_BUILD = "from setuptools.build_meta import build_{0}; build_{0}('dist')"
#: The name on PyPI of what is imported by another one.
_NAMES = {"yaml": "pyyaml"}
#: What is built here and not installed by an extra, and what a requirement of ours always brings.
_NOT_REQUIRED = {"horovod"}
_BROUGHT_BY = {"markupsafe": "jinja2", "pydantic_core": "pydantic", "typing_extensions": "pydantic"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that belongs into a distribution: building leaves folders behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("hpc_sr", "data_prep", "configs", "slurm"):
        shutil.copytree(PROJECT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy)
    return copy


def build(kind: str, folder: Path) -> Path:
    subprocess.run([sys.executable, "-c", _BUILD.format(kind)], cwd=folder, check=True, capture_output=True)
    return next((folder / "dist").glob("*.whl" if kind == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return build("wheel", source)


def expected() -> set[str]:
    """Return every file of the packages, the recipes and the job scripts, as a distribution has them."""
    ends = {".py", ".typed", ".j2", ".yaml", ".json", ".sh", ".safetensors", ".md"}
    folders = {"hpc_sr": "hpc_sr", "data_prep": "data_prep", "configs": "hpc_sr/configs", "slurm": "hpc_sr/slurm"}
    return {
        f"{place}/{path.relative_to(PROJECT / name).as_posix()}"
        for name, place in folders.items()
        for path in (PROJECT / name).rglob("*")
        if path.is_file() and path.suffix in ends
    }


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_every_file(wheel: Path) -> None:
    assert contents(wheel) == expected()


def test_a_source_distribution_holds_every_file_and_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path):
    with tarfile.open(build("sdist", source)) as archive:
        archive.extractall(tmp_path, filter="data")
    root = next(tmp_path.glob("hpc_sr-*"))
    assert expected() <= {path.relative_to(root).as_posix() for path in root.rglob("*")}
    assert contents(build("wheel", root)) == contents(wheel)


def test_an_installed_wheel_has_recipes_and_job_scripts(wheel: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "elsewhere"
    folder.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(pip, check=True, capture_output=True)

    def hpc_sr(*words: str) -> str:
        command = [sys.executable, "-m", "hpc_sr", *words]
        env = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout

    (folder / "my.yaml").write_text(hpc_sr("recipe", "scaling/s6x_02"))
    assert f"$schema={(site / 'hpc_sr/configs/recipe.schema.json').as_uri()}\n" in (folder / "my.yaml").read_text()
    assert "s6x_scaling_02" in hpc_sr("train", "my.yaml", "--print-recipe")
    hpc_sr("slurm", "--out", "jobs")
    for path in (PROJECT / "slurm").rglob("*.sh"):
        copy = folder / "jobs" / path.relative_to(PROJECT / "slurm")
        assert os.access(copy, os.X_OK) == os.access(path, os.X_OK), copy
    assert Path(hpc_sr("synthetic", "products", "--size-10m", "66").strip()).name.endswith(".SAFE")


def test_every_library_is_required_or_an_extra() -> None:
    """What is imported as a module loads belongs to the requirements, unless a room asks for it at its door."""
    settings = ConfigParser()
    settings.read(PROJECT / "setup.cfg")
    extras = dict(settings["options.extras_require"])
    required = names(settings["options"]["install_requires"])
    optional = {name for extra in ("report", "tensorboard", "onnx", "mpi", "xarray") for name in names(extras[extra])}
    assert required & optional <= {"torch"}
    imported = {
        _NAMES.get(library, library)
        for package in ("hpc_sr", "data_prep")
        for path in (PROJECT / package).rglob("*.py")
        for library in libraries(path)
    }
    known = required | optional | _NOT_REQUIRED
    assert imported - known == {name for name, by in _BROUGHT_BY.items() if by in known}
    assert "hpc_sr[onnx,report,tensorboard,xarray]" in extras["all"] and "horovod" not in extras


def names(requirements: str) -> set[str]:
    return {re.split(r"[\[>=<]", line)[0] for line in requirements.split() if line}


def libraries(path: Path) -> set[str]:
    """Return the libraries, but Python's own and ours, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names) - {"hpc_sr", "data_prep"}


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (PROJECT / "CITATION.cff").read_text()
