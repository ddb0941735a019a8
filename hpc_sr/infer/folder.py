"""Many sources into one folder: an image each, by all ranks together or one rank each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.config import plain_name
from hpc_sr.errors import OutputError
from hpc_sr.logs import told_of
from hpc_sr.sentinel2.safe import open_product


def product_name(path: Path) -> str:
    """Return what a product's image is named after: the product's own name, however its path is called.

    Of one that cannot be opened its whole path: nothing is written, making the image tells what is wrong with it.
    """
    try:
        return open_product(path).name
    except Exception:
        return str(path).replace("/", "_")


def image_in(folder: Path, name: str) -> Path:
    """Return the GeoTIFF of an image's name in a folder. Raises OutputError for a name that no file can have."""
    try:
        return folder / plain_name(f"{name}.tif")
    except ValueError as error:
        raise OutputError(f"{name!r} {error}", where=folder, cure="give the image's own name, NAME.tif") from error


def named_in(folder: Path, sources: list[tuple[str, Path]]) -> dict[str, Path]:
    """Return the source of each name; the folder is there then.

    Raises OutputError if it cannot be made, or two would have one name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cure = "give a folder for several images, and one that can be made"
        raise OutputError(f"is no folder ({error.strerror})", where=folder, cure=cure) from error
    named: dict[str, Path] = {}
    for name, path in sources:
        if name in named:
            raise OutputError(
                f"both {named[name]} and {path} would be written as {name}",
                where=folder,
                cure="give each once, or write one into another folder",
            )
        named[name] = path
    return named


def write_each(
    named: dict[str, Path], write: Callable[[str, Path, Comm], Path], folder: Path, what: str, comm: Comm
) -> list[Path]:
    """Write an image of each source and return their paths, in order. Collective.

    Where there are as many as ranks, each rank writes whole ones: nobody waits for anybody, and one that fails, in
    whatever way, does not keep the others from being done. Raises OutputError at the end then.
    """
    apart = len(named) >= comm.world_size
    own = SerialComm(comm.device) if apart else comm
    mine = list(named.items())[comm.rank :: comm.world_size] if apart else list(named.items())
    written: dict[str, Path] = {}
    failures: list[str] = []
    for name, path in mine:
        try:
            written[name] = write(name, path, own)
        except Exception as error:
            if not apart:
                raise  # other ranks are in the middle of it
            failures.append(told_of(error, path))
    told = comm.gather((written, failures))
    failed = [failure for _, of_rank in told for failure in of_rank]
    if failed:
        raise OutputError(
            f"{len(failed)} of {len(named)} {what} failed; the first: {failed[0]}",
            where=folder,
            cure="mend them, then run again: what is finished is kept",
        )
    found = {name: path for of_rank, _ in told for name, path in of_rank.items()}
    return [found[name] for name in named]
