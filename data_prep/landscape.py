"""A seeded landscape: fields, hedges, woods, roads, towns, water and relief, seen in twelve bands.

Ground is drawn on the 10 m grid with sub-pixel edges, as shares of a dozen materials and fields of their condition.
Each band's own spectrum and sensitivities turn it into reflectance, haze is added, and each band is seen with its own
optics: a small blur that gives a 10 m grid the band's MTF at Nyquist, then the `mtf` degradation for coarser bands.
So bands correlate as in nature, but none follows from the others, and Wald's protocol is meaningful.

Every quantity is a function of absolute position and seed, so rows are drawn strip by strip in bounded memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.lattice import blend, cells, hashed, noise, parent
from data_prep.safe_writer import SCENE_BANDS, Scene
from hpc_sr.errors import ShapeError
from hpc_sr.sentinel2.bands import BANDS, mtf_nyquist
from hpc_sr.sentinel2.degrade import degrade, kernel

_STRIP_PX = 360
#: Ten tiles: names of cells end there.
_MOST_PX = 109_800
#: Rows and columns drawn beyond a strip: more than any band's support, and whole pixels at 20 and 60 m.
_HALO_PX = 24

# Reflectance of pure materials in the order of SCENE_BANDS (B01 to B09, then B11, B12): plausible round values in the
# range of published spectral libraries, not measurements.
_SPECTRA = {
    "crop": (0.035, 0.040, 0.075, 0.032, 0.105, 0.360, 0.460, 0.480, 0.500, 0.500, 0.220, 0.110),
    "grass": (0.050, 0.055, 0.095, 0.065, 0.135, 0.280, 0.330, 0.350, 0.370, 0.370, 0.260, 0.150),
    "flowering": (0.045, 0.055, 0.170, 0.150, 0.210, 0.350, 0.420, 0.440, 0.450, 0.450, 0.240, 0.130),
    "cereal": (0.075, 0.095, 0.140, 0.175, 0.215, 0.255, 0.285, 0.310, 0.330, 0.330, 0.380, 0.270),
    "woods": (0.022, 0.024, 0.045, 0.024, 0.060, 0.210, 0.270, 0.290, 0.305, 0.310, 0.130, 0.060),
    "dry soil": (0.090, 0.110, 0.155, 0.200, 0.230, 0.260, 0.280, 0.300, 0.320, 0.320, 0.400, 0.350),
    "wet soil": (0.050, 0.060, 0.080, 0.100, 0.120, 0.140, 0.150, 0.165, 0.180, 0.180, 0.220, 0.190),
    "asphalt": (0.080, 0.090, 0.100, 0.110, 0.115, 0.120, 0.125, 0.130, 0.135, 0.135, 0.150, 0.140),
    "tile roof": (0.080, 0.090, 0.120, 0.210, 0.245, 0.265, 0.280, 0.290, 0.300, 0.300, 0.360, 0.330),
    "slate roof": (0.140, 0.150, 0.160, 0.170, 0.175, 0.180, 0.185, 0.190, 0.190, 0.190, 0.210, 0.200),
    "metal roof": (0.350, 0.400, 0.420, 0.430, 0.440, 0.440, 0.450, 0.460, 0.460, 0.450, 0.420, 0.380),
    "water": (0.050, 0.045, 0.040, 0.022, 0.020, 0.014, 0.013, 0.011, 0.010, 0.010, 0.005, 0.004),
}
_MATERIALS = tuple(_SPECTRA)
_CROPS = ("crop", "grass", "flowering", "cereal", "dry soil", "crop", "grass", "woods")
_ROOFS = 2 * ("tile roof", "slate roof", "grass", "woods", "tile roof", "grass", "asphalt") + ("metal roof",)

# Relative change of reflectance per unit of a field, in the order of SCENE_BANDS: pigment absorbs in the visible and
# at the red edge, leaf water in the short-wave infrared; the canopy's structure casts shadows in all bands, its age
# tilts the red edge, minerals colour the soil.
_SENSITIVITY = {
    "pigment": (-0.04, -0.08, -0.14, -0.24, -0.22, -0.06, -0.01, 0.01, 0.01, 0.00, -0.02, -0.03),
    "water": (0.00, 0.00, -0.01, -0.02, -0.02, -0.01, -0.02, -0.03, -0.04, -0.10, -0.22, -0.30),
    "structure": (0.06, 0.08, 0.10, 0.10, 0.12, 0.16, 0.18, 0.18, 0.18, 0.16, 0.14, 0.12),
    "red edge": (0.00, 0.00, 0.01, 0.01, -0.09, -0.08, 0.05, 0.01, 0.03, 0.02, 0.00, 0.00),
    "minerals": (-0.06, -0.04, 0.00, 0.10, 0.06, 0.02, 0.00, 0.00, -0.01, 0.00, 0.06, 0.10),
}
_HAZE = (0.095, 0.065, 0.033, 0.018, 0.014, 0.010, 0.008, 0.006, 0.005, 0.004, 0.001, 0.0005)
#: Water vapour takes most of what B09 would see.
_VAPOUR = {"B09": 0.45}
#: Noise of one pixel, DN, at 10, 20 and 60 m.
_NOISE_DN = {10: 10.0, 20: 8.0, 60: 4.0}


@dataclass(frozen=True)
class _Ground:
    """What lies in a strip: shares of materials (M, P), condition by field, relief shading, haze; by pixel."""

    shares: np.ndarray
    condition: dict[str, np.ndarray]
    shading: np.ndarray
    haze: np.ndarray
    shape: tuple[int, int]


def landscape(size_10m: int = 720, seed: int = 0, satellite: str = "S2A") -> Scene:
    """Return a square scene of `size_10m` pixels at 10 m, the same pixels for the same arguments.

    Memory: the scene itself (12 bytes a 10 m pixel) and about 1 GiB at the width of a full tile.
    Raises ShapeError if the size is no multiple of 6 from 6 to 109,800, or too large for memory;
    UnknownSatelliteError.
    """
    if not 6 <= size_10m <= _MOST_PX or size_10m % 6:
        cure = f"give a positive multiple of 6, so that 60 m pixels are whole, of at most {_MOST_PX:,}"
        raise ShapeError(f"{size_10m} px at 10 m", cure=cure)
    sides = {name: size_10m * 10 // BANDS[name].gsd_m for name in SCENE_BANDS}
    try:
        dn = {name: np.empty((side, side), np.uint16) for name, side in sides.items()}
    except MemoryError as error:
        raise ShapeError(f"{size_10m} px at 10 m do not fit into memory", cure="give a smaller size") from error
    for top in range(0, size_10m, _STRIP_PX):
        rows = min(_STRIP_PX, size_10m - top)
        for name, seen in _seen_strip(top, rows, size_10m, seed, satellite):
            first = top * 10 // BANDS[name].gsd_m
            dn[name][first : first + len(seen)] = seen
    return Scene(dn)


def _seen_strip(top: int, rows: int, columns: int, seed: int, satellite: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (band, DN) of the strip, each band at its own GSD."""
    y = np.arange(top - _HALO_PX, top + rows + _HALO_PX)
    x = np.arange(-_HALO_PX, columns + _HALO_PX)
    ground = _draw(y, x, seed)
    for index, name in enumerate(SCENE_BANDS):
        gsd_m = BANDS[name].gsd_m
        image = _optics(_reflectance(ground, index), mtf_nyquist(name, satellite))
        if gsd_m > 10:
            image = degrade(image[None], kernel("mtf", gsd_m // 10, (name,), satellite))[0]
        halo = _HALO_PX * 10 // gsd_m
        image = image[halo:-halo, halo:-halo]
        random = np.random.default_rng((seed % 2**32, BANDS[name].band_id, top))
        dn = image * 10_000 + _NOISE_DN[gsd_m] * random.standard_normal(image.shape, np.float32)
        yield name, np.clip(np.rint(dn), 1, 32_000).astype(np.uint16)


def _reflectance(ground: _Ground, band: int) -> np.ndarray:
    spectrum = np.array([_SPECTRA[material][band] for material in _MATERIALS], np.float32)
    change = sum(np.float32(_SENSITIVITY[field][band]) * values for field, values in ground.condition.items())
    image = (spectrum @ ground.shares) * (1 + change) * ground.shading
    image = (image + np.float32(_HAZE[band]) * ground.haze) * np.float32(_VAPOUR.get(SCENE_BANDS[band], 1.0))
    return image.reshape(ground.shape)


def _optics(image: np.ndarray, mtf: float) -> np.ndarray:
    """Blur by three taps so that pixels, drawn as 10 m means (MTF 2/pi at Nyquist), have this MTF there."""
    side = np.float32((1 - mtf * math.pi / 2) / 4)
    for _ in range(2):
        padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
        image = ((1 - 2 * side) * image + side * (padded[:-2] + padded[2:])).T
    return image


def _draw(y: np.ndarray, x: np.ndarray, seed: int) -> _Ground:
    def field(salt: int, *periods_px: float) -> np.ndarray:
        """Return noise of about unit spread, the octaves weighted alike, over the flat pixels."""
        octaves = (noise(seed, salt + k, y, x, period) for k, period in enumerate(periods_px))
        return (sum(octaves) * np.float32(1.9 / math.sqrt(len(periods_px)))).ravel()

    shape = (len(y), len(x))
    shares = np.zeros((len(_MATERIALS), shape[0] * shape[1]), np.float32)
    # Places are bent a little, so that nothing lies along the pixel axes.
    bent_y = np.repeat(y.astype(np.float32), len(x)) + 6 * field(10, 190.0, 67.0)
    bent_x = np.tile(x.astype(np.float32), len(y)) + 6 * field(12, 190.0, 67.0)
    fine = field(20, 3.1, 5.3)
    parcel = _fields(shares, bent_y, bent_x, fine, seed)
    height = field(30, 310.0, 120.0, 47.0)
    _roads(shares, bent_y, bent_x, seed)
    _towns(shares, bent_y, bent_x, field(40, 520.0, 210.0), seed)
    _water(shares, field(50, 430.0, 170.0), height, shape)

    own = {name: hashed(seed, 60 + k, parcel) * 2 - 1 for k, name in enumerate(_SENSITIVITY)}
    condition = {
        "pigment": 0.5 * own["pigment"] + 0.35 * field(70, 2.7, 6.1, 23.0),
        "water": 0.5 * own["water"] + 0.35 * field(75, 3.3, 7.7, 41.0),
        "structure": 0.3 * own["structure"] + 0.35 * fine + 0.2 * field(80, 29.0),
        "red edge": 0.6 * own["red edge"] + 0.6 * field(95, 2.9, 9.0),
        "minerals": 0.5 * own["minerals"] + 0.25 * field(85, 4.1, 83.0),
    }
    slope = np.diff(height.reshape(shape), axis=1, append=0)
    slope[:, -1] = slope[:, -2]
    shading = 1 + np.clip(2.5 * slope, -0.3, 0.3).ravel()
    return _Ground(shares, condition, shading.astype(np.float32), 1 + 0.12 * field(90, 700.0), shape)


def _fields(shares: np.ndarray, y: np.ndarray, x: np.ndarray, fine: np.ndarray, seed: int) -> np.ndarray:
    """Draw parcels with their crops, tillage rows and hedges; return each pixel's parcel."""
    # Parcels are longer than wide, and the land's grain has its own direction for each seed.
    angle = math.pi * float(hashed(seed, 1, np.zeros(1))[0])
    along = np.float32(math.cos(angle)) * x + np.float32(math.sin(angle)) * y
    across = np.float32(math.cos(angle)) * y - np.float32(math.sin(angle)) * x
    near = cells(seed, 100, across, along * np.float32(0.6), 20.0)
    share = blend(0.5 + near.border_px)
    # A third of the cells belong to one farm and are one parcel with their block.
    own, other = (np.where(hashed(seed, 106, cell) < 0.35, parent(cell), cell) for cell in (near.cell, near.neighbour))
    rows = np.sin(2 * math.pi / 3.2 * (across + 0.3 * along * (hashed(seed, 101, own) - 0.5)))
    for cell, weight in ((own, share), (other, 1 - share)):
        crop = (hashed(seed, 102, cell) * len(_CROPS)).astype(np.int32)
        growth = 0.25 + 0.75 * hashed(seed, 103, cell) + 0.07 * fine + 0.05 * rows
        cover, wet = blend(growth), blend(hashed(seed, 104, cell) + 0.15 * fine)
        for index, name in enumerate(_CROPS):
            _add(shares, name, weight * cover * (crop == index))
        _add(shares, "dry soil", weight * (1 - cover) * (1 - wet))
        _add(shares, "wet soil", weight * (1 - cover) * wet)
    hedge = (hashed(seed, 105, np.minimum(own, other) * 3 + np.maximum(own, other)) < 0.3) & (own != other)
    _cover(shares, "woods", blend(0.9 - near.border_px) * hedge)
    return own


def _roads(shares: np.ndarray, y: np.ndarray, x: np.ndarray, seed: int) -> None:
    for salt, spacing_px, half_width_px in ((110, 130.0, 0.7), (111, 47.0, 0.25)):
        _cover(shares, "asphalt", blend(0.5 + half_width_px - cells(seed, salt, y, x, spacing_px).border_px))


def _towns(shares: np.ndarray, y: np.ndarray, x: np.ndarray, density: np.ndarray, seed: int) -> None:
    inside = np.flatnonzero(density > 1.1)
    if not inside.size:
        return
    near = cells(seed, 120, y[inside], x[inside], 3.4)
    town = np.zeros((len(_MATERIALS), inside.size), np.float32)
    kind = (hashed(seed, 121, near.cell) * len(_ROOFS)).astype(np.int32)
    for index, name in enumerate(_ROOFS):
        _add(town, name, (kind == index).astype(np.float32))
    _cover(town, "asphalt", blend(0.9 - near.border_px))
    weight = blend((density[inside] - 1.1) * 8)
    shares[:, inside] += weight * (town - shares[:, inside])


def _water(shares: np.ndarray, course: np.ndarray, height: np.ndarray, shape: tuple[int, int]) -> None:
    """Draw rivers where `course` changes its sign and lakes where `height` is lowest, with sharp banks."""
    for level, half_width_px in ((course, 1.6), (height + 1.35, None)):
        steep = np.maximum(np.hypot(*np.gradient(level.reshape(shape))).ravel(), np.float32(1e-4))
        distance_px = level / steep
        bank = half_width_px - np.abs(distance_px) if half_width_px else -distance_px
        _cover(shares, "water", blend(0.5 + bank))


def _add(shares: np.ndarray, name: str, amount: np.ndarray) -> None:
    shares[_MATERIALS.index(name)] += amount


def _cover(shares: np.ndarray, name: str, share: np.ndarray) -> None:
    """Lay a material over what is there."""
    shares *= 1 - share
    _add(shares, name, share)
