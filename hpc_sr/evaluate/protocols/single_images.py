"""Finer pictures scored as publications of single-image super-resolution do: 8 bits, cropped, colours and brightness.

Each picture is given to a network in one piece and without a margin, if it is not very large. The estimate is rounded
to whole levels; `scale` pixels are left out on each side. PSNR and SSIM are of all bands, and of the brightness Y
(ITU-R BT.601, 16..235) of red, green and blue.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from hpc_sr.evaluate.metrics.measure import finish, measure
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.infer.pictures.clip_merge import TILE_PX, clip_and_merge, exact_overlap_px
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.windows import Area, read_mirrored
from hpc_sr.models.colours import luma
from hpc_sr.models.filters import bicubic
from hpc_sr.tasks import RGB, Task

#: Low-resolution pixels a side that a network gets in one piece, and the least overlap of larger pictures' pieces.
PIECE_PX, _OVERLAP_PX = 512, TILE_PX // 2
Scores = dict[str, float | None]


@dataclass(frozen=True)
class PicturePair:
    """A picture (C, H, W) and its low resolution (C, H / scale, W / scale): whole grey levels, `peak` is white.

    `reference` is as large as the picture, for networks that take one.
    """

    name: str
    coarse: np.ndarray
    target: np.ndarray
    peak: float
    reference: np.ndarray | None = None


@dataclass(frozen=True)
class Scored:
    """An estimate (C, H, W) of a picture, its scores, and the seconds until it was on the host."""

    estimate: torch.Tensor
    scores: Scores
    seconds: float


def score_by_bicubic(pair: PicturePair, task: Task, perceptual: Perceptual | None = None) -> Scored:
    """Return what bicubic interpolation makes of a picture (Keys, a = -0.5); it is not timed."""
    estimate = bicubic(_tensor(pair.coarse)[None], task.scale)[0]
    return Scored(estimate, score_picture(_tensor(pair.target), estimate, task, pair.peak, perceptual), 0.0)


def score_by_network(predictor: Predictor, pair: PicturePair, perceptual: Perceptual | None = None) -> Scored:
    """Return what a network makes of a picture."""
    began = time.perf_counter()
    estimate = enlarged(predictor, pair.coarse, pair.reference)
    seconds = time.perf_counter() - began
    scores = score_picture(_tensor(pair.target), estimate, predictor.task, pair.peak, perceptual)
    return Scored(estimate, scores, seconds)


def hardest_part(pair: PicturePair, scale: int, side_px: int) -> Area:
    """Return the part of a picture, of `side_px` low-resolution pixels a side, in which bicubic errs most.

    In low-resolution pixels, on a grid of half its side; all of the picture where that is smaller.
    """
    height, width = pair.coarse.shape[1:]
    rows, columns = min(side_px, height), min(side_px, width)
    wrong = (bicubic(_tensor(pair.coarse)[None], scale)[0] - _tensor(pair.target)).square().sum(0)
    coarse = wrong.unflatten(1, (-1, scale)).sum(2).unflatten(0, (-1, scale)).sum(1)
    places = [(r, c) for r in _starts(height, rows) for c in _starts(width, columns)]
    row, column = max(places, key=lambda at: float(coarse[at[0] : at[0] + rows, at[1] : at[1] + columns].sum()))
    return Area(row, column, rows, columns)


def _starts(size: int, side: int) -> range:
    return range(0, size - side + 1, max(1, side // 2))


def computed_on(predictor: Predictor) -> str:
    """Return what times are of: the device, the threads of a CPU, the number type."""
    threads = f", threads: {torch.get_num_threads()}" if predictor.device.type == "cpu" else ""
    return f"{predictor.device.type}{threads}, {predictor.precision}"


def enlarged(predictor: Predictor, coarse_CHW: np.ndarray, reference_CHW: np.ndarray | None = None) -> torch.Tensor:
    """Return a network's estimate (C, scale H, scale W), float32 on the host, of a low-resolution picture.

    The reference (C, scale H, scale W) is for networks that take one.

    Pictures of more than PIECE_PX pixels a side are given in overlapping pieces. These are exact where the network
    looks no farther than half the overlap, which is twice its reach as far as a piece has room for it. A network that
    takes multiples of some size sees the picture mirrored beyond its lower and right border, up to the next of them.
    """
    scale, (bands, height, width) = predictor.task.scale, coarse_CHW.shape
    overlap_px = min(max(exact_overlap_px(predictor.generator), _OVERLAP_PX), PIECE_PX // 2)
    merged = torch.empty(bands, height * scale, width * scale)
    for tile in clip_and_merge(height, width, scale, PIECE_PX, overlap_px):
        around = tile.seen.aligned(predictor.multiple_px // scale)
        inputs = [_mirrored(coarse_CHW, around)]
        if reference_CHW is not None:
            inputs.append(_mirrored(reference_CHW, around.times(scale)))
        piece = predictor.estimate(inputs)
        place = tile.kept.relative_to(around.times(scale)).slices
        merged[(slice(None), *tile.kept.slices)] = piece[(slice(None), *place)].cpu()
    return merged


def score_picture(
    target_CHW: torch.Tensor, estimate_CHW: torch.Tensor, task: Task, peak: float, perceptual: Perceptual | None = None
) -> Scores:
    """Return the scores of one picture by name; None for one that does not exist.

    `psnr` is 10 log10(peak^2 / MSE) of the mean over bands, `ssim` the mean of the bands' (Wang et al. 2004), `gsm`
    the similarity of mean gradients; `_y` are those of the brightness. `niqe`, of the brightness too, and `lpips`
    are there if they were asked for.
    """
    inside = (..., slice(task.scale, -task.scale), slice(task.scale, -task.scale))
    x, y = target_CHW[inside], estimate_CHW.clamp(0, peak).round()[inside]
    found = finish(measure(x, y, peak=peak), task.bands, task.scale, peak)["total"]
    scores: Scores = {name: found[name] for name in ("psnr", "ssim", "gsm")}
    colours = [task.bands.index(band) for band in RGB]
    x_Y, y_Y = (luma(image[None, colours].double() / peak)[0] * peak for image in (x, y))
    brightness = finish(measure(x_Y, y_Y, peak=peak), ("Y",), task.scale, peak)["total"]
    scores |= {f"{name}_y": brightness[name] for name in ("psnr", "ssim")}
    # Each is asked for what it is defined on: LPIPS for colours, NIQE for grey pictures of whole levels.
    if perceptual is not None and perceptual.lpips is not None:
        distance = Perceptual(lpips=perceptual.lpips, white=peak)
        scores |= distance.finish(distance.measure(x, y, task.bands))
    if perceptual is not None and perceptual.niqe is not None:
        quality, grey = Perceptual(niqe=perceptual.niqe), y_Y.round() * (perceptual.niqe.white / peak)
        scores |= quality.finish(quality.measure(grey, grey, ("Y",)))
    return scores


def mean_scores(pictures: Iterable[Scores]) -> Scores:
    """Return the mean over pictures of each score; None where one of them has none."""
    rows = list(pictures)
    return {key: _mean([row[key] for row in rows]) for key in (rows[0] if rows else ())}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mirrored(picture_CHW: np.ndarray, area: Area) -> torch.Tensor:
    """Return an area of a picture as a batch, mirrored beyond the border."""
    height, width = picture_CHW.shape[1:]
    seen = read_mirrored(lambda inside: picture_CHW[(slice(None), *inside.slices)], area, height, width)
    return _tensor(seen)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
