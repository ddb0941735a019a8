"""Products as pictures with a reference of another date: who belongs to whom, what is stored, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from data_prep.build import prepare
from data_prep.images import image_sources
from data_prep.options import ImageOptions, SplitOptions
from data_prep.synthetic import landscape, read_scene, write_product
from hpc_sr.comm.mpi import SerialWorld
from hpc_sr.errors import MissingFileError, MixedLevelsError, RecipeError, ShapeError
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import TASKS

FOUR = ("B04", "B03", "B02", "B08")
DATES = ("2023-05-01", "2023-06-15", "2023-06-25")


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder of one tile on three days, and of another on one."""
    folder = tmp_path_factory.mktemp("dates")
    for seed, date in enumerate(DATES):
        write_product(folder, landscape(240, seed), date=date)
    write_product(folder, landscape(240, 9), tile="32TQM")
    return folder


def options_of(folder: Path, **changed: object) -> ImageOptions:
    given = {"products": (f"{folder}/*33UUB*.SAFE",), "references": (f"{folder}/*.SAFE",), **changed}
    return ImageOptions(**given)


def test_each_product_gets_the_nearest_other_day_of_its_tile(dates: Path) -> None:
    sources, skipped = image_sources(options_of(dates), TASKS["refsr_x4"])
    assert skipped == []
    found = {source.date: source.reference.sensing_time[:10] for source in sources}
    assert found == {DATES[0]: DATES[1], DATES[1]: DATES[2], DATES[2]: DATES[1]}
    first = sources[0]
    assert pickle.loads(pickle.dumps(first)) == first
    assert first.about()["reference"] == first.reference.name
    assert first.facts()["reference"]["product"] == first.reference.name, "another reference makes other patches"


def test_a_product_without_a_partner_is_left_out_and_told(dates: Path) -> None:
    options = options_of(dates, products=(f"{dates}/*.SAFE",))
    sources, skipped = image_sources(options, TASKS["refsr_x4"])
    assert [source.tile for source in sources] == ["33UUB"] * 3
    (line,) = skipped
    assert "T32TQM" in line["product"] and line["error"] == "MissingFileError"
    assert "has no reference: images.references has no product of tile 32TQM" in line["message"]
    with pytest.raises(MissingFileError, match="has no reference"):
        image_sources(options.model_copy(update={"bad_products": "fail"}), TASKS["refsr_x4"])


def test_a_partner_on_another_grid_or_of_another_level_is_refused(tmp_path: Path) -> None:
    for size, date in ((240, "2023-06-15"), (300, "2023-07-15")):
        write_product(tmp_path, landscape(size, 1), date=date)
    with pytest.raises(ShapeError, match="240 x 240 px from .* and 300 x 300 px"):
        image_sources(options_of(tmp_path), TASKS["refsr_x4"])
    write_product(tmp_path, landscape(240, 1), date="2023-08-15", level="L2A")
    options = options_of(tmp_path, products=(f"{tmp_path}/*L1C*20230615*",), references=(f"{tmp_path}/*L2A*",))
    with pytest.raises(MixedLevelsError, match="images.references"):
        image_sources(options, TASKS["refsr_x4"])


def test_both_dates_are_stretched_by_themselves_and_what_either_lacks_is_marked(tmp_path: Path) -> None:
    first, second = landscape(240, 3), landscape(240, 4)
    first.dn["B04"][100:104, 48:52] = 0
    second.dn["B08"][8:12, 20:24] = 0
    write_product(tmp_path, first, date="2023-06-15")
    write_product(tmp_path, second, date="2023-07-15")
    options = options_of(tmp_path, bands=FOUR, degradation="box")
    (source, other), _ = image_sources(options, TASKS["refsr_x4_rgbn"])
    pair, back = source.pair(training=True), other.pair(training=True)
    assert list(pair.layers) == ["lr", "ref", "target"]
    assert np.array_equal(pair.layers["ref"], back.layers["target"])
    assert pair.found["reference_stretch"] == back.found["stretch"] != pair.found["stretch"]
    missing = np.zeros((240, 240), bool)
    missing[100:104, 48:52] = missing[8:12, 20:24] = True
    assert np.array_equal(pair.marks["nodata"], missing) and np.array_equal(back.marks["nodata"], missing)


def test_reflectance_of_both_dates_is_kept(dates: Path) -> None:
    sources, _ = image_sources(options_of(dates, bands=FOUR, values="reflectance"), TASKS["refsr_x4_rgbn"])
    pair = sources[0].pair(training=False)
    with BandReader(open_product(sources[0].reference.path)) as reader:
        measured = np.stack([reader.reflectance(band)[0] for band in FOUR])
    assert np.array_equal(pair.layers["ref"], np.rint(measured * 1e4)) and "reference_stretch" not in pair.found


def test_two_real_dates_become_a_store(shared_data: Path, tmp_path: Path) -> None:
    for name, date in (("20200604", "2020-06-04"), ("20200813", "2020-08-13")):
        scene = read_scene(shared_data / "scenes" / f"l2a_rajasthan_T43RCP_{name}.npz")
        write_product(tmp_path, scene, tile="43RCP", level="L2A", date=date)
    options = ImageOptions(
        products=(f"{tmp_path}/*.SAFE",),
        references=(f"{tmp_path}/*.SAFE",),
        bands=FOUR,
        patch_px=64,
        stride_px=64,
        split=SplitOptions(train=("43RCP",)),
    )
    manifest = prepare(options, TASKS["refsr_x4_rgbn"], tmp_path / "store", SerialWorld())
    assert manifest is not None and manifest.layers["ref"]["shape"] == [4, 64, 64]
    names = [line["product"] for line in manifest.products]
    assert [line["reference"] for line in manifest.products] == names[::-1]
    assert manifest.rows("train") == 32
    Store(tmp_path / "store").verify()


@pytest.mark.parametrize(
    ("fields", "task", "told"),
    [
        ({"products": ("a",)}, "refsr_x4", "needs references"),
        ({"products": ("a",), "references": ("b",)}, "sisr_x4", "takes no reference"),
    ],
)
def test_references_are_for_tasks_that_have_them(fields: dict, task: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        image_sources(ImageOptions(**fields), TASKS[task])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"hr": ("a",), "references": ("b",)}, "references go with products"),
        ({"products": ("a",), "references": ("b",), "split": {"by": "date"}}, "into two splits"),
    ],
)
def test_references_that_fit_no_source_or_split_are_refused(fields: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ImageOptions(**fields)
