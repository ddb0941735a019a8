"""Bands that are no product: GeoTIFFs of the 10 m, 20 m and 60 m bands, as other software writes them.

Bands are known by their descriptions ("B05"), or, in files without any, by their order and number: 4, 6 and 2 bands,
as in hpc_sr.tasks. What DN mean is taken from scale, offset and nodata of the files, never guessed; floats without
scale and offset are reflectance, and refused where they cannot be.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from hpc_sr.errors import ImageError, MissingFileError, RasterError, UnknownBandError
from hpc_sr.infer.images import TILE_ROWS, OpenBand, Radiometry
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M

_BY_ORDER = {10: BANDS_10M, 20: BANDS_20M, 60: BANDS_60M}
_WHOLE_DN = ("uint8", "uint16")
_FLOATS = ("float32", "float64")
#: Scale and offset of a file that tells neither: what its floats hold is reflectance, or unknown.
_UNSAID = (1.0, 0.0)
#: A band's median above this is no reflectance: the 15 bits of a product's DN end at 3.3.
_NO_REFLECTANCE = 5.0
#: Pixels a side that are looked at to tell. Of a file in blocks all are decoded then, of one in lines a few.
_LOOK_PX = 256


class StackImage:
    """GeoTIFFs as one image; the finest is taken as the 10 m bands. Level, satellite and time are those that the
    files' tags (`level`, `satellite`, `sensing_time`) tell, else unknown: no level is checked then.

    Raises MissingFileError or RasterError for files that cannot be read; ImageError for grids that do not nest, a
    number of bands that is none of 4, 6 and 2, or DN without a scale; UnknownBandError.
    """

    def __init__(self, paths: list[Path]):
        opened = [_describe(path) for path in paths]
        finest = min(opened, key=lambda file: file[1].gsd_m)
        self.grids: dict[int, Grid] = {}
        self._places: dict[str, tuple[Path, int]] = {}
        self._laws: dict[str, Radiometry] = {}
        types: set[str] = set()
        for path, grid, tags in opened:
            gsd_m = _nominal_gsd_m(path, grid, finest[1])
            if gsd_m in self.grids:
                raise ImageError(f"is a second file of {gsd_m} m bands", where=path, cure="give one file per grid")
            self.grids[gsd_m] = grid
            for index, name in enumerate(_names(path, gsd_m, tags["descriptions"]), start=1):
                self._places[name] = path, index
                self._laws[name] = _law(path, name, index, tags)
                types.add(tags["dtype"])
        # One file has one nodata: sources that differ in it are written in another convention.
        same = types <= set(_WHOLE_DN) and len({law.nodata for law in self._laws.values()}) == 1
        self.dn_type = "uint16" if same else "float32"
        self.bands = tuple(name for name in BANDS if name in self._places)
        told = finest[2]["tags"]
        self.name, self.level, self.satellite = finest[0].stem, told.get("level", ""), told.get("satellite", "")
        self.sensing_time = told.get("sensing_time", "")
        self.provenance = {"source": " ".join(path.name for path in paths)}
        self.provenance |= {k: told[k] for k in ("level", "satellite", "sensing_time") if told.get(k)}
        sizes = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
        self.identity: dict[str, object] = {**self.provenance, "files": sizes}

    def radiometry(self, name: str) -> Radiometry:
        return self._laws[name]

    def open(self, name: str) -> OpenBand:
        return _StackBand(*self._places[name], TILE_ROWS[band(name).gsd_m])


class _StackBand:
    def __init__(self, path: Path, index: int, strip_rows: int):
        self._path, self._index, self.strip_rows = path, index, strip_rows
        self._file = rasterio.open(path)

    def read(self, area: Area) -> np.ndarray:
        try:
            return self._file.read(self._index, window=Window(area.column, area.row, area.width, area.height))
        except RasterioError as error:
            raise RasterError(f"cannot be decoded ({error})", where=self._path, cure="make the file anew") from error

    def close(self) -> None:
        self._file.close()


def _describe(path: Path) -> tuple[Path, Grid, dict]:
    """Return a file's grid and all that it says of its bands."""
    if not path.is_file():
        raise MissingFileError("is missing", where=path, cure="give the path of a GeoTIFF")
    try:
        with rasterio.open(path) as file:
            at = file.transform
            if file.crs is None or at.b or at.d or at.a <= 0 or at.a != -at.e:
                raise ImageError(
                    "has no north-up grid of square pixels in a reference system",
                    where=path,
                    cure="georeference the file, or warp it",
                )
            grid = Grid(at.a, file.height, file.width, at.c, at.f, file.crs.to_string())
            return (
                path,
                grid,
                {
                    "descriptions": file.descriptions,
                    "scales": file.scales,
                    "offsets": file.offsets,
                    "nodata": file.nodata,
                    "dtype": file.dtypes[0],
                    "tags": file.tags(),
                    "medians": _medians(file),
                },
            )
    except RasterioError as error:
        raise RasterError(f"is no readable raster ({error})", where=path, cure="make the file anew") from error


def _medians(file: rasterio.DatasetReader) -> list[float]:
    """Return about the median of each band's measured values; 0 without any, and where the type tells enough."""
    if file.dtypes[0] not in _FLOATS or _UNSAID not in zip(file.scales, file.offsets, strict=True):
        return [0.0] * file.count
    looked = file.read(out_shape=(file.count, min(file.height, _LOOK_PX), min(file.width, _LOOK_PX)))
    law = Radiometry(0.0, 1.0, file.nodata)
    # Zeros are what is left around DN by software that sets no nodata.
    measured = [band[~law.missing(band) & (band != 0)] for band in looked]
    return [float(np.median(values)) if values.size else 0.0 for values in measured]


def _nominal_gsd_m(path: Path, grid: Grid, finest: Grid) -> int:
    """Return 10, 20 or 60 for a grid whose pixels span 1, 2 or 6 of the finest one's. Raises ImageError."""
    ratio = round(grid.gsd_m / finest.gsd_m)
    shift = max(abs(grid.ulx_m - finest.ulx_m), abs(grid.uly_m - finest.uly_m))
    if grid.crs != finest.crs:
        problem = f"is in {grid.crs}, the finest file in {finest.crs}"
    elif ratio not in (1, 2, 6) or abs(grid.gsd_m - ratio * finest.gsd_m) > 1e-6 * finest.gsd_m:
        problem = f"has pixels of {grid.gsd_m:g} m, the finest file of {finest.gsd_m:g} m: not 1, 2 or 6 times"
    elif shift > 0.01 * finest.gsd_m:
        problem = f"begins {shift:g} m beside the finest file"
    elif (grid.height * ratio, grid.width * ratio) != (finest.height, finest.width):
        problem = f"is {grid.height} x {grid.width} px, {ratio} times coarser than {finest.height} x {finest.width} px"
    else:
        return 10 * ratio
    raise ImageError(problem, where=path, cure="cut all files to the same ground, in whole coarsest pixels")


def _names(path: Path, gsd_m: int, descriptions: tuple[str | None, ...]) -> tuple[str, ...]:
    """Return the names of a file's bands."""
    if not any(descriptions):
        if len(descriptions) != len(_BY_ORDER[gsd_m]):
            wanted = " ".join(_BY_ORDER[gsd_m])
            raise ImageError(
                f"has {len(descriptions)} bands without descriptions, not {len(_BY_ORDER[gsd_m])}",
                where=path,
                cure=f"describe the bands by their names, or give those of {gsd_m} m: {wanted}",
            )
        return _BY_ORDER[gsd_m]
    names = tuple(band(description or "").name for description in descriptions)
    strangers = [name for name in names if BANDS[name].gsd_m != gsd_m]
    if strangers or len(set(names)) < len(names):
        problem = f"{', '.join(strangers)} is no {gsd_m} m band" if strangers else "names a band twice"
        raise UnknownBandError(problem, where=path, cure=f"bands of {gsd_m} m: {' '.join(_BY_ORDER[gsd_m])}")
    return names


def _law(path: Path, name: str, index: int, tags: dict) -> Radiometry:
    scale, offset = tags["scales"][index - 1], tags["offsets"][index - 1]
    median = tags["medians"][index - 1]
    if (scale, offset) == _UNSAID and (tags["dtype"] not in _FLOATS or median > _NO_REFLECTANCE):
        numbers = f"numbers of {name} (half are above {median:g})" if median else f"whole numbers of {name}"
        raise ImageError(
            f"does not say what the {numbers} mean",
            where=path,
            cure="set the scale and offset of its DN, for example with gdal_edit.py -scale 0.0001 -offset -0.1",
        )
    return Radiometry(offset / scale, 1.0 / scale, tags["nodata"])
