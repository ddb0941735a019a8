"""Where a product keeps the files of a tile: as the agency packs them, and as Amazon's buckets unpack them.

GRANULE/<tile>/IMG_DATA/..._B02.jp2   GRANULE/<tile>/QI_DATA/MSK_...    GRANULE/<tile>/MTD_TL.xml    product
B02.jp2 or R10m/B02.jp2               qi/...                            metadata.xml                 bucket
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpc_sr.errors import MetadataError
from hpc_sr.sentinel2.archive import ProductFiles
from hpc_sr.sentinel2.bands import BAND_BY_ID, BANDS
from hpc_sr.sentinel2.xml_values import text_of

#: Where a product announces its images: with their path in compact products, by their bare name in older ones.
_IMAGE_TAGS = ("IMAGE_FILE", "IMAGE_ID")
_SCENE_CLASS = re.compile(r"_SCL_(\w+_)?20m$")
#: The masks of 2015 say which band they are of in their name alone.
_BAND_IN_NAME = re.compile(r"_B(\d\d|8A)(_MSIL\w+)?\.\w+$")

Masks = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Granule:
    """What the product's metadata announce of one tile: its id, its folder, its images without their ending."""

    identifier: str
    folder: str
    images: tuple[str, ...]

    def metadata(self, files: ProductFiles) -> str:
        """Return the name of the tile's metadata: MTD_TL.xml, or the older one after the granule's name."""
        compact = f"{self.folder}/MTD_TL.xml"
        name = PurePosixPath(self.folder).name
        older = f"{self.folder}/{re.sub(r'_N[0-9.]+$', '', name).replace('_MSI_', '_MTD_')}.xml"
        return older if files.has(older) and not files.has(compact) else compact

    def file(self, image: str) -> str:
        """Return the name of an announced image's file."""
        return f"{image}.jp2"

    def mask(self, announced: str, kind: str, band: str, files: ProductFiles) -> str:
        """Return the name of an announced mask's file."""
        return announced if "/" in announced else f"{self.folder}/QI_DATA/{announced}"

    def bands(self, level: str, where: Path) -> dict[str, str]:
        """Return each band's file at its native GSD. L2A's resampled copies at coarser GSDs are left alone."""
        found: dict[str, str] = {}
        for image in self.images:
            for name, band in BANDS.items():
                if not image.endswith(f"_{name}" if level == "L1C" else f"_{name}_{band.gsd_m}m"):
                    continue
                file = self.file(image)
                if found.setdefault(name, file) != file:
                    raise MetadataError(
                        f"announces two files of {name}: {found[name]} and {file}",
                        where=where,
                        cure="fetch the product again",
                    )
        return found

    def scene_class(self, files: ProductFiles) -> str | None:
        """Return the file of L2A's scene classification at 20 m, or None if none is announced."""
        image = next((image for image in self.images if _SCENE_CLASS.search(image)), None)
        if image is None:
            return None
        # The oldest Level-2A keeps it beside the folders of the grids.
        beside = self.file(image.replace("/R20m/", "/"))
        return beside if files.has(beside) else self.file(image)


@dataclass(frozen=True)
class BucketTile(Granule):
    """A tile as Amazon's buckets hold it: in a folder of its own, under short names."""

    def metadata(self, files: ProductFiles) -> str:
        return "metadata.xml"

    def file(self, image: str) -> str:
        found = re.search(r"_(B\w\w|SCL)(?:_(?:\w+_)?(\d0m))?$", image)
        if found is None:
            return f"{image}.jp2"  # no band: nobody asks for it
        name, gsd = found.groups()
        return f"{name}.jp2" if gsd is None else f"R{gsd}/{name}.jp2"

    def mask(self, announced: str, kind: str, band: str, files: ProductFiles) -> str:
        short = f"{kind}_{band or 'B00'}{PurePosixPath(announced).suffix}"
        return next((name for name in (f"qi/{short}", f"qi/MSK_{short}") if files.has(name)), f"qi/MSK_{short}")


def granules(tree: ET.Element, where: Path) -> list[Granule]:
    """Return the granules in the order of their folders; compact products have one, older ones one a tile.

    Raises MetadataError if no image of any is announced.
    """
    images: dict[str, list[str]] = {}
    identifiers: dict[str, str] = {}
    for element in (e for e in tree.iter() if e.tag in ("Granule", "Granules")):
        identifier = element.get("granuleIdentifier", "")  # images with a path need none
        for image in (text_of(e) for e in element.iter() if e.tag in _IMAGE_TAGS):
            parts = PurePosixPath(image).parts
            if len(parts) == 1:
                if not identifier:
                    raise MetadataError(
                        f"{image} is of a granule without an id", where=where, cure="fetch the product again"
                    )
                gsd = re.search(r"_R?([126]0m)$", image)
                below = f"R{gsd.group(1)}/" if gsd else ""
                image, parts = f"GRANULE/{identifier}/IMG_DATA/{below}{image}", ("GRANULE", identifier)
            if len(parts) > 1 and parts[0] == "GRANULE":
                images.setdefault(parts[1], []).append(image)
                identifiers[parts[1]] = identifier
    if not images:
        raise MetadataError("announces no image of any granule", where=where, cure="fetch the product again")
    return [Granule(identifiers[name], f"GRANULE/{name}", tuple(images[name])) for name in sorted(images)]


def bucket_tile(announced: Iterable[Granule], tile_id: str, where: Path) -> BucketTile:
    """Return the granule of this id as a bucket's tile. Raises MetadataError if the product announces no such."""
    for granule in announced:
        if granule.identifier == tile_id:
            return BucketTile(granule.identifier, "", granule.images)
    raise MetadataError(
        f"does not announce tile {tile_id}, whose metadata.xml lies beside it",
        where=where,
        cure="put the metadata of the tile's own product here",
    )


def mask_files(granule_tree: ET.Element, granule: Granule, files: ProductFiles, where: Path) -> Masks:
    """Return the mask files by kind ("QUALIT", "CLOUDS") and band; "" where one mask serves all bands.

    Raises MetadataError for a mask that does not say what it is, or is of no band.
    """
    masks: Masks = {}
    for element in granule_tree.iter("MASK_FILENAME"):
        announced, kind = text_of(element), element.get("type", "").removeprefix("MSK_")
        if announced:  # products without defects had blank entries
            band = _band_of_mask(element, announced, where)
            if not kind:
                raise MetadataError(f"{announced} has no type", where=where, cure="fetch the product again")
            masks.setdefault(kind, {})[band] = granule.mask(announced, kind, band, files)
    return masks


def _band_of_mask(element: ET.Element, announced: str, where: Path) -> str:
    band_id = element.get("bandId")
    if band_id is None:
        found = _BAND_IN_NAME.search(announced)
        name = f"B{found.group(1)}" if found else "B00"  # probabilities are of no band and name none
        return "" if name == "B00" else name
    if band_id not in BAND_BY_ID:
        raise MetadataError(
            f"{announced} is of unknown bandId {band_id!r}", where=where, cure="fetch the product again"
        )
    return BAND_BY_ID[band_id]
