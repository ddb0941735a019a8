"""Masks that a product lacks: those who want none of them do without, others are told what to allow.

`infer` reads bands alone, evaluation pairs without thresholds and reflectance, preparation pairs with thresholds.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.options import PrepareOptions, RefuseOptions
from data_prep.synthetic import Scene, write_product
from hpc_sr.config import parse
from hpc_sr.errors import MissingFileError, RecipeError
from hpc_sr.sentinel2.pairs import Pair, synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, Product, open_product
from hpc_sr.tasks import S2X

_FORMS = [(level, baseline) for level in ("L1C", "L2A") for baseline in ("02.08", "05.09")]
_NONE = RefuseOptions.model_validate("none").limits()


@pytest.fixture(scope="module")
def saturated(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Products with pixels of nodata and of saturation, by level and baseline."""
    dn = {name: band.copy() for name, band in scene.dn.items()}
    dn["B05"][10:14, 20:25], dn["B03"][31:36, 47:50] = 0, 65535
    folder = tmp_path_factory.mktemp("saturated")
    return {form: write_product(folder, Scene(dn), level=form[0], baseline=form[1]) for form in _FORMS}


def _without(product: Path, folder: Path, *patterns: str) -> Product:
    copy = Path(shutil.copytree(product, folder / product.name))
    files = [file for pattern in patterns for file in copy.glob(f"GRANULE/*/{pattern}")]
    assert files
    for file in files:
        file.unlink()
    return open_product(copy)


def _unannounced(product: Path, folder: Path, pattern: str) -> Product:
    copy = Path(shutil.copytree(product, folder / product.name))
    for xml in (*copy.glob("*.xml"), *copy.glob("GRANULE/*/*.xml")):
        text = xml.read_text("utf-8")
        xml.write_text(re.sub(rf"<(IMAGE_FILE|MASK_FILENAME)[^>]*>[^<]*{pattern}[^<]*</\1>", "", text), "utf-8")
    return open_product(copy)


def _assert_marked(found: np.ndarray, expected: np.ndarray, form: tuple[str, str]) -> None:
    """See that the marks are the same; classes of 20 m say "saturated" of all the pixels of 10 m that they cover."""
    assert found.any() and not (found & ~expected).any()
    if form != ("L2A", "02.08"):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", _FORMS, ids=" ".join)
def test_without_any_mask_the_dn_tell_nodata_and_saturation(
    saturated: dict[tuple[str, str], Path], tmp_path: Path, log_lines: list[str], form: tuple[str, str]
) -> None:
    """What preparation with `refuse: none` sees, what evaluation sees and what inference sees is one product."""
    whole, product = open_product(saturated[form]), _without(saturated[form], tmp_path, "QI_DATA/*", "IMG_DATA/*/*SCL*")
    expected = synthesis_pair(whole, S2X, "wald")
    for limits in (_NONE, None):
        pair = synthesis_pair(product, S2X, "wald", limits)
        for reason in ("nodata", "saturated"):
            _assert_marked(pair.marks[reason], expected.marks[reason], form)
        assert pair.found["masks_missing"] and "masks_missing" not in expected.found
        assert "what the DN say" in log_lines[-1] and product.name in log_lines[-1]
    with BandReader(product) as reader, BandReader(whole) as other:
        for name in ("B03", "B05"):
            found, wanted = (r.reflectance(name) for r in (reader, other))
            _assert_marked(found[1].any, wanted[1].any, form)
            measured = ~wanted[1].any
            np.testing.assert_array_equal(found[0][measured], wanted[0][measured])
        assert reader.scene_classes() is None


def _wanting(**limits: float) -> dict[str, float]:
    return RefuseOptions.model_validate(dict.fromkeys(RefuseOptions.model_fields, 1.0) | limits).limits()


_WANTED = {"lost": 0.0, "cloud": 0.1, "cirrus": 0.5, "detector_seam": 0.0}
_GONE = {"lost": "QI_DATA/MSK_[QT]*", "detector_seam": "QI_DATA/MSK_DETFOO*"}


@pytest.mark.parametrize("form", _FORMS, ids=" ".join)
@pytest.mark.parametrize("reason", _WANTED)
@pytest.mark.parametrize("how", ["missing", "unannounced"])
def test_what_a_threshold_needs_is_missed_and_the_cure_names_the_threshold(
    saturated: dict[tuple[str, str], Path], tmp_path: Path, form: tuple[str, str], reason: str, how: str
) -> None:
    scene_mask = ("IMG_DATA/*/*SCL*",) if form[0] == "L2A" else ("QI_DATA/MSK_CL*",)
    patterns = (_GONE[reason],) if reason in _GONE else scene_mask
    if how == "missing":
        product = _without(saturated[form], tmp_path, *patterns)
    else:
        kinds = {"lost": "MSK_[QT]", "detector_seam": "MSK_DETFOO"}.get(reason, "(?:_SCL_|MSK_CL)")
        product = _unannounced(saturated[form], tmp_path, kinds)
    with pytest.raises(MissingFileError, match="is missing|announces no") as caught:
        synthesis_pair(product, S2X, "wald", _wanting(**{reason: _WANTED[reason]}))
    assert re.search(rf"allowing all: refuse: {{.*\b{reason}: 1\b.*}}", caught.value.cure or "")
    of_one_file = {"cloud", "cirrus"} if reason not in _GONE else {reason}
    others = {other: share for other, share in _WANTED.items() if other not in of_one_file}
    assert isinstance(synthesis_pair(product, S2X, "wald", _wanting(**others)), Pair)


def test_shadow_is_never_left_untold_in_a_level_2a_without_classes(
    saturated: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    product = _unannounced(saturated["L2A", "05.09"], tmp_path, "_SCL_")
    assert "cloud" not in synthesis_pair(product, S2X, "wald", _wanting(cloud=0.1)).marks  # MSK_CLASSI tells clouds
    with pytest.raises(MissingFileError, match="(?s)announces no scene classification.*shadow: 1"):
        synthesis_pair(product, S2X, "wald", _wanting(cloud=0.1, shadow=0.2))


def test_snow_is_never_left_untold_by_masks_that_know_none(
    saturated: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    product = _unannounced(saturated["L2A", "02.08"], tmp_path, "_SCL_")
    synthesis_pair(product, S2X, "wald", _wanting(cloud=0.1, cirrus=0.1))
    with pytest.raises(MissingFileError, match="(?s)announces no scene classification.*snow: 1"):
        synthesis_pair(product, S2X, "wald", _wanting(cloud=0.1, snow=0.2))


def test_refuse_none_is_every_threshold_at_1() -> None:
    section = {"products": ["x"], "refuse": "none"}
    options = parse(PrepareOptions, section, "recipe.yaml")
    assert options.refuse == RefuseOptions(**dict.fromkeys(RefuseOptions.model_fields, 1.0))
    assert options.refuse.limits() == {"nodata": 0.0, "saturated": 0.0, **dict.fromkeys(RefuseOptions.model_fields, 1)}
    assert PrepareOptions.model_validate(options.model_dump(mode="json")) == options
    with pytest.raises(RecipeError, match="refuse"):
        parse(PrepareOptions, section | {"refuse": "all"}, "recipe.yaml")
