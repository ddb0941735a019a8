"""Bands that are no product: files of the 10 m, 20 m and 60 m bands, GeoTIFF or JPEG 2000, as other software writes.

Files hold one band or many, in any order. Bands are known by their descriptions ("B05", "B5", "red"), or by the name
of a file of one band, or, in files without either, by their order and number: 4, 6 and 2 bands, as in hpc_sr.tasks.
What DN mean is taken from scale, offset and nodata of the files, never guessed; floats without scale and offset are
reflectance, and refused where they cannot be. So are zeros that nobody declares: they are what software leaves beyond
a swath. Only files on local disks are read, and none that leads to another.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from hpc_sr.errors import ImageError, RasterError, UnknownBandError
from hpc_sr.infer.images import TILE_ROWS, OpenBand, Radiometry, is_utc
from hpc_sr.infer.stack_files import FLOATS, UNSAID, StackFile, check_zeros, describe, median_of, open_stacked
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.band_names import band_named
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS
from hpc_sr.sentinel2.metadata import Grid
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M

_BY_ORDER = {10: BANDS_10M, 20: BANDS_20M, 60: BANDS_60M}
_WHOLE_DN = ("uint8", "uint16")
#: A band's median above this is no reflectance: the 15 bits of a product's DN end at 3.3.
NO_REFLECTANCE = 5.0


class StackImage:
    """Files as one image; the finest is taken as the 10 m bands. Level, satellite and time are those that the tags
    (`level`, `satellite`, `sensing_time`) of the file with the first 10 m band tell, else unknown: no level is checked
    then. `nodata` marks missing pixels in place of the files' own values; NaN says that none is missing.

    The order of the files does not matter. Raises ImageError for what is no such file, grids that do not nest, a band
    that is there twice, a number of bands without names that is none of 4, 6 and 2, DN without a scale, undeclared
    zeros, or a time that is none; RasterError for files that cannot be decoded; UnknownBandError.
    """

    def __init__(self, paths: list[Path], nodata: float | None = None):
        files = [describe(path, nodata) for path in paths]
        finest = min(files, key=lambda file: file.grid.gsd_m).grid
        gsds = {file.path: nominal_gsd_m(file.path, file.grid, finest) for file in files}
        names = {file.path: _names(file, gsds[file.path]) for file in files}
        files.sort(key=lambda file: (gsds[file.path], min(list(BANDS).index(name) for name in names[file.path])))
        self.grids = {gsds[file.path]: file.grid for file in reversed(files)}
        self._places: dict[str, tuple[Path, int]] = {}
        self._laws: dict[str, Radiometry] = {}
        for file in files:
            for index, name in enumerate(names[file.path], start=1):
                if name in self._places:
                    problem = f"has {name}, as {self._places[name][0]} has"
                    raise ImageError(problem, where=file.path, cure="give each band once")
                self._places[name] = file.path, index
                self._laws[name] = _law(file, name, index)
        if nodata is None:
            for gsd_m in self.grids:
                check_zeros([file for file in files if gsds[file.path] == gsd_m])
        # One file has one nodata: sources that differ in it are written in another convention.
        types = {file.dtype for file in files}
        same = types <= set(_WHOLE_DN) and len({law.nodata for law in self._laws.values()}) == 1
        self.dn_type = "uint16" if same else "float32"
        self.bands = tuple(name for name in BANDS if name in self._places)
        told = files[0].tags
        self.name, self.level, self.satellite = files[0].path.stem, told.get("level", ""), told.get("satellite", "")
        self.sensing_time = told.get("sensing_time", "")
        if self.sensing_time and not is_utc(self.sensing_time):
            raise ImageError(
                f"has the tag sensing_time={self.sensing_time}, which is no time",
                where=files[0].path,
                cure="set it, for example with gdal_edit.py -mo sensing_time=2024-06-15T10:20:31Z, or remove it",
            )
        self.sources = tuple(file.path for file in files)
        self.provenance = {"source": " ".join(path.name for path in self.sources)}
        self.provenance |= {k: told[k] for k in ("level", "satellite", "sensing_time") if told.get(k)}
        sizes: dict[str, list[int]] = {}
        for path in self.sources:  # files of several folders may have one name
            sizes.setdefault(path.name, []).extend([path.stat().st_size, path.stat().st_mtime_ns])
        self.identity: dict[str, object] = {**self.provenance, "files": sizes}
        if nodata is not None:
            self.identity["nodata"] = str(nodata)

    def radiometry(self, name: str) -> Radiometry:
        return self._laws[name]

    def open(self, name: str) -> OpenBand:
        return _StackBand(*self._places[name], TILE_ROWS[band(name).gsd_m])


class _StackBand:
    def __init__(self, path: Path, index: int, strip_rows: int):
        self._path, self._index, self.strip_rows = path, index, strip_rows
        self._file = open_stacked(path)

    def read(self, area: Area) -> np.ndarray:
        try:
            return self._file.read(self._index, window=Window(area.column, area.row, area.width, area.height))
        except RASTER_ERRORS as error:
            raise RasterError(f"cannot be decoded ({error})", where=self._path, cure="make the file anew") from error

    def close(self) -> None:
        self._file.close()


def nominal_gsd_m(where: str | Path, grid: Grid, finest: Grid) -> int:
    """Return 10, 20 or 60 for a grid whose pixels span 1, 2 or 6 of the finest one's. Raises ImageError."""
    ratio = round(grid.gsd_m / finest.gsd_m)
    shift = max(abs(grid.ulx_m - finest.ulx_m), abs(grid.uly_m - finest.uly_m))
    if grid.crs != finest.crs:
        problem = f"is in {grid.crs}, the finest one in {finest.crs}"
    elif ratio not in (1, 2, 6) or abs(grid.gsd_m - ratio * finest.gsd_m) > 1e-6 * finest.gsd_m:
        problem = f"has pixels of {grid.gsd_m:g} m, the finest one of {finest.gsd_m:g} m: not 1, 2 or 6 times"
    elif shift > 0.01 * finest.gsd_m:
        problem = f"begins {shift:g} m beside the finest one"
    elif (grid.height * ratio, grid.width * ratio) != (finest.height, finest.width):
        problem = f"is {grid.height} x {grid.width} px, {ratio} times coarser than {finest.height} x {finest.width} px"
    else:
        return 10 * ratio
    raise ImageError(problem, where=where, cure="cut all to the same ground, in whole coarsest pixels")


def _names(file: StackFile, gsd_m: int) -> tuple[str, ...]:
    """Return the names of a file's bands."""
    texts = file.descriptions
    if not any(texts) and len(texts) == len(_BY_ORDER[gsd_m]):
        return _BY_ORDER[gsd_m]
    usual = " ".join(_BY_ORDER[gsd_m])
    if not any(texts) and len(texts) == 1:
        texts = (file.path.stem,)
    elif not any(texts):
        raise ImageError(
            f"has {len(texts)} bands without descriptions, not {len(_BY_ORDER[gsd_m])}",
            where=file.path,
            cure=f"describe the bands by their names, or give those of {gsd_m} m: {usual}",
        )
    found = [band_named(text) for text in texts]
    unknown = [repr(text) if text else "nothing" for text, name in zip(texts, found, strict=True) if name is None]
    names = tuple(name for name in found if name is not None)
    strangers = [name for name in names if BANDS[name].gsd_m != gsd_m]
    if unknown:
        problem = f"calls a band {unknown[0]}"
    elif strangers:
        problem = f"holds {', '.join(strangers)}, which is no {gsd_m} m band; the finest file is taken for 10 m"
    elif len(set(names)) < len(names):
        problem = "names a band twice"
    else:
        return names
    raise UnknownBandError(problem, where=file.path, cure=f"describe the bands as those of {gsd_m} m: {usual}")


def _law(file: StackFile, name: str, index: int) -> Radiometry:
    scale, offset = file.laws[index - 1]
    if not (math.isfinite(scale) and math.isfinite(offset) and scale > 0):
        raise ImageError(
            f"has a scale of {scale:g} and an offset of {offset:g} for {name}",
            where=file.path,
            cure="set those of its DN, for example with gdal_edit.py -scale 0.0001 -offset -0.1",
        )
    median = median_of(file, index)
    if (scale, offset) == UNSAID and (file.dtype not in FLOATS or median > NO_REFLECTANCE):
        numbers = f"numbers of {name} (half are above {median:g})" if median else f"whole numbers of {name}"
        raise ImageError(
            f"does not say what the {numbers} mean",
            where=file.path,
            cure="set the scale and offset of its DN, for example with gdal_edit.py -scale 0.0001 -offset -0.1",
        )
    return Radiometry(offset / scale, 1.0 / scale, file.nodata)
