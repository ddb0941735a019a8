"""The files of a product: a directory, or a zip that is read in place.

Names inside are posix paths below the product's root, found whatever their case. A zip is not trusted: names that
lead out of it and members that swell beyond what products hold are refused before anything is read. Whatever goes
wrong outside becomes a ProductError that names the file.
"""

from __future__ import annotations

import errno
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpc_sr.errors import ArchiveError, MetadataError, MissingFileError, ProductError
from hpc_sr.sentinel2.locating import METADATA_FILE, product_metadata, root_of, stranger

#: The largest band of a product has 241 MB uncompressed; JPEG2000 hardly shrinks in a zip.
_LARGEST_MEMBER_BYTES = 2 << 30
_SUSPICIOUS_BYTES, _SUSPICIOUS_RATIO = 16 << 20, 100
#: What reading broken things raises in the libraries that read them. Anything else is a mistake of this package.
UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
#: A path of more characters is cut in messages; systems take 4096 at most.
_LONG_PATH = 1000
_CURES = {
    errno.EACCES: "make it readable for yourself",
    errno.EPERM: "make it readable for yourself",
    errno.EIO: "the disk or the network behind it fails: try again, then fetch it again",
    errno.ESTALE: "the disk or the network behind it fails: try again",
    errno.ELOOP: "mend the link",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOSPC: "set TMPDIR to a folder with room",
}


@contextmanager
def as_product_error(kind: type[ProductError], problem: str, where: Path, cure: str) -> Iterator[None]:
    """Turn what libraries and the system raise inside into an error of this package, with the cure that fits."""
    try:
        yield
    except UNREADABLE as error:
        fits = _CURES.get(error.errno or 0, cure) if isinstance(error, OSError) else cure
        raise kind(f"{problem} ({_said(error)})", where=where, cure=fits) from error


@dataclass(frozen=True)
class ProductFiles:
    """Where a product's files are: `prefix` is its folder inside a zip; `names` maps lower case to the name.

    `xml` is the name of the product's metadata file.
    """

    path: Path
    prefix: str
    names: dict[str, str]
    sizes: dict[str, int]
    zipped: bool
    xml: str = ""

    def has(self, name: str) -> bool:
        """Return whether there is such a file. One that cannot be read is there: reading it says what is wrong."""
        if self.zipped:
            return name.lower() in self.names
        try:
            return not stat.S_ISDIR(self.where(name).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError):
            return True

    def require(self, name: str) -> None:
        """Raise MissingFileError if the file is not there, or is none: a pipe would wait for ever."""
        where, known = self.where(name), name.lower() in self.names
        if not self.has(name):
            raise MissingFileError("is missing", where=where, cure="the product is incomplete: fetch it again")
        if self.zipped:
            return
        with as_product_error(MissingFileError, "cannot be read", where, "fetch the product again"):
            mode = where.stat().st_mode
        if not stat.S_ISREG(mode):
            raise MissingFileError("is no plain file", where=where, cure="put the file itself there")
        if not known:
            raise MissingFileError(
                "lies in a folder that is a link, or may not be listed", where=where, cure="put the folder itself there"
            )

    def size(self, name: str) -> int:
        """Return a file's bytes as they lie on disk, 0 if it is not there."""
        return self.sizes.get(name.lower(), 0)

    def where(self, name: str) -> Path:
        """Return what an error calls the file: its path, through the zip if it is in one."""
        return self.path / self.prefix / self.names.get(name.lower(), name)

    def read(self, name: str, at_most: int = _LARGEST_MEMBER_BYTES) -> bytes:
        """Return a file's content.

        Raises MissingFileError; ArchiveError for a member that is damaged; MetadataError beyond `at_most` bytes,
        without reading on.
        """
        self.require(name)
        where = self.where(name)
        if self.zipped:
            with (
                as_product_error(ArchiveError, "is damaged", where, "fetch the archive again"),
                zipfile.ZipFile(self.path) as archive,
                archive.open(self.prefix + self.names[name.lower()]) as stream,
            ):
                content = stream.read(at_most + 1)
        else:
            with (
                as_product_error(MissingFileError, "cannot be read", where, "fetch the product again"),
                where.open("rb") as stream,
            ):
                content = stream.read(at_most + 1)
        if len(content) > at_most:
            raise MetadataError(
                f"has more than {at_most >> 20} MiB", where=where, cure="no product's has: fetch the product again"
            )
        return content


def find_files(path: str | Path) -> ProductFiles:
    """Return the files of the product at `path`: a directory, the metadata file in it, or a .zip.

    Raises MissingFileError if there is no product, saying what lies there instead; ArchiveError if a zip cannot be
    trusted or holds several.
    """
    path = Path(path)
    where = path if str(path).isprintable() and len(str(path)) < _LONG_PATH else Path(f"{str(path)[:99]!r}...")
    with as_product_error(MissingFileError, "cannot be opened", where, "give a .SAFE folder or a .zip of one"):
        is_file = stat.S_ISREG(path.stat().st_mode)
        if is_file and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
            return _in_zip(path)
        root = root_of(path)
        if root is None:
            raise stranger(path)
        given = path.name if METADATA_FILE.fullmatch(path.name) and not path.is_dir() else None
        return _in_folder(root, given or product_metadata(root))


def _in_folder(root: Path, xml: str) -> ProductFiles:
    names, sizes = {}, {}
    for folder, _, files in os.walk(root):
        for file in files:
            path = Path(folder) / file
            name = path.relative_to(root).as_posix()
            names[name.lower()] = name
            sizes[name.lower()] = _size(path)
    return ProductFiles(root, "", names, sizes, zipped=False, xml=xml)


def _size(path: Path) -> int:
    """Return a file's bytes, 0 if it cannot be told: whoever needs the file is told why."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _in_zip(path: Path) -> ProductFiles:
    with (
        as_product_error(ArchiveError, "is no readable zip", path, "fetch the archive again"),
        zipfile.ZipFile(path) as archive,
    ):
        members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        _refuse_suspicious(path, member)
    found = [m.filename for m in members if METADATA_FILE.fullmatch(PurePosixPath(m.filename).name)]
    roots = {name[: -len(PurePosixPath(name).name)] for name in found}
    if len(roots) != 1 or len(found) != 1:
        raise ArchiveError(
            f"holds {len(found)} products", where=path, cure="give a zip of one .SAFE product, as it was downloaded"
        )
    (prefix,) = roots
    inside = {m.filename.removeprefix(prefix): m for m in members if m.filename.startswith(prefix)}
    names = {name.lower(): name for name in inside}
    sizes = {name.lower(): member.compress_size for name, member in inside.items()}
    return ProductFiles(path, prefix, names, sizes, zipped=True, xml=found[0].removeprefix(prefix))


def _refuse_suspicious(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
        raise ArchiveError(f"holds {name!r}, a path out of the archive", where=path, cure="do not use this archive")
    swollen = member.file_size > _SUSPICIOUS_BYTES and member.file_size > _SUSPICIOUS_RATIO * member.compress_size
    if member.file_size > _LARGEST_MEMBER_BYTES or swollen:
        raise ArchiveError(
            f"{name} would unpack from {member.compress_size} to {member.file_size} bytes",
            where=path,
            cure="no Sentinel-2 product does: do not use this archive",
        )


def _said(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
