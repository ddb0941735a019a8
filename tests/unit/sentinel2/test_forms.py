"""One scene in every form that products have: what is read is the scene, whatever level, baseline and container."""

from __future__ import annotations

import functools
import itertools
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_prep.safe_forms import write_multi_granule
from data_prep.safe_masks import Marks
from data_prep.safe_writer import SCENE_BANDS
from data_prep.synthetic import Scene, crop, write_product
from hpc_sr.errors import MetadataError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, open_product, open_products
from hpc_sr.tasks import S2X, S6X

_TILE = "33UUB"
#: Baseline and the offset written, None where the baseline decides.
_OFFSETS: dict[str, tuple[str, int | dict[str, int] | None]] = {
    "02.08 without": ("02.08", None),
    "04.00": ("04.00", None),
    "05.09": ("05.09", None),
    "05.11 by band": ("05.11", {name: 50 * band.band_id - 700 for name, band in BANDS.items()}),
    "02.08 with": ("02.08", -3000),
}
_SATELLITES = ("S2A", "S2B", "S2C")


@pytest.fixture(scope="module")
def pixels() -> Scene:
    """Any value that every offset here leaves within 15 bits, at sizes that no block divides."""
    rng = np.random.default_rng(8)
    shape = {10: (66, 90), 20: (33, 45), 60: (11, 15)}
    return Scene({name: rng.integers(300, 28_000, shape[BANDS[name].gsd_m], np.uint16) for name in SCENE_BANDS})


@pytest.fixture(scope="module")
def written(pixels: Scene, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], Path]:
    """Return the product of the pixels of a level, an offset and a satellite, written once."""

    @functools.cache
    def write(level: str, offset: str, satellite: str) -> Path:
        folder = tmp_path_factory.mktemp("forms")
        baseline, value = _OFFSETS[offset]
        return write_product(
            folder, pixels, level=level, baseline=baseline, satellite=satellite, tile=_TILE, offset=value
        )

    return write


def zipped(product: Path, archive: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """Return a zip of the product, as it is downloaded."""
    with zipfile.ZipFile(archive, "w", compression) as file:
        for path in sorted(product.rglob("*")):
            file.write(path, path.relative_to(product.parent))
    return archive


def _renamed(product: Path, folder: Path) -> Path:
    return shutil.copytree(product, folder / "a product without suffix")


def _metadata_in_other_case(product: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(product, folder / product.name))
    (metadata,) = copy.glob("MTD_MSI*.xml")
    metadata.rename(metadata.with_name(metadata.name.replace("1C", "1c").replace("2A", "2a")))
    return copy


def _geotiff(product: Path, folder: Path) -> Path:
    """Write the rasters again as GeoTIFF, the names unchanged."""
    copy = Path(shutil.copytree(product, folder / product.name))
    for file in copy.rglob("*.jp2"):
        with rasterio.open(file) as dataset:
            content, profile = dataset.read(), dataset.profile
        kept = {key: profile[key] for key in ("height", "width", "count", "dtype", "crs", "transform")}
        with rasterio.open(file, "w", driver="GTiff", **kept) as dataset:
            dataset.write(content)
    return copy


_CONTAINERS: dict[str, Callable[[Path, Path], Path]] = {
    "directory": lambda product, folder: product,
    "its metadata file": lambda product, folder: next(product.glob("MTD_MSI*.xml")),
    "directory without suffix": _renamed,
    "metadata in another case": _metadata_in_other_case,
    "stored zip": lambda product, folder: zipped(product, folder / "any name.zip"),
    "deflated zip": lambda product, folder: zipped(product, folder / "x.ZIP", zipfile.ZIP_DEFLATED),
    "GeoTIFF named .jp2": _geotiff,
}


#: Every pair of a level, an offset, a satellite and a container, not all that could be combined.
_FORMS = [
    (("L1C", "L2A")[(i + k) % 2], offset, _SATELLITES[(i + 2 * k) % 3], container)
    for i, offset in enumerate(_OFFSETS)
    for k, container in enumerate(_CONTAINERS)
]


def test_the_forms_hold_every_pair() -> None:
    for one, other in itertools.combinations(range(4), 2):
        values, others = {form[one] for form in _FORMS}, {form[other] for form in _FORMS}
        assert {(form[one], form[other]) for form in _FORMS} == {*itertools.product(values, others)}


@pytest.mark.parametrize(("level", "offset", "satellite", "container"), _FORMS)
def test_every_form_gives_the_scene_back(
    written: Callable[..., Path], pixels: Scene, tmp_path: Path, level: str, offset: str, satellite: str, container: str
) -> None:
    source = written(level, offset, satellite)
    baseline, value = _OFFSETS[offset]
    product = open_product(_CONTAINERS[container](source, tmp_path))
    assert (product.level, product.tile, product.satellite) == (level, _TILE, satellite)
    assert (product.processing_baseline, product.quantification_value) == (baseline, 10_000)
    assert product.name == source.stem
    assert {gsd: (g.height, g.width) for gsd, g in product.grids.items()} == {10: (66, 90), 20: (33, 45), 60: (11, 15)}
    assert set(product.files) == ({*BANDS} if level == "L1C" else {*SCENE_BANDS})
    if value is None:
        value = -1000 if baseline >= "04.00" else 0
    with BandReader(product) as reader:
        for name, dn in pixels.dn.items():
            shift = value if isinstance(value, int) else value[name]
            assert product.radiometric_offset[name] == shift
            np.testing.assert_array_equal(reader.dn(name), dn.astype(int) - shift)
        for name in ("B03", "B12", "B09"):
            reflectance, bad = reader.reflectance(name)
            np.testing.assert_allclose(reflectance, pixels.dn[name] / 10_000, rtol=0, atol=3e-7)
            assert not bad.any.any()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_gives_the_same_pair_and_is_read_in_place(
    products: dict[tuple[str, str], Path], tmp_path: Path, compression: int
) -> None:
    archive = zipped(products["L2A", "05.09"], tmp_path / "product.zip", compression)
    limits = {"nodata": 0.0, "saturated": 0.0, "defective": 0.0, "cloud": 0.1, "shadow": 0.1, "detector_seam": 0.0}
    found = synthesis_pair(open_product(archive), S2X, "mtf", limits)
    expected = synthesis_pair(open_product(products["L2A", "05.09"]), S2X, "mtf", limits)
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name], layer)
    assert set(found.marks) == set(expected.marks)
    assert [path.name for path in tmp_path.iterdir()] == ["product.zip"]


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_pairs_are_the_same_for_all_offsets(
    scene: Scene, tmp_path: Path, products: dict[tuple[str, str], Path], level: str
) -> None:
    expected = synthesis_pair(open_product(products[level, "02.08"]), S6X, "wald")
    other = {name: -37 * band.band_id for name, band in BANDS.items()}
    by_band = write_product(tmp_path, scene, level=level, satellite="S2B", offset=other)
    for path in (products[level, "05.09"], by_band):
        found = synthesis_pair(open_product(path), S6X, "wald")
        for name, layer in expected.layers.items():
            # What is rounded at one half may fall to either side.
            np.testing.assert_allclose(found.layers[name].astype(int), layer, rtol=0, atol=name != "target")


@pytest.fixture(scope="module")
def multi(pixels: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Scene]]:
    """A product of two tiles with the names of 2015 and 2016, and its scenes."""
    other = {name: np.ascontiguousarray(dn[::-1]) for name, dn in pixels.dn.items()}
    scenes = {"32TQR": pixels, "32TRQ": crop(Scene(other), 60)}
    return write_multi_granule(tmp_path_factory.mktemp("multi"), scenes), scenes


@pytest.mark.parametrize("container", ["directory", "stored zip", "directory without suffix", "GeoTIFF named .jp2"])
def test_an_old_product_is_one_product_a_tile(
    multi: tuple[Path, dict[str, Scene]], tmp_path: Path, container: str
) -> None:
    path, scenes = multi
    assert path.name == "S2A_OPER_PRD_MSIL1C_PDMC_20160615T120000_R022_V20160615T101031_20160615T101031.SAFE"
    opened = _CONTAINERS[container](path, tmp_path)
    found = open_products(opened)
    assert [product.name for product in found] == [f"{path.stem}_T32TQR", f"{path.stem}_T32TRQ"]
    for product, (tile, scene) in zip(found, scenes.items(), strict=True):
        assert (product.tile, product.level, product.satellite) == (tile, "L1C", "S2A")
        assert product.processing_baseline == "02.04"
        assert (product.grids[10].height, product.grids[10].width) == scene.shape_10m
        with BandReader(product) as reader:
            for name, dn in scene.dn.items():
                np.testing.assert_array_equal(reader.dn(name), dn)
    with pytest.raises(MetadataError, match="32TQR.*32TRQ"):
        open_product(opened)


def test_an_old_product_of_one_tile_needs_no_choice(pixels: Scene, tmp_path: Path) -> None:
    path = write_multi_granule(tmp_path, {"55JEJ": pixels}, satellite="S2B")
    assert open_product(path).tile == open_product(next(path.glob("*.xml"))).tile == "55JEJ"


def _marks(scene: Scene) -> Marks:
    """Marks with holes, single pixels, borders, and a band's own among them."""
    blank = {gsd_m: np.zeros([side * 10 // gsd_m for side in scene.shape_10m], bool) for gsd_m in (10, 20, 60)}

    def box(gsd_m: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
        mask = blank[gsd_m].copy()
        for top, left, bottom, right in boxes:
            mask[top:bottom, left:right] ^= True
        return mask

    seam = np.full(blank[20].shape, 4, np.uint8)
    seam[:, 70:] = 5
    return Marks(
        classes={
            "cloud": box(60, (2, 3, 12, 14), (5, 6, 8, 9)),
            "cirrus": box(60, (0, 30, 4, 42), (20, 20, 21, 21)),
            "snow": box(60, (22, 0, 28, 6)),
            "shadow": box(60, (14, 14, 18, 19)),
        },
        quality={
            "B11": {"MSI_LOST": box(20, (40, 10, 42, 30)), "QT_DEFECTIVE_PIXELS": box(20, (3, 3, 4, 4))},
            "B02": {"MSI_DEG": box(10, (90, 100, 97, 113), (92, 103, 94, 109))},
        },
        detectors={"B05": seam},
    )


_REASONS = ("lost", "degraded", "defective", "cloud", "cirrus", "shadow", "snow", "detector_seam")


@pytest.fixture(scope="module")
def marked(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """What is marked on the 20 m grid in each form of the same product."""
    folder, marks = tmp_path_factory.mktemp("marked"), _marks(scene)
    forms = {
        f"{level} {baseline}": write_product(folder, scene, level=level, baseline=baseline, marks=marks)
        for level in ("L1C", "L2A")
        for baseline in ("02.08", "05.09")
    }
    forms["old"] = write_multi_granule(folder, {"32TQR": scene}, marks=marks)
    limits = dict.fromkeys(("nodata", "saturated", *_REASONS), 0.0)
    return {form: synthesis_pair(open_product(path), S2X, "wald", limits).marks for form, path in forms.items()}


@pytest.mark.parametrize("reason", _REASONS)
def test_rasters_polygons_and_classes_mark_the_same_ground(
    marked: dict[str, dict[str, np.ndarray]], scene: Scene, reason: str
) -> None:
    told = {"shadow": {"L2A 02.08", "L2A 05.09"}, "snow": {"L1C 05.09", "L2A 02.08", "L2A 05.09"}}.get(
        reason, set(marked)
    )
    nothing = np.zeros((92, 126), bool)
    found = {form: marks.get(reason, nothing) for form, marks in marked.items()}
    reference = found["L2A 05.09"]
    for form, mask in found.items():
        if form in told:
            np.testing.assert_array_equal(mask, reference, err_msg=form)
        else:
            assert not mask.any()
    marks = _marks(scene)
    if reason in marks.classes:
        placed = np.kron(marks.classes[reason], np.ones((3, 3), bool))[:92, :126]
        assert reference[placed].all()
        # A degraded pixel that sees a marked one may be marked too, and nothing further off.
        near = np.pad(placed, 4)
        near = np.logical_or.reduce([near[i : i + 92, k : k + 126] for i in range(9) for k in range(9)])
        assert not (reference & ~near).any()
    assert 0 < reference.mean() < 0.3


def test_reasons_that_are_not_asked_for_are_not_read(scene: Scene, tmp_path: Path) -> None:
    """A product whose mask is gone serves those who do not want it."""
    path = write_product(tmp_path, scene, baseline="05.09", marks=_marks(scene))
    for file in (*path.rglob("MSK_CLASSI*"), *path.rglob("MSK_DETFOO*")):
        file.unlink()
    pair = synthesis_pair(open_product(path), S2X, "wald", {"lost": 0.0, "cloud": 1.0, "detector_seam": 1.0})
    assert pair.marks["lost"].any() and "cloud" not in pair.marks
