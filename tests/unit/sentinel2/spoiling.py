"""What is done to good products to spoil them, and the table of what may happen to a raster."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from hpc_sr.errors import HpcSrError, MissingFileError, RasterError

Spoil = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """What spoils the only file that `file` matches, and the error's class and words."""

    file: str
    spoil: Spoil
    error: type[HpcSrError]
    said: str
    level: str = "L1C"
    baseline: str = "05.09"


def edit(old: str, new: str) -> Spoil:
    """Replace what matches `old` in a text file, and see that something does."""

    def replace(file: Path) -> None:
        text = file.read_text("utf-8")
        assert re.search(old, text), f"{old} is not in {file.name}"
        file.write_text(re.sub(old, lambda _: new, text), "utf-8")

    return replace


def content(of: bytes) -> Spoil:
    return lambda file: file.write_bytes(of)


def cut(share: float) -> Spoil:
    return lambda file: file.write_bytes((whole := file.read_bytes())[: int(len(whole) * share)])


def zeros_from(share: float) -> Spoil:
    def fill(file: Path) -> None:
        whole = file.read_bytes()
        kept = int(len(whole) * share)
        file.write_bytes(whole[:kept] + bytes(len(whole) - kept))

    return fill


def without_middle(file: Path) -> None:
    """An interrupted download that went on too far: with its end, but a piece is gone."""
    whole = file.read_bytes()
    half, gone = len(whole) // 2, len(whole) // 8
    file.write_bytes(whole[:half] + whole[half + gone :])


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def raster(change: Callable[[np.ndarray, dict], tuple[np.ndarray, dict]]) -> Spoil:
    """Write the raster again as a GeoTIFF under its name, with other pixels (n, H, W) or another profile."""

    def write(file: Path) -> None:
        with rasterio.open(file) as dataset:
            pixels, profile = dataset.read(), {"crs": dataset.crs, "transform": dataset.transform}
        pixels, profile = change(pixels, profile)
        count, height, width = pixels.shape
        profile |= {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
        file.unlink()
        with rasterio.open(file, "w", driver="GTiff", **profile) as dataset:
            dataset.write(pixels)

    return write


def moved(columns: float) -> Spoil:
    return raster(lambda p, k: (p, k | {"transform": k["transform"] @ Affine.translation(columns, 0)}))


def scaled(factor: float) -> Spoil:
    return raster(lambda p, k: (p, k | {"transform": k["transform"] @ Affine.scale(factor)}))


_VECTOR = "<eop:maskMembers/>"


def features(ring: str, kind: str = "OPAQUE", dimension: str = "2") -> Spoil:
    """Put one polygon into a vector mask without any."""
    return edit(
        _VECTOR,
        (
            f'<eop:maskMembers><eop:MaskFeature gml:id="{kind}.0"><eop:maskType>{kind}</eop:maskType><eop:extentOf>'
            f'<gml:Polygon gml:id="a"><gml:exterior><gml:LinearRing><gml:posList srsDimension="{dimension}">{ring}'
            "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></eop:extentOf></eop:MaskFeature>"
            "</eop:maskMembers>"
        ),
    )


#: What may happen to a band's file.
RASTER = {
    "missing": (Path.unlink, MissingFileError, "missing"),
    "a folder": (folder, MissingFileError, "missing"),
    "a dangling link": (dangling, MissingFileError, "missing|cannot be read"),
    "empty": (content(b""), RasterError, "no readable raster"),
    "text": (content(b"<html>quota exceeded</html>"), RasterError, "no readable raster"),
    "only zeros": (zeros_from(0), RasterError, "no readable raster"),
    "cut in its header": (content(bytes.fromhex("0000000c6a5020200d0a870a")), RasterError, "before its end|readable"),
    "cut at a half": (cut(0.5), RasterError, "before its end"),
    "cut by one byte": (lambda file: file.write_bytes(file.read_bytes()[:-1]), RasterError, "before its end"),
    "zeros at its end": (zeros_from(0.6), RasterError, "before its end"),
    "without its middle": (without_middle, RasterError, "cannot be decoded|before its end"),
    "of another size": (raster(lambda p, k: (p[:, :-1], k)), RasterError, "the metadata say"),
    "of three layers": (raster(lambda p, k: (np.repeat(p, 3, 0), k)), RasterError, "3 layers of uint16"),
    "of floats": (raster(lambda p, k: (p.astype(np.float32), k)), RasterError, "of float32"),
    "of NaN": (raster(lambda p, k: (np.full(p.shape, np.nan, np.float32), k)), RasterError, "float32"),
    "of signed integers": (raster(lambda p, k: (p.astype(np.int16), k)), RasterError, "int16"),
    "in another zone": (raster(lambda p, k: (p, k | {"crs": "EPSG:32634"})), RasterError, "EPSG:32634"),
    "in degrees": (raster(lambda p, k: (p, k | {"crs": "EPSG:4326"})), RasterError, "4326"),
    "one pixel off": (moved(1), RasterError, "lies at"),
    "a tenth of a pixel off": (moved(0.1), RasterError, "lies at"),
    "of larger pixels": (scaled(2), RasterError, "lies at"),
}


def file_of(product: Path, pattern: str) -> Path:
    """Return the file of this name; a band's own rather than its masks."""
    found = [path for path in product.rglob(pattern) if pattern.startswith("MSK") or not path.name.startswith("MSK")]
    (file,) = found
    return file


def refused(case: Case, products: dict[tuple[str, str], Path], folder: Path, use: Callable[[Path], object]) -> None:
    """Spoil a copy of a good product and see it refused: by class, file, words and cure."""
    source = products[case.level, case.baseline]
    product = Path(shutil.copytree(source, folder / source.name))
    case.spoil(file_of(product, case.file))
    with pytest.raises(case.error, match=f"(?s){case.said}") as caught:
        use(product)
    assert type(caught.value) is case.error
    assert caught.value.where is not None and caught.value.cure
