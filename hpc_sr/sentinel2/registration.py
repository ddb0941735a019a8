"""Do the grids of a product lie on the same ground, and are its bands what they are called?

A shift of one pixel would teach a network to move edges, and exchanged bands would teach it other colours.

Two bands that see nearly the same, one on each grid, are compared in a few windows: the finer one averaged to the
coarser one's pixels, then phase correlation of their gradients with a parabola through its peak. Windows without
texture have no clear peak and are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hpc_sr.errors import RasterError, RegistrationError
from hpc_sr.sentinel2.bands import BANDS

#: (coarse band, fine band, scale between them) by the coarse GSD: near infrared at 20 m, blue at 60 m.
COMPARED = {20: ("B8A", "B08", 2), 60: ("B01", "B02", 6)}
_SCALE = {name: scale for coarse, fine, ratio in COMPARED.values() for name, scale in ((coarse, 1), (fine, ratio))}
_WINDOW_PX, _WINDOWS_A_SIDE = 128, 3
_LEAST_CORRELATION = 0.5
#: Bands whose order is looked at, and how many samples a side are taken of them.
_ORDERED, _SAMPLES_A_SIDE, _LEAST_SAMPLES = ("B01", "B02", "B08", "B8A"), 128, 100
#: On real scenes B8A correlates to 0.996 and more with B08, and to 0.90 at most with B02; B01 just the other way.
_SURELY_ALIKE, _SURELY_MORE = 0.9, 0.2

Crops = list[np.ndarray]


def crops(name: str, dn: np.ndarray) -> Crops:
    """Return the windows of a whole band that are compared, averaged to the coarser grid; none for other bands."""
    if name not in _SCALE:
        return []
    scale = _SCALE[name]
    height, width = (side // scale for side in dn.shape)
    return [
        dn[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]
        .reshape(rows.stop - rows.start, scale, columns.stop - columns.start, scale)
        .mean((1, 3))
        for rows in _windows(height)
        for columns in _windows(width)
    ]


def measure_shift(coarse: Crops, fine: Crops) -> tuple[float, float] | None:
    """Return (rows, columns) by which the content of the coarse grid is displaced against the fine, in coarse pixels.

    The median over the windows in which the bands agree after the shift and nothing is 0, which is nodata. None if
    there is no such window, as over open water or full cloud.
    """
    pairs = [(a, b) for a, b in zip(fine, coarse, strict=True) if (a > 0).all() and (b > 0).all()]
    shifts = [shift for a, b in pairs if (shift := _shift(a, b)) is not None]
    if not shifts:
        return None
    y, x = np.median(shifts, axis=0)
    return float(y), float(x)


def check_registration(bands: Mapping[str, Crops], limit_px: float, where: str) -> dict[str, list[float] | None]:
    """Return the shift of each compared grid by its GSD, for the manifest. Raises RegistrationError beyond it."""
    found: dict[str, list[float] | None] = {}
    for gsd_m, (coarse, fine, _) in COMPARED.items():
        if not (bands.get(coarse) and bands.get(fine)):
            continue
        shift = measure_shift(bands[coarse], bands[fine])
        found[f"{gsd_m} m"] = None if shift is None else [round(x, 3) for x in shift]
        if shift is not None and max(abs(x) for x in shift) > limit_px:
            raise RegistrationError(
                f"{coarse} at {gsd_m} m lies {shift[0]:+.2f} rows and {shift[1]:+.2f} columns off {fine}, in its own "
                f"pixels; {limit_px} are allowed",
                where=where,
                cure="the product is misregistered: leave it out",
            )
    return found


def overview(name: str, dn: np.ndarray) -> np.ndarray:
    """Return means over boxes of 60 m that lie evenly over a whole band, the same for all bands; empty for others."""
    if name not in _ORDERED:
        return np.empty((0, 0), np.float32)
    box = 60 // BANDS[name].gsd_m
    height, width = (side // box for side in dn.shape)
    step = max(1, min(height, width) // _SAMPLES_A_SIDE)
    rows, columns = height // step, width // step
    boxes = dn[: rows * step * box, : columns * step * box].reshape(rows, step, box, columns, step, box)
    return boxes[:, 0, :, :, 0, :].mean((1, 3), dtype=np.float32)


def check_band_order(overviews: Mapping[str, np.ndarray], where: str) -> None:
    """Raise RasterError if the file of B02 holds near infrared and that of B08 blue.

    B8A must look like B08, and B01 like B02. Only what is sure is said: over snow or cloud all bands look alike.
    """
    measured = np.logical_and.reduce([overviews[name] > 0 for name in _ORDERED if name in overviews])
    if not {"B02", "B08", "B8A"} <= overviews.keys() or measured.sum() < _LEAST_SAMPLES:
        return
    values = {name: overviews[name][measured] for name in _ORDERED if name in overviews}
    infrared, blue = (_correlation(values["B8A"], values[name]) for name in ("B02", "B08"))
    sure = infrared > _SURELY_ALIKE and infrared - blue > _SURELY_MORE
    if "B01" in values and _correlation(values["B01"], values["B08"]) < _correlation(values["B01"], values["B02"]):
        sure = False
    if sure:
        raise RasterError(
            f"what is called B02 looks like near infrared (correlation with B8A {infrared:.2f}), what is called B08 "
            f"does not ({blue:.2f})",
            where=where,
            cure="the files of the two bands are exchanged: fetch the product again",
        )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation; 0 where one does not vary, which tells nothing."""
    a, b = (values - values.mean(dtype=np.float64) for values in (a, b))
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm else 0.0


def _windows(size: int) -> list[slice]:
    side = min(_WINDOW_PX, size)
    starts = np.unique(np.linspace(0, size - side, _WINDOWS_A_SIDE).astype(int))
    return [slice(start, start + side) for start in starts]


def _shift(a: np.ndarray, b: np.ndarray) -> tuple[float, float] | None:
    """Return the shift of b against a, or None where nothing correlates."""
    taper = np.outer(np.hanning(a.shape[0]), np.hanning(a.shape[1]))
    edges_a, edges_b = (_edges(image) for image in (a, b))
    if not edges_a.any() or not edges_b.any():
        return None
    spectrum = np.fft.fft2(edges_b * taper) * np.conj(np.fft.fft2(edges_a * taper))
    surface = np.fft.ifft2(spectrum).real
    peak = np.unravel_index(np.argmax(surface), surface.shape)
    y, x = (_refined(np.take(surface, peak[1 - axis], 1 - axis), int(peak[axis])) for axis in (0, 1))
    strength = surface[peak] / np.sqrt(((edges_a * taper) ** 2).sum() * ((edges_b * taper) ** 2).sum())
    return (y, x) if strength >= _LEAST_CORRELATION else None


def _edges(image: np.ndarray) -> np.ndarray:
    """Return the gradient's magnitude, less its mean: independent of gain and offset between two bands."""
    down, right = np.gradient(image)
    magnitude = np.hypot(down, right)
    return magnitude - magnitude.mean()


def _refined(line: np.ndarray, peak: int) -> float:
    """Return the peak's place on a circular line, by the parabola through it and its neighbours."""
    size = len(line)
    before, at, after = line[(peak - 1) % size], line[peak], line[(peak + 1) % size]
    bend = before - 2 * at + after
    place = peak + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return place - size if place > size / 2 else place
