"""The files of a product: a directory, or a zip that is read in place.

Names inside are posix paths below the product's root, found whatever their case. A zip is not trusted: names that
lead out of it and members that swell beyond what products hold are refused before anything is read.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpc_sr.errors import ArchiveError, MissingFileError

#: MTD_MSIL1C.xml of compact products; S2A_OPER_MTD_SAFL1C_*.xml of the older multi-granule format.
_PRODUCT_XML = re.compile(r"(mtd_msil(1c|2a)|s2[a-z]_(oper|user)_mtd_safl(1c|2a).*)\.xml", re.IGNORECASE)
#: The largest band of a product has 241 MB uncompressed; JPEG2000 hardly shrinks in a zip.
_LARGEST_MEMBER_BYTES = 2 << 30
_SUSPICIOUS_BYTES, _SUSPICIOUS_RATIO = 16 << 20, 100


@dataclass(frozen=True)
class ProductFiles:
    """Where a product's files are: `prefix` is its folder inside a zip; `names` maps lower case to the name."""

    path: Path
    prefix: str
    names: dict[str, str]
    sizes: dict[str, int]
    zipped: bool

    @property
    def product_name(self) -> str:
        """The name of the product's folder, without .SAFE; of the zip if that has no folder."""
        name = PurePosixPath(self.prefix).name or self.path.name.removesuffix(".zip")
        return re.sub(r"\.safe$", "", name, flags=re.IGNORECASE)

    def product_xml(self) -> str:
        """Return the name of the product's metadata file."""
        return next(name for name in self.names.values() if "/" not in name and _PRODUCT_XML.fullmatch(name))

    def has(self, name: str) -> bool:
        return name.lower() in self.names and (self.zipped or self.where(name).exists())

    def require(self, name: str) -> None:
        """Raise MissingFileError if the file is not there."""
        if not self.has(name):
            raise MissingFileError(
                "is missing", where=self.where(name), cure="the product is incomplete: fetch it again"
            )

    def size(self, name: str) -> int:
        """Return a file's bytes as they lie on disk, 0 if it is not there."""
        return self.sizes.get(name.lower(), 0)

    def where(self, name: str) -> Path:
        """Return what an error calls the file: its path, through the zip if it is in one."""
        return self.path / self.prefix / self.names.get(name.lower(), name)

    def read(self, name: str) -> bytes:
        """Return a file's content. Raises MissingFileError; ArchiveError for a member that is damaged."""
        self.require(name)
        try:
            if not self.zipped:
                return self.where(name).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.prefix + self.names[name.lower()])
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, zlib.error) as error:
            raise ArchiveError(
                f"is damaged ({error})", where=self.where(name), cure="fetch the archive again"
            ) from error
        except OSError as error:
            raise MissingFileError(
                f"cannot be read ({error})", where=self.where(name), cure="fetch the product again"
            ) from error


def find_files(path: str | Path) -> ProductFiles:
    """Return the files of the product at `path`: a directory, the metadata file in it, or a .zip.

    Raises MissingFileError if there is no product, ArchiveError if a zip cannot be trusted or holds several.
    """
    path = Path(path)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        return _in_zip(path)
    root = path.parent if _PRODUCT_XML.fullmatch(path.name) else path
    if not root.is_dir():
        raise MissingFileError("is no product", where=path, cure="give a .SAFE directory or a .zip of one")
    names, sizes = {}, {}
    for folder, _, files in os.walk(root):
        for file in files:
            name = (Path(folder) / file).relative_to(root).as_posix()
            names[name.lower()] = name
            sizes[name.lower()] = (Path(folder) / file).stat().st_size if (Path(folder) / file).exists() else 0
    if not any("/" not in name and _PRODUCT_XML.fullmatch(name) for name in names):
        raise MissingFileError("holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml", where=root, cure="fetch the product again")
    return ProductFiles(root, "", names, sizes, zipped=False)


def _in_zip(path: Path) -> ProductFiles:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ArchiveError(f"is no readable zip ({error})", where=path, cure="fetch the archive again") from error
    for member in members:
        _refuse_suspicious(path, member)
    roots = {m.filename[: -len(PurePosixPath(m.filename).name)] for m in members if _is_product_xml(m.filename)}
    if len(roots) != 1:
        raise ArchiveError(
            f"holds {len(roots)} products", where=path, cure="give a zip of one .SAFE product, as it was downloaded"
        )
    (prefix,) = roots
    inside = {m.filename.removeprefix(prefix): m for m in members if m.filename.startswith(prefix)}
    names = {name.lower(): name for name in inside}
    sizes = {name.lower(): member.compress_size for name, member in inside.items()}
    return ProductFiles(path, prefix, names, sizes, zipped=True)


def _is_product_xml(name: str) -> bool:
    return _PRODUCT_XML.fullmatch(PurePosixPath(name).name) is not None


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
