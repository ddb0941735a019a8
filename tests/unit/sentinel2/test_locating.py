"""What a path means: a product has one name wherever it lies, and what is no product is told what it is."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from test_forms import zipped

from hpc_sr.errors import MetadataError, MissingFileError
from hpc_sr.sentinel2.safe import open_product

Products = dict[tuple[str, str], Path]


def _linked(product: Path, folder: Path) -> Path:
    (folder / "latest").symlink_to(product)
    return folder / "latest"


def _entered(product: Path, path: str) -> Path:
    os.chdir(product)
    return Path(path)


#: Paths that lead to one and the same product.
_WAYS: dict[str, Callable[[Path, Path], Path]] = {
    "its folder": lambda product, folder: product,
    "the working directory": lambda product, folder: _entered(product, "."),
    "its metadata from inside": lambda product, folder: _entered(product, "MTD_MSIL1C.xml"),
    "its manifest": lambda product, folder: product / "manifest.safe",
    "up and down": lambda product, folder: _entered(product / "GRANULE", ".."),
    "a link": _linked,
    "a renamed folder": lambda product, folder: Path(shutil.copytree(product, folder / "S2C_MSIL2A_other.SAFE")),
    "a folder without a suffix": lambda product, folder: Path(shutil.copytree(product, folder / "mine")),
    "a zip": lambda product, folder: zipped(product, folder / "download (1).zip"),
    "a zip of another suffix": lambda product, folder: zipped(product, folder / "download"),
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_product_has_one_name_however_it_is_reached(
    products: Products, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    source = products["L1C", "05.09"]
    monkeypatch.chdir(tmp_path)
    product = open_product(_WAYS[way](source, tmp_path))
    assert product.name == source.stem
    assert (product.tile, product.radiometric_offset["B02"]) == ("33UUB", -1000)


@pytest.mark.parametrize("uri", ["", "  ", "S2B_MSIL1C_x.safe", "http://example.com/x/S2B_MSIL1C_x.SAFE"])
def test_the_name_is_the_uri_or_the_granule_s_id(spoilt: Callable[..., Path], uri: str) -> None:
    path = spoilt()
    xml = path / "MTD_MSIL1C.xml"
    xml.write_text(xml.read_text().replace(f"<PRODUCT_URI>{path.name}<", f"<PRODUCT_URI>{uri}<"))
    expected = "S2B_MSIL1C_x" if uri.strip() else "S2B_OPER_MSI_L1C_TL_2APS_20230615T120000_A041000_T33UUB_N05.09"
    assert open_product(path).name == expected


def test_a_name_that_is_no_file_name_is_refused(spoilt: Callable[..., Path]) -> None:
    for uri in ("a b.SAFE", ".SAFE", "..", "x" * 300, "-rf"):
        path = spoilt()
        xml = path / "MTD_MSIL1C.xml"
        xml.write_text(xml.read_text().replace(f"<PRODUCT_URI>{path.name}<", f"<PRODUCT_URI>{uri}<"))
        if uri == ".SAFE":  # a suffix of nothing: no name
            assert "_TL_" in open_product(path).name
        else:
            with pytest.raises(MetadataError, match="no file name"):
                open_product(path)
        shutil.rmtree(path)


def _nested(product: Path, folder: Path) -> Path:
    shutil.copytree(product, folder / product.stem / product.name)
    return folder / product.stem


def _several(product: Path, folder: Path) -> Path:
    for name in ("a.SAFE", "b.SAFE", "c.SAFE"):
        shutil.copytree(product, folder / name)
    return folder


def _alone(product: Path, folder: Path) -> Path:
    return Path(shutil.copytree(next(product.glob("GRANULE/*")), folder / "granule"))


def _without_metadata(product: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(product, folder / product.name))
    (copy / "MTD_MSIL1C.xml").unlink()
    return copy


def _of_both_levels(product: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(product, folder / product.name))
    shutil.copy(copy / "MTD_MSIL1C.xml", copy / "MTD_MSIL2A.xml")
    return copy


def _bucket(*names: str) -> Callable[[Path, Path], Path]:
    def folder_of(product: Path, folder: Path) -> Path:
        for name in names:
            (folder / name).write_text("{}")
        (folder / "datastrip").mkdir()
        return folder

    return folder_of


def _made(make: Callable[[Path], object]) -> Callable[[Path, Path], Path]:
    def path(product: Path, folder: Path) -> Path:
        make(folder / "it")
        return folder / "it"

    return path


def _socket(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(str(path))


#: What lies at a path, the words about it, and the cure.
_STRANGERS: dict[str, tuple[Callable[[Path, Path], Path], str, str]] = {
    "the folder that unzippers make": (_nested, r"S2B_MSIL1C\S*\.SAFE lies in it", r"give that: .*\.SAFE"),
    "a folder of products": (_several, "3 products lie in it", r"one by one, as .*a\.SAFE"),
    "a granule": (lambda p, f: next(p.glob("GRANULE/*")), r"one granule of S2B_\S*\.SAFE", r"folder above: .*\.SAFE"),
    "a granule's metadata": (
        lambda p, f: next(p.glob("GRANULE/*/MTD_TL.xml")),
        r"one granule of S2B_\S*\.SAFE",
        r"folder above: .*\.SAFE",
    ),
    "a granule without its product": (_alone, "one granule without its product", "whole product's folder"),
    "a folder in a product": (lambda p, f: next(p.glob("GRANULE/*/IMG_DATA")), r"a part of S2B_\S*\.SAFE", "above"),
    "a band": (lambda p, f: next(p.glob("GRANULE/*/IMG_DATA/*_B02.jp2")), r"a part of S2B_\S*\.SAFE", "above"),
    "a product without metadata": (_without_metadata, "no MTD_MSIL1C.xml", "incomplete: fetch it again"),
    "two products in one folder": (_of_both_levels, "MTD_MSIL1C.xml and MTD_MSIL2A.xml", "file that is meant"),
    "a bucket's tile": (
        _bucket("tileInfo.json", "metadata.xml", "B01.jp2"),
        "Amazon's buckets without product_metadata.xml",
        r"as product_metadata.xml, or the \.SAFE",
    ),
    "a bucket's product": (
        _bucket("productInfo.json", "metadata.xml"),
        "Amazon's buckets without product_metadata.xml",
        "give a tile's folder with the metadata.xml of its product in it",
    ),
    "an empty folder": (_made(Path.mkdir), "holds no MTD_MSIL1C.xml", r"a .SAFE folder or a .zip"),
    "a text": (_made(lambda path: path.write_text("a" * 99)), "is no product", r"a .SAFE folder or a .zip"),
    "a pipe": (_made(os.mkfifo), "neither a folder nor a file", r"a .SAFE folder or a .zip"),
    "a socket": (_made(_socket), "neither a folder nor a file", r"a .SAFE folder or a .zip"),
    "an endless file": (lambda p, f: Path("/dev/zero"), "neither a folder nor a file", r"a .SAFE folder or a .zip"),
    "nothing": (_made(lambda path: None), "No such file", r"a .SAFE folder or a .zip"),
    "a link to itself": (_made(lambda path: path.symlink_to(path)), "Too many levels", "mend the link"),
    "a name beyond all lengths": (lambda p, f: Path("x" * 5000), "too long", "shorter path"),
    "a name with a zero": (lambda p, f: Path("a\0b"), "null byte", r"a .SAFE folder or a .zip"),
    "the network": (lambda p, f: Path("/vsicurl/http://127.0.0.1/x.SAFE"), "No such file", r"a .SAFE folder"),
}


@pytest.mark.parametrize("what", _STRANGERS)
def test_what_is_no_product_is_told_what_it_is_and_what_to_give(
    products: Products, tmp_path: Path, in_seconds: None, what: str
) -> None:
    make, said, cure = _STRANGERS[what]
    path = make(products["L1C", "05.09"], tmp_path)
    with pytest.raises(MissingFileError, match=said) as caught:
        open_product(path)
    assert re.search(cure, caught.value.cure or ""), caught.value.cure
    assert "again" not in str(caught.value) or what == "a product without metadata"
    assert len(str(caught.value)) < 2000 and str(caught.value).replace("\n", "").isprintable()
