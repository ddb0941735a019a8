"""Picture panels of a scene: guide, input and truth, and each method's estimate with where it errs, as PNG.

Each picture keeps its own pixels (one PNG pixel an image pixel); a page enlarges them side by side. Pictures of the
target bands share one stretch, error maps one colour scale. Shapes: (C, h, w) reflectance; NaN, no data, is grey.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.image import imsave

from hpc_sr.report.run_directory import Panels, estimates
from hpc_sr.tasks import REFLECTANCE_ONE, shown_bands

_PERCENTILES = (2, 98)
_NODATA_GREY = 0.8
_COLOURS = "magma"

#: Lowest and highest value of each channel that are shown as black and full colour.
Stretch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Picture:
    caption: str
    png: bytes


@dataclass(frozen=True)
class Estimate:
    """A method's picture, and the map of its error where there is a truth."""

    image: Picture
    error: Picture | None


@dataclass(frozen=True)
class ScenePictures:
    """What was measured (guide, input, truth), each method's estimate, and the scale bar of the error maps.

    `scaled_by` is the method whose errors set the colour scale, "" without a truth.
    """

    measured: list[Picture]
    estimates: list[Estimate]
    bar: bytes
    bar_top: float
    scaled_by: str


def scene_pictures(panels: Panels) -> ScenePictures:
    """Return the pictures of one scene, any number of methods.

    `truth` and `guide` may be absent; without a truth the input sets the stretch and there are no error maps. An
    input that lies on the truth's grid is the truth, and is shown once. Error maps show the mean over bands of the
    absolute error in reflectance x 10 000; black is none, the brightest colour the 98th percentile of bicubic's, or
    of the first method's where bicubic is not there.
    """
    methods, bands = estimates(panels), [str(band) for band in panels["bands"]]
    composite, names = _composite(panels.get("truth", panels["input"]), bands)
    stretch = _stretch(composite)
    measured = _measured(panels, bands, names, stretch)
    images = {
        name: Picture(name, _png(_stretched(_composite(image, bands)[0], stretch))) for name, image in methods.items()
    }
    if "truth" not in panels:
        return ScenePictures(measured, [Estimate(image, None) for image in images.values()], b"", 0.0, "")
    errors = {name: np.abs(image - panels["truth"]).mean(axis=0) * REFLECTANCE_ONE for name, image in methods.items()}
    scaled_by = "bicubic" if "bicubic" in errors else next(iter(errors))
    top = max(_percentile(errors[scaled_by], _PERCENTILES[1]), 1.0)
    shown = [Estimate(image, _error_map(errors[name], top)) for name, image in images.items()]
    return ScenePictures(measured, shown, _png(_coloured(np.linspace(0.0, top, 256)[None], top)), top, scaled_by)


def before_and_after(native: Panels) -> list[Picture]:
    """Return a part of a scene as it was measured and as each method brings it to 10 m, in the stretch of the first."""
    bands = [str(band) for band in native["bands"]]
    before, names = _composite(native["input"], bands)
    images = {"as measured": before} | {
        f"by {name}": _composite(image, bands)[0] for name, image in estimates(native).items()
    }
    stretch = _stretch(before)
    return [
        Picture(f"{caption}: {names}, {image.shape[2]} × {image.shape[1]} px", _png(_stretched(image, stretch)))
        for caption, image in images.items()
    ]


def worst_places(worst: Panels) -> list[tuple[str, list[Picture]]]:
    """Return for each place where networks err most what it is called and its pictures: as measured, then by method.

    The pictures of a place share its own stretch. Captions tell the mean absolute error in reflectance x 10 000.
    """
    bands, methods = [str(band) for band in worst["bands"]], [str(name) for name in worst["methods"]]
    found = []
    for row, column, truth, images in zip(
        *(worst[key] for key in ("rows", "columns", "truth", "estimates")), strict=True
    ):
        composite, names = _composite(truth, bands)
        stretch = _stretch(composite)
        errors = np.abs(images - truth).mean((1, 2, 3)) * REFLECTANCE_ONE
        shown = {f"measured: {names}": truth} | {
            f"{name}: {error:.1f}": image for name, error, image in zip(methods, errors, images, strict=True)
        }
        pictures = [
            Picture(caption, _png(_stretched(_composite(image, bands)[0], stretch))) for caption, image in shown.items()
        ]
        found.append((f"row {row}, column {column}", pictures))
    return found


def _measured(panels: Panels, bands: list[str], names: str, stretch: Stretch) -> list[Picture]:
    """Return guide, input and truth, in this order, of those that there are. The truth comes last."""
    pictures = []
    if "guide" in panels:
        guide, guide_names = _composite(panels["guide"], [str(band) for band in panels["guide_bands"]])
        pictures.append(Picture(f"guide: {guide_names}", _png(_stretched(guide, _stretch(guide)))))
    if "truth" not in panels or panels["input"].shape != panels["truth"].shape:
        pictures.append(Picture(f"input: {names}", _png(_stretched(_composite(panels["input"], bands)[0], stretch))))
    if "truth" in panels:
        pictures.append(Picture(f"measured: {names}", _png(_stretched(_composite(panels["truth"], bands)[0], stretch))))
    return pictures


def _error_map(error_HW: np.ndarray, top: float) -> Picture:
    known = error_HW[np.isfinite(error_HW)]
    return Picture(f"mean error {known.mean():.1f}" if known.size else "no data", _png(_coloured(error_HW, top)))


def _composite(image_CHW: np.ndarray, bands: list[str]) -> tuple[np.ndarray, str]:
    """Return three channels and what red, green and blue are.

    Two bands make red and blue, with their mean as green; one band is grey.
    """
    if len(bands) == 2:
        return np.stack([image_CHW[1], image_CHW.mean(axis=0), image_CHW[0]]), f"{bands[1]}, mean, {bands[0]}"
    shown = shown_bands(tuple(bands))
    image_CHW = image_CHW[[bands.index(band) for band in shown]]
    return np.broadcast_to(image_CHW, (3, *image_CHW.shape[1:])), " ".join(shown)


def _stretch(image_CHW: np.ndarray) -> Stretch:
    low, high = (
        np.array([_percentile(channel, share) for channel in image_CHW])[:, None, None] for share in _PERCENTILES
    )
    return low, np.maximum(high, low + 1.0 / REFLECTANCE_ONE)


def _percentile(values: np.ndarray, share: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, share)) if known.size else 0.0


def _stretched(image_CHW: np.ndarray, stretch: Stretch) -> np.ndarray:
    low, high = stretch
    return np.clip((image_CHW - low) / (high - low), 0.0, 1.0).transpose(1, 2, 0)


def _coloured(values_HW: np.ndarray, top: float) -> np.ndarray:
    colours = matplotlib.colormaps[_COLOURS](np.nan_to_num(values_HW) / top)[..., :3]
    colours[np.isnan(values_HW)] = np.nan
    return colours


def _png(image_HWC: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    nothing: Any = {"Software": None}  # no version: matplotlib's declaration lacks None
    imsave(buffer, np.nan_to_num(image_HWC, nan=_NODATA_GREY), format="png", metadata=nothing)
    return buffer.getvalue()
