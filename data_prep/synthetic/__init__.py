"""Complete SAFE products from arrays or from a seeded landscape: for the demo, tests and benchmarks.

`hpc-sr synthetic OUT_DIR` and `python -m data_prep.synthetic OUT_DIR` are the command.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.landscape import landscape
from data_prep.mgrs import tile_of_seed
from data_prep.safe_writer import Scene, write_product
from hpc_sr.disk import is_there, read_arrays
from hpc_sr.errors import MissingFileError, ProductError, ShapeError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M

__all__ = ["Scene", "crop", "landscape", "read_scene", "write_made_up", "write_product"]

_KEYS = {"d10": BANDS_10M, "d20": BANDS_20M, "d60": BANDS_60M}
_DEFAULT_SIZE_10M = 720
#: A scene of a full tile has 1.4 GB.
_MOST_SCENE_BYTES = 16 << 30


def read_scene(path: str | Path) -> Scene:
    """Return the scene of an .npz file with the arrays d10, d20 and d60 (H, W, bands) in uint16.

    Raises MissingFileError; ProductError for a file that holds something else; ShapeError for grids that do not nest.
    """
    path = Path(path)
    if not is_there(path):
        raise MissingFileError("is missing", where=path, cure="give the path of an .npz scene")
    cure = "write d10, d20 and d60 with numpy.savez"
    stacks = read_arrays(path, tuple(_KEYS), ProductError, cure, _MOST_SCENE_BYTES)
    for key, bands in _KEYS.items():
        if stacks[key].ndim != 3 or stacks[key].shape[2] != len(bands):
            found, wanted = stacks[key].shape, f"(H, W, {len(bands)})"
            raise ShapeError(f"{key} has shape {found}", where=path, cure=f"give {wanted}: {', '.join(bands)}")
    pixels = {name: stacks[key][..., i] for key, bands in _KEYS.items() for i, name in enumerate(bands)}
    return Scene({name: np.ascontiguousarray(pixels[name]) for name in BANDS if name in pixels})


def crop(scene: Scene, size_10m: int) -> Scene:
    """Return the upper-left `size_10m` pixels of a scene. Raises ShapeError where 60 m pixels would split."""
    height, width = scene.shape_10m
    if not 6 <= size_10m <= min(height, width) or size_10m % 6:
        raise ShapeError(f"{size_10m} px of {height} x {width} px", cure="give a multiple of 6 that the scene holds")
    sides = {name: size_10m * 10 // BANDS[name].gsd_m for name in scene.dn}
    return Scene({name: dn[: sides[name], : sides[name]] for name, dn in scene.dn.items()})


def write_made_up(
    out_dir: str | Path,
    scene_file: str | Path | None = None,
    *,
    size_10m: int | None = None,
    seed: int = 0,
    level: str = "L1C",
    baseline: str = "05.09",
    satellite: str = "S2A",
    tile: str | None = None,
    date: str = "2023-06-15",
) -> Path:
    """Return the path of a product made of a scene's pixels, or of a landscape and a tile that the seed chooses.

    Raises what reading, cropping, drawing and writing do.
    """
    if scene_file is None:
        scene = landscape(_DEFAULT_SIZE_10M if size_10m is None else size_10m, seed, satellite)
    else:
        scene = read_scene(scene_file)
        scene = scene if size_10m is None else crop(scene, size_10m)
    label = tile or tile_of_seed(seed).name
    return write_product(out_dir, scene, level=level, baseline=baseline, satellite=satellite, tile=label, date=date)
