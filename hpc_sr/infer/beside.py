"""What lies beside an image: a style for QGIS, a picture, a STAC item. Each tells the digest of the image it is of."""

from __future__ import annotations

import re
from pathlib import Path

from hpc_sr.disk import check_writable, sweep_partials, write_atomically
from hpc_sr.errors import OutputError
from hpc_sr.infer.finishing import KEY_TAG, keeping
from hpc_sr.infer.overview import look_at, png_of
from hpc_sr.infer.plan import Plan
from hpc_sr.infer.stac import stac_item
from hpc_sr.infer.style import qml_of
from hpc_sr.logs import logger

STYLE, PICTURE, ITEM = ".qml", ".png", ".json"
#: A file of ours has its digest near the beginning.
_HEAD_BYTES = 2**20
_DIGEST = re.compile(rb"%b\W{1,5}([0-9a-f]{64})" % KEY_TAG.encode())


def files_beside(plan: Plan, out: Path) -> list[Path]:
    """Return the files that belong beside an image: no item where nobody knows when it was taken."""
    wanted = {STYLE: True, PICTURE: plan.options.overview, ITEM: bool(plan.image.sensing_time)}
    return [out.with_suffix(suffix) for suffix, is_wanted in wanted.items() if is_wanted]


def check_beside(plan: Plan, out: Path) -> None:
    """Raise OutputError if somebody else's file is where one beside the image goes, and must not be overwritten."""
    for path in files_beside(plan, out):
        check_writable(path)
        if path.exists() and digest_in(path) is None and not plan.options.overwrite:
            raise OutputError("exists already", where=path, cure="give --overwrite, or another --out")


def mend_beside(plan: Plan, out: Path) -> None:
    """Write what a kill left out beside a finished image. Files of somebody else stay, as does a style once changed."""
    ours = [path for path in files_beside(plan, out) if not path.exists() or digest_in(path) is not None]
    if any(digest_in(path) != plan.digest for path in ours):
        write_beside(plan, out, ours)


def write_beside(plan: Plan, out: Path, files: list[Path] | None = None) -> None:
    """Write what belongs beside an image, or some of it; the image is there, so that none is ever of another.

    Raises OutputError; then the image stays, and what was written before.
    """
    files = files_beside(plan, out) if files is None else files
    for path in files:
        sweep_partials(path.parent, path.name)
    if not plan.image.sensing_time:
        logger.info("%s: no STAC item is written, because its sensing time is not known", plan.image.name)
    with keeping(out, "its picture"):
        look, picture = look_at(out)
        names = tuple(band.name for band in plan.bands)
        written = {STYLE: qml_of(look, names, plan.digest).encode(), PICTURE: png_of(picture, plan.digest)}
        for path in files:
            if path.suffix in written:
                write_atomically(path, written[path.suffix])
    if out.with_suffix(ITEM) in files:
        with keeping(out, "its STAC item"):
            write_atomically(out.with_suffix(ITEM), stac_item(plan, out, look.title if plan.options.overview else None))


def digest_in(path: Path) -> str | None:
    """Return the digest in a file that we wrote beside an image, None for anything else under its name."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            found = _DIGEST.search(file.read(_HEAD_BYTES))
    except OSError:
        return None
    return found and found[1].decode()
