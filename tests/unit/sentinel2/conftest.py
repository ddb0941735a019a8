"""Small products to read, and copies of them to spoil."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_prep.synthetic import Scene, landscape, write_product
from hpc_sr.sentinel2.pairs import Pair, synthesis_pair
from hpc_sr.sentinel2.safe import open_products
from hpc_sr.tasks import S2X, S6X

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


@pytest.fixture
def in_seconds() -> Iterator[None]:
    """Stop a test that hangs: only what hangs takes as long, however busy the machine."""

    def stop(*_: object) -> None:
        raise TimeoutError("still at it after 300 s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def use(in_seconds: None) -> Callable[[Path], list[Pair]]:
    """Return the pairs of what is at a path, all bands and all masks read, at 20 m and at 60 m."""
    reasons = (
        "nodata",
        "saturated",
        "lost",
        "degraded",
        "defective",
        "cloud",
        "cirrus",
        "shadow",
        "snow",
        "detector_seam",
    )

    def pairs(path: Path) -> list[Pair]:
        limits = dict.fromkeys(reasons, 0.0)
        products = open_products(path)
        return [synthesis_pair(product, task, "wald", limits, 0.5) for product in products for task in (S2X, S6X)]

    return pairs
