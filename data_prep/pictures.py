"""Pictures of what preparing did, as PNG files: where a product's patches lie, and what patches of a store look like.

Patches are painted into a raster by sums over their corners, so a million overlapping ones cost as much as ten.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hpc_sr.disk import write_atomically
from hpc_sr.tasks import shown_bands

_QUICKLOOK_PX = 1000
_PERCENTILES = (2, 98)
_DPI = 100
_KEPT = "#b6ff00"
#: One colour a reason, in the order in which reasons are counted.
_REFUSED = (
    "#d000d0",
    "#ff0000",
    "#8c564b",
    "#ff7f0e",
    "#7a3cff",
    "#00b7ff",
    "#00e0c0",
    "#3050ff",
    "#ff69b4",
    "#ffd000",
    "#ffffff",
)
_COLUMNS, _THUMBNAIL_PX, _CAPTION_PX, _TITLE_PX, _GAP_PX, _LEGEND_PX = 10, 128, 38, 40, 12, 220

#: The values of each channel that are shown as black and full colour.
Stretch = tuple[np.ndarray, np.ndarray]


def quicklook(layer_CHW: np.ndarray, bands: tuple[str, ...], stretch: Stretch | None = None) -> np.ndarray:
    """Return a layer as an RGB picture, uint8 (h, w, 3), at most about 1000 px a side: every n-th pixel.

    Red, green and blue are what `shown_bands` says, or the first band three times, each from its 2nd to its 98th
    percentile unless a stretch is given.
    """
    channels = _channels(bands)
    step = max(1, math.ceil(max(layer_CHW.shape[1:]) / _QUICKLOOK_PX))
    rgb = layer_CHW[channels, ::step, ::step].astype(np.float32)
    low, high = stretch or stretch_of(rgb.reshape(3, -1))
    scaled = (rgb - low[:, None, None]) / np.maximum(high - low, 1e-6)[:, None, None]
    return (scaled.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


def common_stretch(layers_CHW: list[np.ndarray], bands: tuple[str, ...]) -> Stretch:
    """Return the stretch that makes quicklooks of several images comparable."""
    channels = _channels(bands)
    return stretch_of(np.concatenate([layer[channels].reshape(3, -1) for layer in layers_CHW], axis=1))


def stretch_of(values_CN: np.ndarray) -> Stretch:
    """Return the 2nd and 98th percentile of each channel, of what is not nodata if anything is not."""
    there = values_CN.any(axis=0)
    low, high = np.percentile(values_CN[:, there] if there.any() else values_CN, _PERCENTILES, axis=1)
    return low, high


def patch_map(
    path: Path,
    quicklook_HWC: np.ndarray,
    kept: np.ndarray,
    refused: dict[str, np.ndarray],
    patch_px: int,
    shape: tuple[int, int],
    title: str,
) -> None:
    """Write a map of a product's patches over its quicklook: kept ones outlined, refused ones tinted by reason.

    `kept` and `refused` are (N, 2) upper-left target pixels; `shape` is the target grid's. A pixel of several refused
    patches shows the reason of most of them. Where outlines are too dense to tell apart, only the border of all that
    is kept is drawn.
    """
    zoom = _QUICKLOOK_PX / max(shape)
    height, width = (max(1, round(side * zoom)) for side in shape)
    rows = np.arange(height) * quicklook_HWC.shape[0] // height
    columns = np.arange(width) * quicklook_HWC.shape[1] // width
    canvas = quicklook_HWC[rows][:, columns] / np.float32(255)

    def corners(origins: np.ndarray) -> np.ndarray:
        """Return each patch's first and last row and column on the canvas, (4, N)."""
        first = np.floor(origins.T * zoom).astype(int)
        last = np.ceil((origins.T + patch_px) * zoom).astype(int) - 1
        bounds = np.array([[height - 1], [width - 1]])
        return np.concatenate([np.minimum(first, bounds), np.minimum(last, bounds)])[[0, 2, 1, 3]]

    colours = {reason: _REFUSED[i % len(_REFUSED)] for i, reason in enumerate(refused)}
    colours = {reason: colour for reason, colour in colours.items() if len(refused[reason])}
    if colours:
        depth = np.stack([_cover(corners(refused[reason]), (height, width)) for reason in colours])
        tint = np.array([to_rgb(colour) for colour in colours.values()], np.float32)[depth.argmax(0)]
        _paint(canvas, np.logical_or.reduce(depth), tint, 0.45)
    boxes = corners(kept)
    lines, area = _outlines(boxes, (height, width)), _cover(boxes, (height, width)) > 0
    crowded = lines.sum() / max(area.sum(), 1)
    green = np.array(to_rgb(_KEPT), np.float32)
    if crowded < 0.5:
        _paint(canvas, lines, green, 0.8 - crowded)
    _paint(canvas, area & ~_eroded(area), green, 1.0)

    keys = [Patch(fill=False, edgecolor=_KEPT, linewidth=2, label=f"kept: {len(kept)}")]
    keys += [Patch(facecolor=c, alpha=0.6, label=f"{reason}: {len(refused[reason])}") for reason, c in colours.items()]
    figure = _figure(width + _LEGEND_PX + 3 * _GAP_PX, max(height, 320) + _TITLE_PX + _GAP_PX, title)
    _place(figure, canvas, _GAP_PX, _TITLE_PX, width, height)
    right, top = (2 * _GAP_PX + width) / figure.bbox.width, 1 - _TITLE_PX / figure.bbox.height
    figure.legend(
        handles=keys,
        loc="upper left",
        bbox_to_anchor=(right, top),
        borderaxespad=0,
        fontsize=9,
        facecolor="#606060",
        labelcolor="white",
        title=f"patches of {patch_px} px",
        title_fontproperties={"size": 9},
    ).get_title().set_color("white")
    _save(figure, path)


def contact_sheet(path: Path, patches: list[tuple[np.ndarray, str]], title: str, together: int = 1) -> None:
    """Write one picture of many: each, uint8 (h, w, 3), enlarged pixel by pixel over its caption.

    So many of them stay `together` in a row.
    """
    columns = min(max(1, _COLUMNS // together) * together, max(len(patches), 4))
    rows = max(1, math.ceil(len(patches) / columns))
    across, down = _THUMBNAIL_PX + _GAP_PX, _THUMBNAIL_PX + _CAPTION_PX + _GAP_PX
    figure = _figure(columns * across + _GAP_PX, _TITLE_PX + rows * down, title)
    for place, (patch, caption) in enumerate(patches):
        left, top = _GAP_PX + place % columns * across, _TITLE_PX + place // columns * down
        _place(figure, patch, left, top, _THUMBNAIL_PX, _THUMBNAIL_PX)
        x, y = left / figure.bbox.width, 1 - (top + _THUMBNAIL_PX + 3) / figure.bbox.height
        figure.text(x, y, caption, fontsize=6.5, va="top")
    _save(figure, path)


def _channels(bands: tuple[str, ...]) -> list[int]:
    """Return the places of red, green and blue."""
    places = [bands.index(name) for name in shown_bands(bands)]
    return places if len(places) == 3 else places * 3


def _cover(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return how many of the boxes (top, bottom, left, right; the last pixels included) cover each pixel."""
    top, bottom, left, right = corners
    steps = np.zeros((shape[0] + 1, shape[1] + 1), np.int32)
    for rows, columns, sign in (
        (top, left, 1),
        (bottom + 1, right + 1, 1),
        (top, right + 1, -1),
        (bottom + 1, left, -1),
    ):
        np.add.at(steps, (rows, columns), sign)
    return steps.cumsum(0).cumsum(1)[:-1, :-1]


def _outlines(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return where the border of any of the boxes runs."""
    top, bottom, left, right = corners
    sides = (
        (top, top, left, right),
        (bottom, bottom, left, right),
        (top, bottom, left, left),
        (top, bottom, right, right),
    )
    return np.logical_or.reduce([_cover(np.stack(side), shape) > 0 for side in sides])


def _eroded(area: np.ndarray) -> np.ndarray:
    """Return the area without its border of two pixels."""
    padded = np.pad(area, 2)
    inner = padded.copy()
    for axis in (0, 1):
        for by in (-2, -1, 1, 2):
            inner &= np.roll(padded, by, axis)
    return inner[2:-2, 2:-2]


def _paint(canvas: np.ndarray, where: np.ndarray, colour: np.ndarray, opacity: float) -> None:
    colour = colour[where] if colour.ndim == 3 else colour
    canvas[where] = (1 - opacity) * canvas[where] + opacity * colour


def _figure(width_px: int, height_px: int, title: str) -> Figure:
    figure = Figure((width_px / _DPI, height_px / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.text(_GAP_PX / width_px, 1 - 0.5 * _TITLE_PX / height_px, title, fontsize=10, va="center", weight="bold")
    return figure


def _place(figure: Figure, picture: np.ndarray, left: int, top: int, width: int, height: int) -> None:
    """Show a picture in so many pixels of the figure, counted from its upper left."""
    across, down = figure.bbox.width, figure.bbox.height
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set_axis_off()


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
