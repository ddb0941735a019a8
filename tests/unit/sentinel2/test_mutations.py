"""Products that are spoilt at random: each is read, or refused with an error that says where and what to do.

Whatever happens to a product, nothing else may come of it: no other exception, no waiting for ever. A seed is a
product; more of them:

    MUTATIONS=20000 pytest tests/unit/sentinel2/test_mutations.py
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.synthetic import crop, landscape, write_product
from hpc_sr.errors import HpcSrError
from hpc_sr.sentinel2.marks import band_marks, scene_marks
from hpc_sr.sentinel2.safe import BandReader, open_products

_COUNT = int(os.environ.get("MUTATIONS", "300"))
_AT_ONCE = 50
_REASONS = (
    "nodata", "saturated", "lost", "degraded", "defective", "cloud", "cirrus", "shadow", "snow", "detector_seam",
)  # fmt: skip
_NUMBERS = ("0", "-1", "1e20", "-1e20", "nan", "inf", "-inf", "0.5", "2147483648", "99999999999999999999", "", "x", "٣")
Draw = random.Random


def _text(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "surrogateescape")


def _put(file: Path, text: str) -> None:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))


def _drop_element(file: Path, draw: Draw) -> None:
    found = list(re.finditer(r"<(\w+)[^<>]*>[^<]*</\1>|<\w+[^<>]*/>", _text(file)))
    if found:
        start, end = draw.choice(found).span()
        _put(file, _text(file)[:start] + _text(file)[end:])


def _drop_parent(file: Path, draw: Draw) -> None:
    tag = draw.choice(re.findall(r"<([\w:]+)[\s>]", _text(file)) or ["none"])
    _put(file, re.sub(rf"<{tag}[\s>].*?</{tag}>", "", _text(file), count=1, flags=re.DOTALL))


def _double_element(file: Path, draw: Draw) -> None:
    found = list(re.finditer(r"<(\w+)[^<>]*>[^<]*</\1>", _text(file)))
    if found:
        one, other = draw.choice(found), draw.choice(found)
        _put(file, _text(file)[: other.start()] + one.group() + _text(file)[other.start() :])


def _change_text(file: Path, draw: Draw) -> None:
    found = [m for m in re.finditer(r">([^<>]*[^<>\s][^<>]*)<", _text(file))]
    if found:
        start, end = draw.choice(found).span(1)
        new = draw.choice([*_NUMBERS, draw.choice(found).group(1), "../../etc/passwd", "a" * 5000, "\0", "&#0;", " "])
        _put(file, _text(file)[:start] + new + _text(file)[end:])


def _change_attribute(file: Path, draw: Draw) -> None:
    found = list(re.finditer(r'="([^"]*)"', _text(file)))
    if found:
        start, end = draw.choice(found).span(1)
        _put(file, _text(file)[:start] + draw.choice([*_NUMBERS, draw.choice(found).group(1)]) + _text(file)[end:])


def _rename_tag(file: Path, draw: Draw) -> None:
    tag = draw.choice(re.findall(r"<(\w+)", _text(file)) or ["none"])
    _put(file, re.sub(rf"(</?){tag}\b", rf"\1{draw.choice(['OTHER', f'L2A_{tag}', tag.lower()])}", _text(file)))


def _truncate(file: Path, draw: Draw) -> None:
    os.truncate(file, draw.randint(0, file.stat().st_size))


def _flip(file: Path, draw: Draw) -> None:
    content = bytearray(file.read_bytes())
    # Headers are short beside pixels, and hold what is believed.
    reach = draw.choice([min(200, len(content)), len(content)])
    for _ in range(draw.choice([1, 1, 1, 5, 50]) if reach else 0):
        content[draw.randrange(reach)] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def _overwrite(file: Path, draw: Draw) -> None:
    content = bytearray(file.read_bytes())
    at = draw.randrange(len(content) + 1)
    content[at : at + draw.randint(1, 64)] = draw.randbytes(draw.randint(0, 64))
    file.write_bytes(content)


def _blank(file: Path, draw: Draw) -> None:
    file.write_bytes(draw.choice([b"", bytes(100), b"\xff\xd8\xff", b"II*\0", b"PK\x03\x04", file.read_bytes() * 2]))


def _swap(file: Path, draw: Draw) -> None:
    product = next(folder for folder in file.parents if folder.suffix == ".SAFE")
    other = draw.choice(sorted(path for path in product.rglob("*") if path.is_file()))
    file.write_bytes(other.read_bytes())


def _instead(make: Callable[[Path], object]) -> Callable[[Path, Draw], None]:
    def put(file: Path, _: Draw) -> None:
        file.unlink()
        make(file)

    return put


_OF_XML = (_drop_element, _drop_parent, _double_element, _change_text, _change_text, _change_attribute, _rename_tag)
_OF_ANY = (
    _truncate,
    _flip,
    _flip,
    _overwrite,
    _blank,
    _swap,
    _instead(lambda file: None),
    _instead(Path.mkdir),
    _instead(os.mkfifo),
    _instead(lambda file: file.symlink_to(file.name)),
    _instead(lambda file: file.symlink_to("/dev/zero")),
    _instead(lambda file: file.symlink_to("/proc/self/mem")),
    lambda file, _: file.chmod(0),
)


def _mutate(product: Path, draw: Draw) -> None:
    """Spoil a file or a few; metadata as often as everything else together."""
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        files = sorted(path for path in product.rglob("*") if path.is_file() and path.name != "manifest.safe")
        metadata = [path for path in files if path.name.startswith("MTD_")]
        file = draw.choice(draw.choice([metadata, files]) or files)
        if file.stat().st_size > 1 << 20 or not file.resolve().is_relative_to(product.resolve()):
            continue  # spoilt already
        draw.choice(_OF_XML if file.suffix in (".xml", ".gml") and draw.random() < 0.7 else _OF_ANY)(file, draw)


def _zipped(product: Path, archive: Path, draw: Draw) -> Path:
    with zipfile.ZipFile(archive, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
        for path in sorted(product.rglob("*")):
            if path.is_file() and path.resolve().is_relative_to(product.resolve()):
                file.write(path, path.relative_to(product.parent))
    if draw.random() < 0.7:
        draw.choice([_flip, _truncate, _overwrite])(archive, draw)
    return archive


def _read_everything(path: Path) -> None:
    for product in open_products(path):
        with BandReader(product, threads=1) as reader:
            for name in product.files:
                reader.reflectance(name)
                band_marks(reader, name, _REASONS)
            scene_marks(reader, _REASONS)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Products of 48 px: of one kind of mask each, and of both levels."""
    folder, scene = tmp_path_factory.mktemp("sound"), crop(landscape(60, 3), 48)
    forms = (("L1C", "05.09"), ("L1C", "02.08"), ("L2A", "05.09"), ("L2A", "02.05"))
    found = [write_product(folder, scene, level=level, baseline=baseline) for level, baseline in forms]
    for product in found:
        _read_everything(product)
    return found


@pytest.mark.parametrize("start", range(0, _COUNT, _AT_ONCE))
def test_whatever_happens_to_a_product_it_is_read_or_refused_by_name(
    sound: list[Path], tmp_path: Path, in_seconds: None, start: int
) -> None:
    for seed in range(start, min(start + _AT_ONCE, _COUNT)):
        signal.alarm(60)  # a product takes a fraction of a second; only a wait for ever is meant
        draw = random.Random(seed)
        product = Path(shutil.copytree(draw.choice(sound), tmp_path / str(seed) / "p.SAFE"))
        _mutate(product, draw)
        path = product if draw.random() < 0.8 else _zipped(product, product.with_suffix(".zip"), draw)
        try:
            _read_everything(path)
        except HpcSrError as error:
            assert error.where and error.cure, f"seed {seed}: {error!r}"
            assert str(error).isprintable() or "\n" in str(error), f"seed {seed}"
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        shutil.rmtree(product.parent)
