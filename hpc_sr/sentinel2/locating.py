"""Where a product is, and what lies at a path that is none: a cure must fit what the path is."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from hpc_sr.errors import MissingFileError

_BUCKET_FILE = "product_metadata.xml"
#: MTD_MSIL1C.xml of compact products; S2A_OPER_MTD_SAFL1C_*.xml of the older multi-granule format; a bucket's copy.
METADATA_FILE = re.compile(
    rf"(mtd_msil(1c|2a)|s2[a-z]_(oper|user)_mtd_safl(1c|2a).*)\.xml|{_BUCKET_FILE}", re.IGNORECASE
)
_GRANULE_FILE = re.compile(r"mtd_tl\.xml|s2[a-z]_(oper|user)_mtd_l(1c|2a)_.*\.xml", re.IGNORECASE)
_WHAT_TO_GIVE = "give a .SAFE folder or a .zip of one"
#: From a mask or a band up to its product: QI_DATA or R10m, IMG_DATA, the granule, GRANULE.
_LEVELS_UP = 5
_MOST_LOOKED_AT = 1000


def root_of(path: Path) -> Path | None:
    """Return the folder of the product that a path is of: its own folder or a metadata file in it; None if none.

    Raises OSError if the folder cannot be listed.
    """
    if path.is_dir():
        return path if any(METADATA_FILE.fullmatch(name) for name in os.listdir(path)) else None
    named = METADATA_FILE.fullmatch(path.name) or path.name.lower() == "manifest.safe"
    return path.parent if path.is_file() and named and _metadata_in(path.parent) else None


def may_be_product(path: Path) -> bool:
    """Return whether somebody who gives this path means a product: a file, a .SAFE folder, one with its metadata."""
    try:
        return path.is_file() or (path.is_dir() and (path.suffix.upper() == ".SAFE" or root_of(path) is not None))
    except OSError:
        return False


def product_metadata(root: Path) -> str:
    """Return the name of the metadata file in a product's folder. Raises MissingFileError if there are several."""
    found = _metadata_in(root)
    if len(found) > 1:
        raise MissingFileError(
            f"holds {' and '.join(found)}: two products in one folder", where=root, cure="give the file that is meant"
        )
    return found[0]


def is_bucket(xml: str) -> bool:
    """Return whether a product with metadata of this name is laid out as in Amazon's buckets."""
    return xml.lower() == _BUCKET_FILE


def stranger(path: Path) -> MissingFileError:
    """Return the error that says what lies at a path instead of a product, and what to give."""
    here = path.absolute()
    if not here.is_dir() and not here.is_file():
        return MissingFileError("is neither a folder nor a file", where=path, cure=_WHAT_TO_GIVE)
    above = next((folder for folder in list(here.parents)[:_LEVELS_UP] if _metadata_in(folder)), None)
    if above is not None:
        one = "one granule" if _is_granule(here) else "a part"
        return MissingFileError(f"is {one} of {above.name}", where=path, cure=f"give the folder above: {above}")
    if here.is_file():
        return MissingFileError("is no product", where=path, cure=_WHAT_TO_GIVE)
    names = _names_in(here)
    lower = {name.lower() for name in names}
    inside = [name for name in names if name.lower().endswith(".zip") or _metadata_in(here / name)]
    problem, cure = "holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml", _WHAT_TO_GIVE
    if lower & {"granule", "manifest.safe"}:
        cure = "the product is incomplete: fetch it again"
    elif lower & {"tileinfo.json", "productinfo.json", "metadata.xml"}:
        problem = f"is a folder of Amazon's buckets without {_BUCKET_FILE}, which tells quantification and offsets"
        cure = (
            f"give a tile's folder with the metadata.xml of its product in it as {_BUCKET_FILE}, or the .SAFE product"
        )
    elif len(inside) == 1:
        problem, cure = f"{problem}; {inside[0]} lies in it", f"give that: {path / inside[0]}"
    elif inside:
        problem, cure = f"{problem}; {len(inside)} products lie in it", f"give them one by one, as {path / inside[0]}"
    elif _is_granule(here):
        problem, cure = f"is one granule without its product: it {problem}", "give the whole product's folder"
    return MissingFileError(problem, where=path, cure=cure)


def _is_granule(here: Path) -> bool:
    """Return whether a path is a granule's folder, or its metadata file."""
    return any(_GRANULE_FILE.fullmatch(name) for name in (_names_in(here) if here.is_dir() else [here.name]))


def _metadata_in(folder: Path) -> list[str]:
    return sorted(name for name in _names_in(folder) if METADATA_FILE.fullmatch(name))


def _names_in(folder: Path) -> list[str]:
    """Return what lies in a folder, nothing if it cannot be told: what is looked at beside the path may be anything."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _MOST_LOOKED_AT))
    except OSError:
        return []
