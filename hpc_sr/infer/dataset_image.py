"""Bands in xarray as an image: as rioxarray, stackstac, odc-stac and satpy give them, in memory or as dask's chunks.

Each band is a two-dimensional array whose `y` and `x` (or `y_20m` ..., the last two dimensions) have coordinates: the
centres of its pixels. Bands are on their own grids, which nest; or all on the 10 m grid, where coarse ones were
repeated (nearest neighbour) and are taken back: pixels that differ in a coarse one are refused. Values are
reflectance, NaN where there is none; or whole numbers with `scale_factor`, `add_offset` and `_FillValue` in their
attributes. Chunks are computed as windows need them.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hpc_sr.errors import ImageError, UnknownBandError
from hpc_sr.extras import need
from hpc_sr.infer.images import TILE_ROWS, OpenBand, Radiometry, is_utc
from hpc_sr.infer.stack import NO_REFLECTANCE, nominal_gsd_m
from hpc_sr.infer.windows import Area, middle_of
from hpc_sr.sentinel2.band_names import band_named
from hpc_sr.sentinel2.bands import BANDS, band
from hpc_sr.sentinel2.metadata import Grid

if TYPE_CHECKING:
    import xarray

#: Pixels a side that are looked at to tell reflectance from other numbers.
_LOOK_PX = 96
#: How far pixels may be from where even spacing puts them, as a share of a pixel.
_SPACING = 1e-3


class DatasetImage:
    """Bands of a Dataset, of a DataArray with a dimension `band`, or of several of these in a list or a dict.

    Variables that are no band are left alone. `crs` is the reference system if the data do not tell it. Level,
    satellite and time are those in the attributes `level`, `satellite` and `sensing_time`, else unknown.
    Raises ImageError for data without grid, reference system or scale, for grids that do not nest, for several times;
    UnknownBandError for data without a 10 m band.
    """

    def __init__(self, data: Any, crs: str | None = None):
        found: dict[str, xarray.DataArray] = {}
        for each in _parts(data):
            for name, array in _bands_of(each):
                if name in found:
                    raise ImageError("is there twice", where=name, cure="give each band once")
                found[name] = array
        if not any(BANDS[name].gsd_m == 10 for name in found):
            raise UnknownBandError(
                f"no 10 m band among {', '.join(found) or 'what is given'}",
                where="xarray",
                cure="call bands B02 or blue: variables of a Dataset, or values of the coordinate `band`",
            )
        on_grids = {name: _grid(name, array, crs) for name, array in found.items()}
        finest = min(on_grids.values(), key=lambda grid: grid.gsd_m)
        self._bands: dict[str, _Band] = {}
        self.grids: dict[int, Grid] = {}
        # The coarsest first: where all are on one grid, what is cut for them is cut for all.
        for name, array in sorted(found.items(), key=lambda each: -band(each[0]).gsd_m):
            gsd_m, ratio = band(name).gsd_m, nominal_gsd_m(name, on_grids[name], finest) // 10
            if ratio not in (1, gsd_m // 10):
                raise ImageError(
                    f"has pixels of {on_grids[name].gsd_m:g} m, the finest band of {finest.gsd_m:g} m",
                    where=name,
                    cure=f"give it at its own {gsd_m} m, or repeated to the finest grid",
                )
            repeated = gsd_m // 10 // ratio
            self.grids[gsd_m] = _coarser(name, on_grids[name], repeated)
            self._bands[name] = _Band(name, array, _law(name, array), repeated)
        types = {array.dtype.kind for array in found.values()}
        laws = {each.law.nodata for each in self._bands.values()}
        self.dn_type = "uint16" if types == {"u"} and len(laws) == 1 else "float32"
        self.bands = tuple(name for name in BANDS if name in self._bands)
        told = _attributes(data)
        self.name = told.get("name") or "xarray"
        self.level, self.satellite = told.get("level", ""), told.get("satellite", "")
        self.sensing_time = told.get("sensing_time", "")
        if self.sensing_time and not is_utc(self.sensing_time):
            raise ImageError(
                f"has the attribute sensing_time={self.sensing_time!r}, which is no time",
                where=self.name,
                cure="give it as 2024-06-15T10:20:31Z, or remove it",
            )
        self.sources: tuple[Path, ...] = ()
        self.provenance = {"source": "xarray"} | {
            key: told[key] for key in ("level", "satellite", "sensing_time") if told.get(key)
        }
        # Nobody can tell arrays apart without reading all of them: what was begun before is another image.
        self.identity: dict[str, object] = {**self.provenance, "arrays": uuid.uuid4().hex}

    def radiometry(self, name: str) -> Radiometry:
        return self._bands[name].law

    def open(self, name: str) -> OpenBand:
        return self._bands[name]


@dataclass
class _Band:
    """A band of the data, of whose pixels `repeated` x `repeated` are one of the band's own."""

    name: str
    array: xarray.DataArray
    law: Radiometry
    repeated: int

    @property
    def strip_rows(self) -> int:
        """Rows that are computed together: those of dask's chunks, each then computed once, unless these are huge."""
        usual = TILE_ROWS[band(self.name).gsd_m]
        rows = self.array.chunks[0][0] // self.repeated if self.array.chunks else usual
        return min(max(rows, 1), 2 * usual)

    def read(self, area: Area) -> np.ndarray:
        values = _computed(self.name, self.array[area.times(self.repeated).slices])
        if self.repeated == 1:
            return values
        blocks = values.reshape(area.height, self.repeated, area.width, self.repeated)
        own = blocks[:, 0, :, 0]
        same = (blocks == own[:, None, :, None]) | ((blocks != blocks) & (own != own)[:, None, :, None])
        if not same.all():
            raise ImageError(
                f"was resampled to the finest grid: its pixels are not those of {band(self.name).gsd_m} m repeated",
                where=self.name,
                cure="give it on its own grid, or resampled by nearest neighbour to a grid whose corner is a multiple "
                "of 60 m",
            )
        return np.ascontiguousarray(own)

    def close(self) -> None: ...


def _parts(data: Any) -> Iterable[Any]:
    """Return the datasets and arrays of what was given. Raises MissingComponentError without xarray."""
    need("xarray", "xarray", "an image that is no file")
    import xarray

    if isinstance(data, (xarray.Dataset, xarray.DataArray)):
        return [data]
    parts = list(data.values()) if isinstance(data, Mapping) else data
    if (
        isinstance(parts, (list, tuple))
        and parts
        and all(isinstance(p, (xarray.Dataset, xarray.DataArray)) for p in parts)
    ):
        return parts
    cure = "give a Dataset, a DataArray with a dimension `band`, or a list or dict of them, one a resolution"
    raise ImageError(f"is a {type(data).__name__}, which holds no bands", where="xarray", cure=cure)


def _bands_of(data: Any) -> Iterable[tuple[str, xarray.DataArray]]:
    """Return the bands of a Dataset or a DataArray, two-dimensional, by name."""
    import xarray

    arrays = [data] if isinstance(data, xarray.DataArray) else list(data.data_vars.values())
    for array in arrays:
        for dim in array.dims[:-2]:
            if dim != "band" and array.sizes[dim] > 1:
                found, cure = f"has {array.sizes[dim]} of {dim!r}", f"choose one: data.isel({dim}=0)"
                raise ImageError(found, where=str(array.name), cure=cure)
            if dim != "band":
                array = array.isel({dim: 0})
        if "band" in array.dims and "band" not in array.coords:
            found = "has a dimension `band` without coordinates"
            raise ImageError(found, where=str(array.name), cure="name the bands there")
        planes = [array.isel(band=i) for i in range(array.sizes["band"])] if "band" in array.dims else [array]
        for plane in planes:
            named = plane.coords["band"].item() if "band" in array.dims else plane.name
            name = band_named(str(named))
            if name is not None and name != "B10" and plane.ndim == 2:
                yield name, plane


def _grid(name: str, array: xarray.DataArray, crs: str | None) -> Grid:
    """Return the grid of a band. Raises ImageError."""
    rows, columns = array.dims
    sides = {}
    for dim in (rows, columns):
        if dim not in array.coords or array.sizes[dim] < 2 or array.coords[dim].dtype.kind not in "iuf":
            found = f"has no coordinates along {dim!r}, a single one, or no numbers"
            raise ImageError(found, where=name, cure="give the pixels' centres")
        centres = array.coords[dim].to_numpy().astype(np.float64)
        step = (centres[-1] - centres[0]) / (len(centres) - 1)
        if not np.allclose(centres, centres[0] + step * np.arange(len(centres)), rtol=0, atol=abs(step) * _SPACING):
            raise ImageError(f"is not evenly spaced along {dim!r}", where=name, cure="resample it to a grid")
        sides[dim] = centres[0], step
    (top, down), (left, right) = sides[rows], sides[columns]
    if down >= 0 or right <= 0 or abs(down + right) > _SPACING * right:
        raise ImageError(
            f"has steps of {right:g} along {columns!r} and {down:g} along {rows!r}",
            where=name,
            cure=f"north comes first, pixels are square: data.sortby({rows!r}, ascending=False)",
        )
    gsd_m = round(right, 6)
    return Grid(
        int(gsd_m) if gsd_m.is_integer() else gsd_m,
        array.sizes[rows],
        array.sizes[columns],
        round(float(left - right / 2), 6),
        round(float(top - down / 2), 6),
        _crs(name, array, crs),
    )


def _crs(name: str, array: xarray.DataArray, given: str | None) -> str:
    """Return the reference system: as given, by the grid mapping, or by what stackstac and satpy write."""
    candidates: list[Any] = [given]
    for coordinate in array.coords.values():
        if coordinate.ndim == 0:
            candidates += [coordinate.attrs.get("crs_wkt"), coordinate.attrs.get("spatial_ref")]
    if "epsg" in array.coords and array.coords["epsg"].ndim == 0:
        candidates.append(f"EPSG:{array.coords['epsg'].item()}".removesuffix(".0"))
    candidates += [array.attrs.get("crs"), getattr(array.attrs.get("area"), "crs", None)]
    for candidate in candidates:
        if candidate is None:
            continue
        try:
            found = CRS.from_user_input(candidate)
        except (CRSError, ValueError) as error:
            raise ImageError(f"has a reference system that is none ({error})", where=name, cure="give crs=") from error
        if not found.is_projected:
            raise ImageError(f"is in {found.to_string()}, in degrees", where=name, cure="give bands in their UTM zone")
        return found.to_string()
    raise ImageError(
        "does not tell its reference system", where=name, cure="give crs='EPSG:32633', or data.rio.write_crs(...)"
    )


def _coarser(name: str, grid: Grid, times: int) -> Grid:
    """Return the grid of a band that was repeated. Raises ImageError unless it begins and ends on whole pixels."""
    if times == 1:
        return grid
    own = grid.gsd_m * times
    top, left = (round(beyond % own / grid.gsd_m) % times for beyond in (grid.uly_m, -grid.ulx_m))
    bottom, right = (at + (n - at) // times * times for at, n in ((top, grid.height), (left, grid.width)))
    if (top, left, bottom, right) != (0, 0, grid.height, grid.width):
        raise ImageError(
            f"begins or ends inside a pixel of {own} m, which it repeats",
            where=name,
            cure=f"cut the data: data.isel(y=slice({top}, {bottom}), x=slice({left}, {right}))",
        )
    return Grid(own, grid.height // times, grid.width // times, grid.ulx_m, grid.uly_m, grid.crs)


def _law(name: str, array: xarray.DataArray) -> Radiometry:
    """Return what a band's numbers mean. Raises ImageError if nothing tells."""
    told = array.attrs
    scale, offset = _number(name, told, "scale_factor", 1.0), _number(name, told, "add_offset", 0.0)
    keys = [key for key in ("_FillValue", "nodata", "missing_value") if told.get(key) is not None]
    value = _number(name, told, keys[0], math.nan) if keys else math.nan
    nodata = None if math.isnan(value) else value
    cure = "give reflectance, for example (dn - 1000) / 10000 since baseline 04.00, NaN where nothing was measured"
    if not (math.isfinite(scale) and math.isfinite(offset) and scale > 0):
        raise ImageError(f"has a scale of {scale:g} and an offset of {offset:g}", where=name, cure=cure)
    if "scale_factor" not in told:
        if array.dtype.kind != "f":
            raise ImageError(f"holds {array.dtype} without a scale_factor", where=name, cure=cure)
        height, width = array.shape
        middle = middle_of(height, width, _LOOK_PX, 1)
        looked = _computed(name, array[middle.slices])
        looked = looked[np.isfinite(looked) & (looked != nodata) & (looked != 0)]
        if looked.size and np.median(looked) > NO_REFLECTANCE:
            raise ImageError(f"is no reflectance: half of it is above {np.median(looked):g}", where=name, cure=cure)
    return Radiometry(offset / scale, 1.0 / scale, nodata)


def _number(name: str, told: Mapping[str, Any], key: str, absent: float) -> float:
    """Return the number of an attribute. Raises ImageError."""
    try:
        return float(told.get(key, absent))
    except (TypeError, ValueError) as error:
        raise ImageError(f"has {key} = {told[key]!r}, no number", where=name, cure="mend it, or remove it") from error


def _computed(name: str, array: xarray.DataArray) -> np.ndarray:
    """Return the values. Computed or fetched only now, they may fail in any way: then it is an ImageError."""
    try:
        return array.to_numpy()
    except Exception as error:
        found = f"cannot be computed ({type(error).__name__}: {error})"
        raise ImageError(
            found, where=name, cure="see that data.compute() works: its source may be out of reach"
        ) from error


def _attributes(data: Any) -> dict[str, str]:
    """Return the texts among the attributes of all parts; of one that several tell, the first."""
    told: dict[str, str] = {}
    for part in _parts(data):
        told = {str(key): value for key, value in part.attrs.items() if isinstance(value, str)} | told
    return told
