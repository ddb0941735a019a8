"""Small products to read, and copies of them to spoil."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.synthetic import Scene, landscape, write_product

HEIGHT_10M, WIDTH_10M = 186, 252


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A landscape of 186 x 252 px at 10 m: no whole number of coarsest pixels, and not square."""
    square = landscape(WIDTH_10M, seed=1)
    return Scene({name: dn[: HEIGHT_10M * len(dn) // WIDTH_10M] for name, dn in square.dn.items()})


@pytest.fixture(scope="session")
def products(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Products of the scene by (level, baseline)."""
    folder = tmp_path_factory.mktemp("products")
    return {
        (level, baseline): write_product(folder, scene, level=level, baseline=baseline, satellite="S2B")
        for level in ("L1C", "L2A")
        for baseline in ("02.08", "05.09")
    }


@pytest.fixture
def spoilt(products: dict[tuple[str, str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a copy of a product in which each `old` text of the XML file called `file` is `new`."""

    def spoil(*edits: tuple[str, str, str], level: str = "L1C", baseline: str = "05.09") -> Path:
        source = products[level, baseline]
        copy = Path(shutil.copytree(source, tmp_path / source.name))
        for file, old, new in edits:
            (path,) = copy.rglob(file)
            text = path.read_text("utf-8")
            assert old in text
            path.write_text(text.replace(old, new), "utf-8")
        return copy

    return spoil
