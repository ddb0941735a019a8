"""Predictions that somebody else made, scored against a truth on the same grid, window by window."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpc_sr.comm.communicator import Comm
from hpc_sr.errors import ImageError, NotFiniteError, RecipeError
from hpc_sr.evaluate.evaluation import document
from hpc_sr.evaluate.metrics.measure import CONTEXT_PX, ImageSums, measure
from hpc_sr.evaluate.metrics.spectrum import measure_spectrum
from hpc_sr.evaluate.protocols.external_images import External, Unit, open_image
from hpc_sr.evaluate.protocols.scenes import CORE_PX
from hpc_sr.evaluate.tally import Tally, finish_together
from hpc_sr.infer.windows import Area, tile_cores
from hpc_sr.logs import logger, track

#: Grids whose corners lie within this share of a pixel are the same.
SAME_PLACE_PX = 0.01


def evaluate_predictions(
    predictions: dict[str, Path],
    truth: Path,
    comm: Comm,
    unit: Unit = "tags",
    truth_unit: Unit | None = None,
    scale: int | None = None,
    mask: Path | None = None,
) -> dict[str, Any]:
    """Return the evaluation, protocol `truth`, of images by name. Collective: ranks share the windows.

    All are scored on the same pixels: those that the truth and every prediction declare valid, that are finite in the
    truth and not 0 in `mask`. Bands are matched by name where both sides tell names, else by position; those that
    the truth lacks are left out. `truth_unit` is `unit` if not given. Without `scale`, the ratio of the pixel sizes,
    ERGAS is None.
    Raises ImageError if sizes, CRS, places or bands do not fit, or no pixel is left to score; NotFiniteError naming
    the prediction and the number of pixels where it is NaN or infinite and counts; RecipeError for no prediction.
    """
    if not predictions:
        raise RecipeError("no prediction is given", where="--prediction", cure="give at least one file")
    with ExitStack() as stack:
        reference = stack.enter_context(open_image(truth, truth_unit or unit))
        images = {name: stack.enter_context(open_image(path, unit)) for name, path in predictions.items()}
        counted = stack.enter_context(open_image(mask, "dn")) if mask is not None else None
        for image in (*images.values(), *([counted] if counted else [])):
            check_grid(image, reference)
        check_counted(reference, counted)
        names = _names_of(reference, images)
        aligned = {name: in_order(image, names, reference.count) for name, image in images.items()}
        bands = names or tuple(str(number) for number in range(1, reference.count + 1))
        scored = _score_windows(reference, aligned, counted, bands, scale, comm)
    told = {"truth": truth.name, "truth unit": truth_unit or unit, "unit": unit}
    told |= {f"prediction {name}": path.name for name, path in predictions.items()}
    told |= {"mask": mask.name} if mask is not None else {}
    scene = {"scene": truth.stem, "provenance": told, "size_px": [reference.height, reference.width], **scored}
    about = {
        "protocol": "truth",
        "task": None,
        "scale": scale,
        "degradation": None,
        "level": "",
        "model": None,
        "precision": None,
    }
    return document(about, bands, [scene], "bicubic" if "bicubic" in aligned else next(iter(aligned)))


def _score_windows(
    truth: External,
    images: dict[str, External],
    mask: External | None,
    bands: tuple[str, ...],
    scale: int | None,
    comm: Comm,
) -> dict[str, Any]:
    """Return what an evaluation says of images whose bands are in the truth's order. Collective.

    Each rank scores every world_size-th window, the sums merge, so errors about pixels are raised by all ranks.
    """
    tallies = {name: Tally(ImageSums.zero(len(bands))) for name in images}
    broken, left_out = np.zeros(len(images)), np.zeros(len(images))
    cores = tile_cores(truth.height, truth.width, CORE_PX)[comm.rank :: comm.world_size]
    for core in track(cores, "windows", shown=comm.rank == 0):
        area = core.grown(CONTEXT_PX).within(truth.height, truth.width)
        inside = core.relative_to(area).slices
        reference, valid = counted_pixels(truth, mask, area)
        estimates = [image.read(area) for image in images.values()]
        declared = [given.all(0) for _, given in estimates]
        left_out += [np.count_nonzero((valid & ~given)[inside]) for given in declared]
        valid &= np.logical_and.reduce(declared)
        finite = [np.isfinite(values).all(0) for values, _ in estimates]
        broken += [np.count_nonzero((valid & ~numbers)[inside]) for numbers in finite]
        valid &= np.logical_and.reduce(finite)
        for name, (values, _) in zip(images, estimates, strict=True):
            x_CHW, y_CHW, valid_HW = (torch.from_numpy(array) for array in (reference, values, valid))
            spectrum = measure_spectrum(x_CHW, y_CHW, valid_HW, inside)
            tallies[name] += Tally(measure(x_CHW, y_CHW, valid_HW, inside), spectrum=spectrum)
    broken, left_out = comm.sum(np.stack([broken, left_out]))
    _judge(images, broken, left_out, shown=comm.rank == 0)
    scored = finish_together(tallies, bands, scale or 1, comm)
    for scores in scored["methods"].values():
        if not scores["pixels"]:
            raise _nothing_to_score(truth)
        if scale is None:
            scores["total"]["ergas"] = None
    return scored | {"seconds": {}}  # how long others took is not known


def counted_pixels(truth: External, mask: External | None, area: Area) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth (C, h, w) of an area, and where (h, w) it is known and, of a mask's pixels, not 0."""
    values, known = truth.read(area)
    valid = (known & np.isfinite(values)).all(0)
    if mask is not None:
        chosen, known = mask.read(area)
        valid &= (known & (chosen != 0)).all(0)
    return values, valid


def check_counted(truth: External, mask: External | None) -> None:
    """Raise ImageError if no pixel of a truth is known and, of a mask's pixels, not 0: there is nothing to score."""
    for area in tile_cores(truth.height, truth.width, CORE_PX):
        if counted_pixels(truth, mask, area)[1].any():
            return
    raise _nothing_to_score(truth)


def _nothing_to_score(truth: External) -> ImageError:
    return ImageError(
        "has no pixel to score", where=truth.path, cure="look at the nodata of all images and at the mask"
    )


def _judge(images: dict[str, External], broken: np.ndarray, left_out: np.ndarray, shown: bool) -> None:
    """Raise NotFiniteError for the first image with pixels that are no number, and warn of pixels left out."""
    for image, count in zip(images.values(), broken.astype(int), strict=True):
        if count:
            raise NotFiniteError(
                f"is NaN or infinite in {count} pixels that the truth has",
                where=image.path,
                cure="declare them with a nodata value, or leave them out with a mask",
            )
    for image, count in zip(images.values(), left_out.astype(int), strict=True):
        if count and shown:
            logger.warning("%s declares %d pixels missing that the truth has: none is scored there", image.path, count)


def _names_of(truth: External, images: dict[str, External]) -> tuple[str, ...] | None:
    """Return what the truth's bands are called: by itself, else by a prediction of as many bands."""
    telling = (truth, *(image for image in images.values() if image.count == truth.count))
    teller = next((image for image in telling if image.bands is not None), None)
    if teller is None:
        return None
    if teller is not truth and truth.count > 1:
        logger.warning("%s does not name its bands: taken to be those of %s, in order", truth.path, teller.path)
    return teller.bands


def in_order(image: External, names: tuple[str, ...] | None, count: int) -> External:
    """Return the image with the truth's bands alone, in its order. Raises ImageError if it has not the same."""
    if image.bands is not None and names is not None:
        fits, has, wanted = set(names) <= set(image.bands), ", ".join(image.bands), ", ".join(names)
    else:
        if count > 1 and (image.bands or names):
            logger.warning("%s: bands are matched with the truth's by position: not both name theirs", image.path)
        fits, has, wanted = image.count == count, f"{image.count} bands", f"{count} bands"
    if not fits:
        raise ImageError(
            f"has {has}; the truth has {wanted}",
            where=image.path,
            cure="give the same bands, named in their descriptions",
        )
    if image.bands is not None and names is not None:
        order = [image.bands.index(name) for name in names]
    else:
        order = list(range(count))

    def read(area: Area) -> tuple[np.ndarray, np.ndarray]:
        values, valid = image.read(area)
        return values[order], valid[order]

    return replace(image, count=count, bands=names, read=read)


def check_grid(image: External, truth: External) -> None:
    """Raise ImageError unless an image has the truth's size and its place, if both have one."""
    problem = None
    if (image.height, image.width) != (truth.height, truth.width):
        problem = f"is {image.height} x {image.width} px, the truth {truth.height} x {truth.width} px"
    elif image.crs and truth.crs and image.crs != truth.crs:
        problem = f"is in {image.crs}, the truth in {truth.crs}"
    elif image.transform and truth.transform:
        there, here = (np.array(one.transform).reshape(3, 3) for one in (truth, image))
        corners = np.array([[0, image.width], [0, image.height], [1, 1]])
        # In degrees the same place has a longitude on every turn of the circle.
        turns = (-360, 0, 360) if truth.crs and truth.crs.is_geographic else (0,)
        moved = [here @ corners + [[turn], [0], [0]] for turn in turns]
        apart_px = min(np.abs(np.linalg.solve(there, place) - corners).max() for place in moved)
        if apart_px > SAME_PLACE_PX:
            problem = f"lies {apart_px:.2f} px off the truth's grid"
    if problem:
        raise ImageError(problem, where=image.path, cure="resample it onto the truth's grid")
