"""One scene in the dialects that products were distributed in: whatever names files and elements have, the same DN."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.safe_forms import write_multi_granule
from data_prep.safe_masks import Marks
from data_prep.safe_writer import SCENE_BANDS
from data_prep.synthetic import Scene, write_product
from hpc_sr.errors import MetadataError, MissingFileError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, Product, open_product
from hpc_sr.tasks import S2X

_REASONS = ("nodata", "saturated", "lost", "degraded", "defective", "cloud", "cirrus", "snow", "detector_seam")


def _marks(scene: Scene) -> Marks:
    lost, cloud = np.zeros(scene.dn["B05"].shape, bool), np.zeros(scene.dn["B01"].shape, bool)
    lost[40:44, 10:30], cloud[3:9, 4:12] = True, True
    detectors = np.full(scene.dn["B05"].shape, 4, np.uint8)
    detectors[:, 70:] = 5
    return Marks({"cloud": cloud}, {"B05": {"MSI_LOST": lost}}, {"B05": detectors})


@pytest.fixture(scope="module")
def marked(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a product of the scene with clouds, a lost line and a seam."""
    folder = tmp_path_factory.mktemp("marked")
    made: dict[tuple[str, str], Path] = {}

    def product(level: str, baseline: str) -> Path:
        if (level, baseline) not in made:
            made[level, baseline] = write_product(folder, scene, level=level, baseline=baseline, marks=_marks(scene))
        return made[level, baseline]

    return product


def _assert_same(found: Product, expected: Product) -> None:
    """See that two products have the same pixels and the same marks."""
    assert set(found.files) == set(expected.files) and found.grids == expected.grids
    assert found.radiometric_offset == expected.radiometric_offset
    assert found.quantification_value == expected.quantification_value
    with BandReader(found) as one, BandReader(expected) as other:
        for name in expected.files:
            np.testing.assert_array_equal(one.dn(name), other.dn(name))
        if expected.level == "L2A":
            np.testing.assert_array_equal(one.scene_classes(), other.scene_classes())
    limits = dict.fromkeys(_REASONS, 0.0)
    marks, wanted = (synthesis_pair(product, S2X, "wald", limits).marks for product in (found, expected))
    assert marks.keys() == wanted.keys() and all(wanted[reason].any() for reason in ("lost", "cloud", "detector_seam"))
    for reason, mask in wanted.items():
        np.testing.assert_array_equal(marks[reason], mask)


def _edited(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text("utf-8")
    for old, new in changes:
        text, count = re.subn(old, new, text, flags=re.DOTALL)
        assert count, f"{old} is not in {file.name}"
    file.write_text(text, "utf-8")


def _as_level_2ap(product: Path, folder: Path, split_by_grid: bool = True) -> Path:
    """Return a copy in the dialect of 2017: L2A_ and _2A about names, a granule list a grid, L1C's values beside."""
    copy = Path(shutil.copytree(product, folder / product.name))
    changes = [
        (r"Level-2A</PROCESSING_LEVEL>", "Level-2Ap</PROCESSING_LEVEL>"),
        (r"<(/?)(Product_Info|Product_Organisation|Product_Image_Characteristics)>", r"<\1L2A_\2>"),
        (r"<(/?)QUANTIFICATION_VALUES_LIST>", r"<\1L1C_L2A_Quantification_Values_List>"),
        (r"<BOA_QUANT", "<L1C_TOA_QUANTIFICATION_VALUE>5000</L1C_TOA_QUANTIFICATION_VALUE><BOA_QUANT"),
        (r"<(/?)BOA_QUANTIFICATION_VALUE", r"<\1L2A_BOA_QUANTIFICATION_VALUE"),
        (r"<(/?)IMAGE_FILE>", r"<\1IMAGE_FILE_2A>"),
        (r"<PRODUCT_URI>(.*?)MSIL2A(.*?)</PRODUCT_URI>", r"<PRODUCT_URI_1C>\1MSIL1C\2</PRODUCT_URI_1C><PRODUCT_URI>\1MSIL2A\2</PRODUCT_URI>"),  # noqa: E501
        (r"<(/?)PRODUCT_URI>", r"<\1PRODUCT_URI_2A>"),
        (r"(IMG_DATA/R\d0m/)", r"\1L2A_"),
    ]  # fmt: skip
    _edited(copy / "MTD_MSIL2A.xml", *changes)
    if split_by_grid:
        (opening,) = set(re.findall(r"<Granule [^>]*>", (copy / "MTD_MSIL2A.xml").read_text("utf-8")))
        end = "</Granule></Granule_List>"
        _edited(copy / "MTD_MSIL2A.xml", (r"(?<=_B04_10m</IMAGE_FILE_2A>)", f"{end}<Granule_List>{opening}"))
    tile_changes = [(r"<(/?)TILE_ID\b", r"<\1TILE_ID_2A"), (r"<(/?)Pixel_Level_QI", r"<\1L1C_Pixel_Level_QI")]
    _edited(next(copy.glob("GRANULE/*/MTD_TL.xml")), *tile_changes)
    for image in copy.glob("GRANULE/*/IMG_DATA/*/*.jp2"):
        image.rename(image.with_name(f"L2A_{image.name}"))
    return copy


@pytest.mark.parametrize("split_by_grid", [True, False])
def test_level_2ap_of_2017_is_read_to_the_dn(marked: Callable[..., Path], tmp_path: Path, split_by_grid: bool) -> None:
    source = marked("L2A", "02.05")
    product = open_product(_as_level_2ap(source, tmp_path, split_by_grid))
    assert (product.name, product.level, product.tile) == (source.stem, "L2A", "33UUB")
    _assert_same(product, open_product(source))


def _as_processed_at_home(product: Path, folder: Path) -> Path:
    """Return a copy with the long names of the first Sen2Cor: bare image names, SCL beside the folders of the grids."""
    copy = Path(shutil.copytree(product, folder / "S2A_USER_PRD_MSIL2A_PDMC_20170615T120000.SAFE"))
    (granule,) = copy.glob("GRANULE/*")
    stem = "S2A_USER_{}_L2A_TL_SGS__20170615T120000_A000159_T33UUB"
    identifier = f"{stem.format('MSI')}_N02.05"
    for image in granule.glob("IMG_DATA/*/*.jp2"):
        name, gsd = image.stem.split("_")[-2:]
        if name == "SCL":
            image.rename(granule / "IMG_DATA" / f"{stem.format('SCL')}_{gsd}.jp2")
        else:
            image.rename(image.with_name(f"{stem.format('MSI')}_{name}_{gsd}.jp2"))
    (granule / "MTD_TL.xml").rename(granule / f"{stem.format('MTD')}.xml")
    (tile_xml,) = granule.glob("*.xml")
    _edited(
        tile_xml, (r"<TILE_ID.*?</TILE_ID>", f"<TILE_ID_2A>{identifier}</TILE_ID_2A>"), (r"GRANULE/.*?/QI_DATA/", "")
    )
    granule = granule.rename(granule.with_name(identifier))
    images = [f"<IMAGE_ID_2A>{stem.format('MSI')}_{b}_{BANDS[b].gsd_m}m</IMAGE_ID_2A>" for b in SCENE_BANDS]
    images.append(f"<IMAGE_ID_2A>{stem.format('SCL')}_20m</IMAGE_ID_2A>")
    granules = f'<Granules granuleIdentifier="{identifier}">{"".join(images)}</Granules>'
    (copy / "MTD_MSIL2A.xml").rename(copy / "S2A_USER_MTD_SAFL2A_PDMC_20170615T120000.xml")
    _edited(
        next(copy.glob("*.xml")),
        (r"<Granule .*</Granule>", granules),
        (r"<(/?)(Product_\w+)>", r"<\1L2A_\2>"),
        (r"<(/?)BOA_QUANTIFICATION_VALUE", r"<\1L2A_BOA_QUANTIFICATION_VALUE"),
        (r"<PRODUCT_URI>.*?</PRODUCT_URI>", "<PRODUCT_URI/>"),
    )
    return copy


def test_products_of_the_first_sen2cor_are_read(marked: Callable[..., Path], tmp_path: Path) -> None:
    source = marked("L2A", "02.05")
    product = open_product(_as_processed_at_home(source, tmp_path))
    assert product.name == "S2A_USER_MSI_L2A_TL_SGS__20170615T120000_A000159_T33UUB_N02.05"
    _assert_same(product, open_product(source))


def test_masks_of_2015_say_their_band_in_their_name_alone(scene: Scene, tmp_path: Path) -> None:
    source = write_multi_granule(tmp_path, {"32TQR": scene}, marks=_marks(scene))
    copy = Path(shutil.copytree(source, tmp_path / "copy.SAFE"))
    _edited(next(copy.glob("GRANULE/*/*.xml")), (r' bandId="\d+"', ""))
    _assert_same(open_product(copy), open_product(source))


def test_a_mask_of_no_known_band_is_not_taken_for_one_of_all(marked: Callable[..., Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(marked("L1C", "05.09"), tmp_path / "p.SAFE"))
    tile_xml = next(copy.glob("GRANULE/*/MTD_TL.xml"))
    _edited(tile_xml, (r'bandId="4" type="MSK_QUALIT"', 'bandId="44" type="MSK_QUALIT"'))
    with pytest.raises(MetadataError, match="MSK_QUALIT_B05.*unknown bandId '44'"):
        open_product(copy)
    _edited(tile_xml, (r'bandId="44" type="MSK_QUALIT"', 'bandId="4"'))
    with pytest.raises(MetadataError, match="MSK_QUALIT_B05.* has no type"):
        open_product(copy)


def _in_bucket(product: Path, folder: Path, short_masks: bool) -> Path:
    """Return a tile's folder of Amazon's buckets made of a product."""
    tile = folder / "tiles" / "33" / "U" / "UB" / "2023" / "6" / "15" / "0"
    (tile / "qi").mkdir(parents=True)
    (granule,) = product.glob("GRANULE/*")
    shutil.copy(granule / "MTD_TL.xml", tile / "metadata.xml")
    shutil.copy(next(product.glob("MTD_MSI*.xml")), tile / "product_metadata.xml")
    (tile / "tileInfo.json").write_text("{}")
    for image in granule.glob("IMG_DATA/**/*.jp2"):
        inside = image.relative_to(granule / "IMG_DATA")
        found = re.search(r"_(\w\w\w)(_\d0m)?$", inside.stem)
        target = tile / inside.with_name(f"{found.group(1)}.jp2")
        target.parent.mkdir(exist_ok=True)
        shutil.copy(image, target)
    for mask in granule.glob("QI_DATA/*"):
        shutil.copy(mask, tile / "qi" / (mask.name.removeprefix("MSK_") if short_masks else mask.name))
    return tile


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("baseline", ["02.05", "05.09"])
def test_a_tile_of_a_bucket_is_the_product_under_its_own_name(
    marked: Callable[..., Path], tmp_path: Path, level: str, baseline: str
) -> None:
    source = marked(level, baseline)
    product = open_product(_in_bucket(source, tmp_path, short_masks=baseline >= "04.00"))
    assert product.name == source.stem
    _assert_same(product, open_product(source))


def test_a_tile_of_a_bucket_without_its_product_is_told_what_it_lacks(
    marked: Callable[..., Path], tmp_path: Path, scene: Scene
) -> None:
    tile = _in_bucket(marked("L1C", "05.09"), tmp_path, short_masks=True)
    (tile / "product_metadata.xml").unlink()
    with pytest.raises(
        MissingFileError, match="(?s)Amazon.*product_metadata.xml.*cure: give .* metadata.xml of its product"
    ):
        open_product(tile)
    other = write_product(tmp_path, scene, tile="32TQM")
    shutil.copy(other / "MTD_MSIL1C.xml", tile / "product_metadata.xml")
    with pytest.raises(MetadataError, match="does not announce tile .*_T33UUB_"):
        open_product(tile)
