"""Which products a recipe means: each acquisition once, each product under one name, the unusable left out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_prep.build import prepare
from data_prep.catalog import find_paths, product_sources
from data_prep.images import image_sources
from data_prep.options import ImageOptions, PrepareOptions
from data_prep.synthetic import Scene, landscape, write_product
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.errors import LeakageError, MissingFileError, RecipeError, RepeatedError
from hpc_sr.tasks import S2X, TASKS


@pytest.fixture(scope="module")
def scene() -> Scene:
    return landscape(120, 7)


def _options(*products: Path | str, **changes: Any) -> PrepareOptions:
    given = {"products": [str(p) for p in products], "degradation": "wald", "patch_px": 8, "stride_px": 8}
    return PrepareOptions.model_validate(given | changes)


def _names(options: PrepareOptions) -> list[str]:
    return [source.name for source in product_sources(options, S2X)[0]]


def _sensed(product: Path, time: str) -> Path:
    (xml,) = product.glob("GRANULE/*/MTD_TL.xml")
    xml.write_text(re.sub(r"(<SENSING_TIME[^>]*>)[^<]*", rf"\g<1>{time}", xml.read_text()))
    return product


def _processed_again(product: Path, folder: Path, made: str) -> Path:
    """Return a copy with another time of processing at the end of its name."""
    name = product.name.replace("T120000.SAFE", f"{made}.SAFE")
    copy = Path(shutil.copytree(product, folder / name))
    xml = copy / "MTD_MSIL1C.xml"
    xml.write_text(xml.read_text().replace(f"<PRODUCT_URI>{product.name}", f"<PRODUCT_URI>{name}"))
    return copy


def test_an_acquisition_under_two_baselines_is_said_and_the_newer_is_taken(scene: Scene, tmp_path: Path) -> None:
    older, newer = (write_product(tmp_path, scene, baseline=baseline) for baseline in ("04.00", "05.09"))
    _sensed(older, "2023-06-15T10:10:31.2Z")  # processed anew, the same lines begin seconds apart
    others = [
        write_product(tmp_path, scene, baseline="04.00", satellite="S2B"),
        write_product(tmp_path, scene, baseline="04.00", tile="32TQM"),
        write_product(tmp_path, scene, baseline="02.08", date="2023-06-16"),
    ]
    options = _options(f"{tmp_path}/*.SAFE")
    sources, skipped = product_sources(options, S2X)
    assert {source.name for source in sources} == {newer.stem, *(path.stem for path in others)}
    (line,) = skipped
    assert (line["product"], line["error"]) == (older.stem, "RepeatedError")
    assert newer.stem in line["message"] and "04.00" in line["message"] and "05.09" in line["message"]
    with pytest.raises(RepeatedError, match=newer.stem):
        product_sources(options.model_copy(update={"bad_products": "fail"}), S2X)
    images, left_out = image_sources(ImageOptions(products=(f"{tmp_path}/*.SAFE",)), TASKS["sisr_x4"])
    assert {source.name for source in images} == {source.name for source in sources}
    assert [line["product"] for line in left_out] == [older.stem]
    assert _names(_options(older)) == [older.stem], "who wants the older one leaves the newer one out"


@pytest.mark.parametrize(
    ("baselines", "times", "kept"),
    [
        (("04.00", "05.09"), ("10:00:00Z", "10:09:00+00:00"), 1),
        (("04.00", "05.09"), ("10:00:00Z", "11:41:00Z"), 2),
        (("05.09", "05.09"), ("10:00:00.123Z", "10:00:00.123Z"), 1),
        (("05.09", "05.09"), ("10:00:00Z", "10:00:11Z"), 2),
    ],
    ids=["one overpass", "the next orbit", "processed twice", "two parts of a datatake"],
)
def test_what_is_one_acquisition_and_what_is_two(
    scene: Scene, tmp_path: Path, baselines: tuple[str, str], times: tuple[str, str], kept: int
) -> None:
    first = _sensed(write_product(tmp_path, scene, baseline=baselines[0]), f"2023-06-15T{times[0]}")
    if baselines[0] == baselines[1]:
        second = _processed_again(first, tmp_path, "T130000")
    else:
        second = write_product(tmp_path, scene, baseline=baselines[1])
    _sensed(second, f"2023-06-15T{times[1]}")
    assert _names(_options(first, second)) == [first.stem, second.stem][-kept:]
    assert _names(_options(second, first)) == [first.stem, second.stem][-kept:]


@pytest.mark.parametrize("how", ["copy", "link", "metadata"])
def test_a_product_under_two_names_is_one(scene: Scene, tmp_path: Path, how: str) -> None:
    product = write_product(tmp_path, scene)
    other = tmp_path / "held_out.SAFE"
    if how == "copy":
        shutil.copytree(product, other)
    elif how == "link":
        other.symlink_to(product)
    else:
        other = product / "MTD_MSIL1C.xml"
    with pytest.raises(RecipeError, match="is given twice") as caught:
        product_sources(_options(product, other), S2X)
    assert str(product) in str(caught.value) and product.stem in str(caught.value)


def test_a_copy_that_calls_itself_otherwise_is_in_no_other_split(scene: Scene, tmp_path: Path) -> None:
    product = write_product(tmp_path, scene)
    copy = _sensed(_processed_again(product, tmp_path, "T130000"), "2023-06-15T10:10:30Z")
    for by in ("tile", "date"):
        split = {"by": by, "train": [product.stem], "test": [copy.stem]}
        with pytest.raises(LeakageError, match=r"is in train \(.*\) and in test"):
            prepare(_options(product, copy, split=split), S2X, tmp_path / by, SerialWorld())


def _links_to(target: str):
    def spoil(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return spoil


@pytest.mark.parametrize("file", ["*_B05.jp2", "MSK_QUALIT_B05.jp2", "MTD_TL.xml"])
@pytest.mark.parametrize("target", ["/proc/self/mem", "/dev/zero"], ids=["disk fails", "endless"])
def test_what_the_system_will_not_give_costs_one_product_not_the_store(
    scene: Scene, tmp_path: Path, target: str, file: str
) -> None:
    good, bad = (write_product(tmp_path, scene, tile=tile) for tile in ("33UUB", "32TQM"))
    spoilt = next(path for path in bad.rglob(file) if file.startswith("M") or not path.name.startswith("MSK"))
    _links_to(target)(spoilt)
    manifest = prepare(_options(good, bad, maps=False), S2X, tmp_path / "store", SerialWorld())
    assert [product["product"] for product in manifest.products] == [good.stem]
    (line,) = manifest.skipped
    # What cannot be opened at all does not say what it is called.
    assert line["product"] == (bad.name if file == "MTD_TL.xml" else bad.stem)
    assert line["error"] in ("RasterError", "MissingFileError") and spoilt.name in line["message"]


def test_products_without_masks_are_prepared_by_who_refuses_none(scene: Scene, tmp_path: Path) -> None:
    product = write_product(tmp_path, scene)
    for mask in product.glob("GRANULE/*/QI_DATA/*"):
        mask.unlink()
    with pytest.raises(MissingFileError, match=r"allowing all: refuse: \{lost: 1, degraded: 1, defective: 1\}"):
        prepare(_options(product), S2X, tmp_path / "strict", SerialWorld())
    manifest = prepare(_options(product, refuse="none"), S2X, tmp_path / "store", SerialWorld())
    (line,) = manifest.products
    assert line["patches"] == manifest.rows("train") > 0
    assert line["masks_missing"][0] == "MSK_QUALIT_B02.jp2" and len(line["masks_missing"]) == 10


def test_a_product_given_from_inside_leaves_files_of_its_name(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = write_product(tmp_path, scene)
    monkeypatch.chdir(product)
    prepare(_options("."), S2X, tmp_path / "store", SerialWorld())
    assert [path.name for path in (tmp_path / "store" / "maps").iterdir()] == [f"{product.stem}.png"]
    assert [path.name for path in (tmp_path / "store" / "records").iterdir()] == [f"{product.stem}.json"]


def test_a_pattern_that_is_no_path_is_told() -> None:
    for pattern in ("a\0b*.SAFE", "a\0b", "x" * 9000):
        with pytest.raises(MissingFileError, match="is no path|matches no file|cannot be opened"):
            find_paths((pattern,), "prepare.products")
