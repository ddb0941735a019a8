"""Zips with one thing spoilt each: none is believed, unpacks beyond a product's size, or reaches a file outside."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpc_sr.errors import ArchiveError, HpcSrError, MetadataError, MissingFileError, RasterError
from hpc_sr.sentinel2.pairs import Pair
from hpc_sr.sentinel2.safe import open_products

Products = dict[tuple[str, str], Path]
Use = Callable[[Path], list[Pair]]
Members = dict[str, bytes]


def _members(product: Path) -> Members:
    """Return a product's files by their names in a zip."""
    return {
        path.relative_to(product.parent).as_posix(): path.read_bytes()
        for path in sorted(product.rglob("*"))
        if path.is_file()
    }


def _zip(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def _root(members: Members) -> str:
    return next(iter(members)).split("/")[0]


def _with(name: str, content: bytes = b"x") -> Callable[[Members], bytes]:
    return lambda members: _zip({**members, name: content})


def _without(ending: str) -> Callable[[Members], bytes]:
    return lambda members: _zip({name: content for name, content in members.items() if not name.endswith(ending)})


def _replaced(ending: str, change: Callable[[bytes], bytes]) -> Callable[[Members], bytes]:
    """Change the content of members before they are zipped."""
    return lambda members: _zip(
        {name: change(content) if name.endswith(ending) else content for name, content in members.items()}
    )


def _record(ending: str, offset: int, value: bytes) -> Callable[[Members], bytes]:
    """Overwrite bytes of a member's record in the zip's directory."""

    def spoil(members: Members) -> bytes:
        whole = bytearray(_zip(members))
        name = next(n for n in members if n.endswith(ending)).encode()
        start = whole.rindex(name) - 46
        assert whole[start : start + 4] == b"PK\x01\x02"
        whole[start + offset : start + offset + len(value)] = value
        return bytes(whole)

    return spoil


def _damaged_member(ending: str, compression: int) -> Callable[[Members], bytes]:
    """Change bytes within a member's packed content, whose checksum stays."""

    def spoil(members: Members) -> bytes:
        whole = bytearray(_zip(members, compression))
        with zipfile.ZipFile(io.BytesIO(bytes(whole))) as archive:
            member = next(m for m in archive.infolist() if m.filename.endswith(ending))
        start = member.header_offset + 30 + len(member.filename) + member.compress_size // 2
        whole[start : start + 16] = bytes(byte ^ 0x5A for byte in whole[start : start + 16])
        return bytes(whole)

    return spoil


def _two_products(members: Members) -> bytes:
    root = _root(members)
    return _zip(members | {name.replace(root, "S2A_OTHER.SAFE", 1): content for name, content in members.items()})


#: What is done to the members of a good product, and what is said of the zip.
CASES: dict[str, tuple[Callable[[Members], bytes], type[HpcSrError], str]] = {
    "empty": (lambda members: b"", ArchiveError, "no readable zip"),
    "text": (lambda members: b"<html>Please log in</html>", ArchiveError, "no readable zip"),
    "only zeros": (lambda members: bytes(10_000), ArchiveError, "no readable zip"),
    "a tar by its bytes": (lambda members: b"x.SAFE".ljust(257, b"\0") + b"ustar", ArchiveError, "no readable zip"),
    "cut at a half": (lambda m: (whole := _zip(m))[: len(whole) // 2], ArchiveError, "no readable zip"),
    "cut by 10 bytes": (lambda members: _zip(members)[:-10], ArchiveError, "no readable zip"),
    "zeros at its end": (lambda m: (z := _zip(m))[: len(z) // 2].ljust(len(z), b"\0"), ArchiveError, "readable zip"),
    "without its beginning": (lambda m: _zip(m)[-2000:], ArchiveError, "zip|damaged|holds"),
    "of no file": (lambda members: _zip({}), ArchiveError, "holds 0 products"),
    "of another kind": (lambda members: _zip({"photos/a.txt": b"a"}), ArchiveError, "holds 0 products"),
    "of a zip": (lambda members: _zip({"product.zip": _zip(members)}), ArchiveError, "holds 0 products"),
    "of two products": (_two_products, ArchiveError, "holds 2 products"),
    "with an absolute name": (_with("/etc/cron.d/x"), ArchiveError, "/etc/cron.d/x"),
    "with a name that leads up": (_with("S2A.SAFE/../../x"), ArchiveError, r"\.\./\.\./x"),
    "with a Windows name": (_with("S2A.SAFE\\..\\x"), ArchiveError, "x"),
    "with a drive": (_with("C:/x"), ArchiveError, "C:/x"),
    "with a member that swells": (_with("x.SAFE/zeros.jp2", bytes(40 << 20)), ArchiveError, "would unpack"),
    "that says a member is huge": (
        _record("_B02.jp2", 24, struct.pack("<I", 0xFFFF_FFF0)),
        ArchiveError,
        "would unpack",
    ),
    "of an unknown method": (_record("MTD_MSIL1C.xml", 10, struct.pack("<H", 96)), ArchiveError, "damaged"),
    "under a password": (_record("MTD_MSIL1C.xml", 8, struct.pack("<H", 1)), ArchiveError, "damaged"),
    "whose metadata are damaged": (_damaged_member("MTD_MSIL1C.xml", zipfile.ZIP_DEFLATED), ArchiveError, "damaged"),
    "whose granule's metadata fail their checksum": (
        _damaged_member("MTD_TL.xml", zipfile.ZIP_STORED),
        ArchiveError,
        "damaged",
    ),
    "whose band fails its checksum": (_damaged_member("_B05.jp2", zipfile.ZIP_STORED), ArchiveError, "damaged"),
    "whose mask is damaged": (_damaged_member("MSK_DETFOO_B05.jp2", zipfile.ZIP_DEFLATED), ArchiveError, "damaged"),
    "without granule metadata": (_without("MTD_TL.xml"), MissingFileError, "MTD_TL.xml"),
    "without a band": (_without("T101031_B11.jp2"), MissingFileError, "B11.jp2"),
    "without a mask": (_without("MSK_QUALIT_B03.jp2"), MissingFileError, "MSK_QUALIT_B03"),
    "with empty metadata": (_replaced("MTD_MSIL1C.xml", lambda c: b""), MetadataError, "parsed"),
    "with a document type": (
        _replaced("MTD_TL.xml", lambda c: c.replace(b"<n1:Level", b"<!DOCTYPE a><n1:Level", 1)),
        MetadataError,
        "type",
    ),
    "with an empty band": (_replaced("T101031_B02.jp2", lambda c: b""), RasterError, "no readable raster"),
    "with text for a band": (_replaced("T101031_B02.jp2", lambda c: b"404"), RasterError, "no readable raster"),
    "with a cut band": (_replaced("T101031_B01.jp2", lambda c: c[: len(c) // 2]), RasterError, "before its end"),
    "with an empty mask": (_replaced("MSK_CLASSI_B00.jp2", lambda c: b""), RasterError, "no readable raster"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", CASES)
def test_a_broken_zip_is_refused_with_its_own_error(products: Products, tmp_path: Path, use: Use, name: str) -> None:
    spoil, error, said = CASES[name]
    archive = tmp_path / "product.zip"
    archive.write_bytes(spoil(_members(products["L1C", "05.09"])))
    with pytest.raises(error, match=f"(?s){said}") as caught:
        use(archive)
    assert type(caught.value) is error
    assert str(caught.value.where).startswith(str(archive)) and caught.value.cure
    assert [path.name for path in tmp_path.iterdir()] == ["product.zip"]


def test_a_bomb_is_refused_before_it_unpacks(products: Products, tmp_path: Path) -> None:
    archive = tmp_path / "product.zip"
    members = _members(products["L1C", "05.09"])
    archive.write_bytes(_zip({**members, f"{_root(members)}/MTD_DS.xml": bytes(300 << 20)}))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="would unpack"):
        open_products(archive)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_names_that_lead_out_of_a_directory_are_not_followed(products: Products, tmp_path: Path, use: Use) -> None:
    """The file is there, and a good one: it is not the product's."""
    members = _members(products["L1C", "05.09"])
    band = next(name for name in members if name.endswith("T101031_B02.jp2"))
    outside = tmp_path / "outside_B02.jp2"
    outside.write_bytes(members[band])
    granule = band.split("/")[2]
    for image in (f"GRANULE/{granule}/../../../outside_B02", str(outside.with_suffix(""))):
        root = tmp_path / f"{len(image)}.SAFE"
        for name, content in members.items():
            file = root / name.split("/", 1)[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("MTD_MSIL1C.xml"):
                content = content.replace(band.split("/", 1)[1].removesuffix(".jp2").encode(), image.encode())
                assert image.encode() in content
            file.write_bytes(content)
        with pytest.raises(HpcSrError, match="B02"):
            use(root)


@pytest.mark.parametrize("prefix", ["", "folder/", "a/b/c/"])
def test_a_good_zip_is_used_however_deep_the_product_lies(
    products: Products, tmp_path: Path, use: Use, prefix: str
) -> None:
    members = _members(products["L1C", "05.09"])
    root = _root(members)
    archive = tmp_path / "product.zip"
    inside = {f"{prefix}{name if prefix else name.removeprefix(f'{root}/')}": c for name, c in members.items()}
    archive.write_bytes(_zip(inside | {"__MACOSX/._x": b"", "readme.txt": b"hello"}))
    found, expected = use(archive), use(products["L1C", "05.09"])
    np.testing.assert_array_equal(found[0].layers["target"], expected[0].layers["target"])
