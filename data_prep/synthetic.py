"""Writes a complete SAFE product from arrays or from a seeded landscape: for the demo, tests and benchmarks.

python -m data_prep.synthetic OUT_DIR [--scene FILE.npz] [--level L1C] [--baseline 05.09] [--size-10m 720] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from data_prep.landscape import landscape
from data_prep.mgrs import tile_of_seed
from data_prep.safe_writer import Scene, write_product
from hpc_sr.disk import is_there, read_arrays
from hpc_sr.errors import HpcSrError, MissingFileError, ProductError, ShapeError
from hpc_sr.logs import speaking
from hpc_sr.sentinel2.bands import BANDS, SATELLITES
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M

__all__ = ["Scene", "crop", "landscape", "read_scene", "write_product"]

_KEYS = {"d10": BANDS_10M, "d20": BANDS_20M, "d60": BANDS_60M}
_DEFAULT_SIZE_10M = 720
#: A scene of a full tile has 1.4 GB.
_MOST_SCENE_BYTES = 16 << 30

_HELP = """\
Write one complete Sentinel-2 SAFE product into OUT_DIR and print its path: lossless JPEG2000 bands, quality masks and
metadata, with the radiometric offset that the baseline asks for (none before 04.00, -1000 from there on).

Without --scene the ground is a landscape drawn from --seed: fields, woods, roads, towns and water, seen in every band
with its own sharpness. Another seed is another landscape and another tile, so products split by tile.
With --scene the pixels come from an .npz file:
  d10 (H, W, 4)      B02 B03 B04 B08               uint16, reflectance x 10 000 without offset,
  d20 (H/2, W/2, 6)  B05 B06 B07 B8A B11 B12       0 is nodata, 65535 is saturated
  d60 (H/6, W/6, 2)  B01 B09"""
_EXAMPLES = """\
examples:
  python -m data_prep.synthetic products --seed 0
  python -m data_prep.synthetic products --seed 1 --level L2A --baseline 02.08 --size-10m 1440
  python -m data_prep.synthetic products --scene malmo.npz --tile 33UUB --date 2017-05-27"""


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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        with speaking():
            print(_written(options))
    except HpcSrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _written(options: argparse.Namespace) -> Path:
    """Write the product that the command line asks for; return its path."""
    if options.scene is None:
        size_px = _DEFAULT_SIZE_10M if options.size_10m is None else options.size_10m
        scene = landscape(size_px, options.seed, options.satellite)
    else:
        scene = read_scene(options.scene)
        scene = scene if options.size_10m is None else crop(scene, options.size_10m)
    return write_product(
        options.out_dir,
        scene,
        level=options.level,
        baseline=options.baseline,
        satellite=options.satellite,
        tile=options.tile or tile_of_seed(options.seed).name,
        date=options.date,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic",
        description=_HELP,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder for the product; made if absent")
    parser.add_argument("--scene", type=Path, metavar="FILE.npz", help="pixels to write (default: a seeded landscape)")
    parser.add_argument(
        "--level", choices=("L1C", "L2A"), default="L1C", help="processing level (default: %(default)s)"
    )
    parser.add_argument(
        "--baseline", default="05.09", metavar="NN.NN", help="processing baseline (default: %(default)s)"
    )
    parser.add_argument("--satellite", choices=SATELLITES, default="S2A", help="spacecraft (default: %(default)s)")
    parser.add_argument(
        "--size-10m",
        type=int,
        metavar="N",
        help=f"edge in 10 m pixels, a multiple of 6; a tile has 10980 (default: {_DEFAULT_SIZE_10M}, or the scene's)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the landscape and of the tile (default: 0)"
    )
    parser.add_argument(
        "--tile", metavar="33UUB", help="MGRS tile: name and corner (default: one that the seed chooses)"
    )
    parser.add_argument("--date", default="2023-06-15", metavar="YYYY-MM-DD", help="sensing day (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
