"""Images as sources of patches: high-resolution files, pairs, triples with a reference, or bands of products.

An image and what is made of it are stored in its own units, 8 bits as 0..255. Where nobody gives the low resolution,
it is made from the whole image by data_prep.resample, rounded and clipped as a file would hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.catalog import skipped
from data_prep.image_files import Image, by_name, find_images, read_image
from data_prep.image_pairs import image_pair, trimmed
from data_prep.image_products import product_image_sources
from data_prep.options import ImageOptions
from data_prep.sources import Source
from hpc_sr.disk import sha256_of, telling
from hpc_sr.errors import HpcSrError, ImageError, RecipeError
from hpc_sr.sentinel2.pairs import Pair
from hpc_sr.tasks import Task

_INT16_MAX = int(np.iinfo(np.int16).max)


def image_sources(options: ImageOptions, task: Task) -> tuple[list[Source], list[dict[str, str]]]:
    """Return the usable sources by name, and what cannot be used: product, class of error, message.

    Raises RecipeError or ImageError for settings that fit neither task nor files; with `bad_products: fail`, or if
    nothing is left, the first error of a source.
    """
    _check_settings(options, task)
    sources: Sequence[Source]
    if options.products:
        sources, errors = product_image_sources(options, task)
    else:
        sources, errors = _file_sources(options, task)
    if errors and (options.bad_products == "fail" or not sources):
        raise errors[0][1]
    return sorted(sources, key=lambda source: source.name), [skipped(name, error) for name, error in errors]


@dataclass(frozen=True)
class ImageSource:
    """A high-resolution file and those that belong to it, by layer: target and, where given, lr and ref."""

    name: str
    files: dict[str, Path]
    size_bytes: int
    task: Task
    degradation: str
    date: str = ""
    level: str = ""

    @property
    def tile(self) -> str:
        return self.name

    def facts(self) -> dict[str, Any]:
        """Return the bytes and checksums of the files. Raises ImageError if one has gone."""
        try:
            return {
                layer: {"bytes": file.stat().st_size, "sha256": sha256_of(file)} for layer, file in self.files.items()
            }
        except OSError as error:
            raise ImageError(f"cannot be read ({error})", where=self.name, cure="restore the file") from error

    def about(self) -> dict[str, Any]:
        return {
            "product": self.name,
            "level": "",
            "processing_baseline": "",
            "satellite": "",
            "tile": self.tile,
            "sensing_time": "",
            "lr": "given" if "lr" in self.files else "made",
        }

    def pair(self, training: bool) -> Pair:
        """Return the layers, trimmed at the lower right to whole low-resolution pixels, and what is nodata.

        Raises ImageError if a file cannot be read or its size or depth does not fit the high-resolution one's.
        """
        bands, scale = len(self.task.target.bands), self.task.scale
        hr = read_image(self.files["target"], bands)
        target, nodata = trimmed(hr.pixels, scale, self.files["target"]), trimmed(hr.nodata, scale)
        height, width = nodata.shape
        given = {}
        if "ref" in self.files:
            ref = self._read("ref", hr, hr.nodata.shape)
            given["ref"] = trimmed(ref.pixels, scale)
            nodata = nodata | trimmed(ref.nodata, scale)
        marks = {"nodata": nodata}
        lr_nodata = np.zeros((height // scale, width // scale), bool)
        if "lr" in self.files:
            lr = self._read("lr", hr, lr_nodata.shape)
            given["lr"], lr_nodata = lr.pixels, lr.nodata
        pair = image_pair(target, marks, self.task, self.degradation, (0, 255 if hr.bits == 8 else _INT16_MAX), given)
        pair.marks["nodata"] |= np.repeat(np.repeat(lr_nodata, scale, 0), scale, 1)
        pair.found.update(height=height, width=width, bits=hr.bits)
        return pair

    def _read(self, layer: str, hr: Image, size: tuple[int, int]) -> Image:
        file = self.files[layer]
        image = read_image(file, len(self.task.target.bands))
        if image.nodata.shape != size:
            raise ImageError(
                f"is {image.nodata.shape[0]} x {image.nodata.shape[1]} px, with {self.files['target'].name} of "
                f"{hr.nodata.shape[0]} x {hr.nodata.shape[1]} px it must be {size[0]} x {size[1]}",
                where=file,
                cure=f"give the images of one x{self.task.scale} set",
            )
        if image.bits != hr.bits:
            raise ImageError(
                f"has {image.bits} bits, {self.files['target'].name} has {hr.bits}",
                where=file,
                cure="convert one to the depth of the other",
            )
        return image


def _check_settings(options: ImageOptions, task: Task) -> None:
    has_reference, key = any(layer.name == "ref" for layer in task.layers), "references" if options.products else "ref"
    if has_reference and not getattr(options, key):
        raise RecipeError(f"task {task.name} needs references", where=f"images.{key}", cure=f"give images.{key}")
    if not has_reference and getattr(options, key):
        raise RecipeError(
            f"task {task.name} takes no reference", where=f"images.{key}", cure="choose task refsr_x4 or refsr_x4_rgbn"
        )
    if options.products and len(options.bands) != len(task.target.bands):
        raise RecipeError(
            f"{len(options.bands)} bands, task {task.name} has {len(task.target.bands)}",
            where="images.bands",
            cure="give as many bands as the task has",
        )


def _file_sources(options: ImageOptions, task: Task) -> tuple[list[Source], list[tuple[str, HpcSrError]]]:
    hr = find_images(options.hr, "images.hr")
    roles = {
        role: find_images(getattr(options, role), f"images.{role}") for role in ("lr", "ref") if getattr(options, role)
    }
    by_name(hr, without_role=False)
    partners = {role: by_name(images, without_role=True) for role, images in roles.items()}
    errors: list[tuple[str, HpcSrError]] = []
    sources: list[Source] = []
    named = by_name(hr, without_role=bool(roles))
    for key, target in named.items():
        alone = [role for role, images in partners.items() if key not in images]
        if alone:
            errors.append((target.stem, _without_partner(target, f"images.{alone[0]}")))
            continue
        files = {"target": target, **{role: images[key] for role, images in partners.items()}}
        with telling(target, ImageError, "read"):
            size = sum(file.stat().st_size for file in files.values())
        sources.append(ImageSource(target.stem, files, size, task, options.degradation))
    for images in partners.values():
        spare = [image for key, image in images.items() if key not in named]
        errors += [(image.stem, _without_partner(image, "images.hr")) for image in spare]
    return sources, errors


def _without_partner(image: Path, key: str) -> ImageError:
    return ImageError(
        f"has no partner in {key}", where=image, cure="give both the same name, but for _HR, _LR, _ref, x4"
    )
