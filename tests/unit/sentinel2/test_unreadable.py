"""Files that the system will not give, that never end, or that promise more than they hold: refused, by name."""

from __future__ import annotations

import os
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rasterio
from spoiling import Spoil, file_of

from hpc_sr.errors import HpcSrError, MetadataError, MissingFileError, RasterError
from hpc_sr.sentinel2.pairs import Pair
from hpc_sr.sentinel2.safe import BandReader, open_product

Products = dict[tuple[str, str], Path]
Use = Callable[[Path], list[Pair]]


def _replaced(make: Callable[[Path], object]) -> Spoil:
    def spoil(file: Path) -> None:
        file.unlink()
        make(file)

    return spoil


def _of_size(megabytes: int) -> Spoil:
    """A file of zeros that takes no room on the disk."""
    return lambda file: os.truncate(file, megabytes << 20)


#: What stands where a file should be: the error and its cure.
_INSTEAD: dict[str, tuple[Spoil, type[HpcSrError], str]] = {
    "a pipe": (_replaced(os.mkfifo), MissingFileError, "no plain file"),
    "a link to what never ends": (_replaced(lambda f: f.symlink_to("/dev/zero")), MissingFileError, "no plain file"),
    "a link to itself": (_replaced(lambda f: f.symlink_to(f.name)), MissingFileError, "(?s)Too many.*mend the link"),
    # Its first byte cannot be read: what a disk or a network file system that fails looks like.
    "a disk that fails": (_replaced(lambda f: f.symlink_to("/proc/self/mem")), HpcSrError, "(?s)/output.*try again"),
}
_FILES = ("MTD_MSIL1C.xml", "MTD_TL.xml", "*_B02.jp2", "*_B11.jp2", "MSK_QUALIT_B05.jp2", "MSK_CLASSI_B00.jp2")


@pytest.mark.parametrize("file", _FILES)
@pytest.mark.parametrize("what", _INSTEAD)
def test_what_is_no_file_is_refused_and_waited_for_by_nobody(
    products: Products, tmp_path: Path, use: Use, what: str, file: str
) -> None:
    spoil, error, said = _INSTEAD[what]
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    spoilt = file_of(product, file)
    spoil(spoilt)
    with pytest.raises(error, match=said) as caught:
        use(product)
    assert caught.value.where == spoilt


@contextmanager
def _as_somebody_else() -> Iterator[None]:
    """Root may read everything: be nobody meanwhile."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("file", _FILES)
def test_what_may_not_be_read_is_refused_with_the_cure_that_fits(products: Products, use: Use, file: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is for its owner alone
        Path(folder).chmod(0o755)
        product = Path(shutil.copytree(products["L1C", "05.09"], f"{folder}/p.SAFE"))
        closed = file_of(product, file)
        closed.chmod(0)
        with _as_somebody_else(), pytest.raises(HpcSrError, match="Permission denied") as caught:
            use(product)
        assert caught.value.where == closed and caught.value.cure == "make it readable for yourself"
        closed.chmod(0o644)
        for mode in (0, 0o311):  # nothing may be found in it; what one knows may be found, but not listed
            closed.parent.chmod(mode)
            with _as_somebody_else(), pytest.raises(HpcSrError) as caught:
                use(product)
            assert caught.value.cure in ("make it readable for yourself", "put the folder itself there")
            # Of a folder's files it is chance which is wanted first.
            assert caught.value.where in (closed.parent, *closed.parent.iterdir())
        closed.parent.chmod(0o755)


def test_folders_that_are_links_are_not_taken_for_files_that_are_missing(
    products: Products, tmp_path: Path, use: Use
) -> None:
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    (images,) = product.glob("GRANULE/*/IMG_DATA")
    images.rename(tmp_path / "elsewhere")
    images.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MissingFileError, match="(?s)_B..*lies in a folder that is a link.*put the folder itself there"):
        use(product)


@pytest.mark.parametrize("file", ["MTD_MSIL1C.xml", "MTD_TL.xml"])
def test_metadata_beyond_all_sizes_are_refused_before_they_are_parsed(
    products: Products, tmp_path: Path, use: Use, file: str
) -> None:
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    _of_size(4000)(file_of(product, file))
    tracemalloc.start()
    with pytest.raises(MetadataError, match="more than 16 MiB"):
        use(product)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def _vrt(file: Path, source: Path) -> None:
    with rasterio.open(source) as dataset:
        height, width = dataset.shape
    file.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><VRTRasterBand dataType="UInt16" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


@pytest.mark.parametrize("file", ["*_B02.jp2", "*_B11.jp2"])
def test_a_band_that_leads_elsewhere_is_not_followed(products: Products, tmp_path: Path, file: str) -> None:
    """A VRT may name any file, and any address."""
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    band = file_of(product, file)
    outside = band.rename(tmp_path / "outside.jp2")
    _vrt(band, outside)
    name = file[2:5]
    with BandReader(open_product(product)) as reader, pytest.raises(RasterError, match="neither JPEG2000 nor GeoTIFF"):
        reader.dn(name)
    band.unlink()
    band.symlink_to(outside)  # an archive that is put together of links is a product
    with BandReader(open_product(product)) as reader, BandReader(open_product(products["L1C", "05.09"])) as other:
        assert (reader.dn(name) == other.dn(name)).all()


def _declaring(width: int, height: int, tile_width: int, tile_height: int) -> Spoil:
    """Change what a JPEG2000 header says of its image and its tiles."""

    def spoil(file: Path) -> None:
        content = bytearray(file.read_bytes())
        at = content.index(b"\xff\x51") + 6  # marker, length and capabilities come first
        for place, value in ((0, width), (4, height), (16, tile_width), (20, tile_height)):
            content[at + place : at + place + 4] = value.to_bytes(4, "big")
        file.write_bytes(content)

    return spoil


def _segments(file: Path) -> None:
    """A main header of a million comments."""
    content = file.read_bytes()
    at = content.index(b"\xff\x52")
    file.write_bytes(content[:at] + b"\xff\x64\x00\x02" * 1_000_000 + content[at:])


def _boxes(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:12] + b"\x00\x00\x00\x08free" * 1_000_000 + content[12:])


@pytest.mark.parametrize(
    "spoil",
    [
        _declaring(252, 186, 1, 1),
        _declaring(2**31, 1, 1, 1),
        _declaring(2**31, 2**31, 1, 1),
        _declaring(2**32 - 1, 2**32 - 1, 2**16, 2**16),
        _declaring(2**31, 2**31, 2**31, 2**31),
        _segments,
        _boxes,
    ],
    ids=["a tile a pixel", "2^31 tiles", "2^62 tiles", "2^32 tiles", "one huge tile", "comments", "boxes"],
)
def test_a_header_that_promises_more_than_its_file_holds_costs_nothing(
    products: Products, tmp_path: Path, in_seconds: None, spoil: Spoil
) -> None:
    product = Path(shutil.copytree(products["L1C", "05.09"], tmp_path / "p.SAFE"))
    spoil(file_of(product, "*_B02.jp2"))
    opened = open_product(product)
    tracemalloc.start()
    with BandReader(opened) as reader, pytest.raises(RasterError, match="before its end|the metadata say"):
        reader.dn("B02")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
