"""Synthetic products are read back bit for bit, by our reader and by GDAL's own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support import run_cli

from data_prep.mgrs import tile_of_seed
from data_prep.safe_forms import write_multi_granule
from data_prep.safe_masks import Marks
from data_prep.safe_writer import SCENE_BANDS
from data_prep.synthetic import Scene, crop, read_scene, write_product
from hpc_sr.errors import MissingFileError, OutputError, ProductError, ShapeError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.masks import FULL_SCALE_DN
from hpc_sr.sentinel2.safe import BandReader, open_product
from hpc_sr.tasks import BANDS_10M, BANDS_20M, BANDS_60M

_LEVELS = pytest.mark.parametrize("level", ["L1C", "L2A"])
_BASELINES = pytest.mark.parametrize(
    ("baseline", "shift"), [("02.08", 0), ("03.01", 0), ("04.00", 1000), ("05.09", 1000)]
)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Every value that a product can hold somewhere, at sizes that no tile edge divides: 414, 207 and 69 px."""
    rng = np.random.default_rng(5)
    sides = {10: 414, 20: 207, 60: 69}
    return Scene({name: rng.integers(1, 31_767, (sides[BANDS[name].gsd_m],) * 2, np.uint16) for name in SCENE_BANDS})


def _with(scene: Scene, values: dict[str, tuple[tuple, int]]) -> Scene:
    dn = {name: band.copy() for name, band in scene.dn.items()}
    for name, (place, value) in values.items():
        dn[name][place] = value
    return Scene(dn)


@_LEVELS
@_BASELINES
def test_pixels_come_back_bit_for_bit(scene: Scene, tmp_path: Path, level: str, baseline: str, shift: int) -> None:
    path = write_product(
        tmp_path, scene, level=level, baseline=baseline, satellite="S2C", tile="32TLS", date="2024-02-29"
    )
    assert path.name == f"S2C_MSI{level}_20240229T101031_N{baseline.replace('.', '')}_R022_T32TLS_20240229T120000.SAFE"
    product = open_product(path)
    assert (product.level, product.processing_baseline, product.satellite) == (level, baseline, "S2C")
    assert (product.tile, product.name) == ("32TLS", path.stem)
    assert product.radiometric_offset == dict.fromkeys(BANDS, float(-shift))
    assert set(product.files) == ({*BANDS} if level == "L1C" else {*SCENE_BANDS})
    with BandReader(product) as reader:
        for name, dn in scene.dn.items():
            np.testing.assert_array_equal(reader.dn(name), dn + shift)
            reflectance, bad = reader.reflectance(name)
            np.testing.assert_allclose(reflectance, dn / 10_000, rtol=0, atol=3e-7)
            assert not bad.any.any()


def test_reflectance_is_the_same_for_all_baselines(scene: Scene, tmp_path: Path) -> None:
    found = []
    for baseline in ("02.08", "05.09"):
        with BandReader(open_product(write_product(tmp_path, scene, baseline=baseline))) as reader:
            found.append({name: reader.reflectance(name)[0] for name in BANDS})
    for name in BANDS:
        np.testing.assert_allclose(found[0][name], found[1][name], rtol=0, atol=3e-7)


@_LEVELS
@_BASELINES
def test_gdal_s_own_sentinel_2_reader_agrees(
    scene: Scene, tmp_path: Path, level: str, baseline: str, shift: int
) -> None:
    path = write_product(tmp_path, scene, level=level, baseline=baseline, tile="34VFJ")
    with rasterio.open(path / f"MTD_MSI{level}.xml") as dataset:
        assert dataset.driver == "SENTINEL2"
        tags, subdatasets = dataset.tags(), dataset.subdatasets
    assert tags["PROCESSING_BASELINE"] == baseline and tags["PROCESSING_LEVEL"] == f"Level-{level[1:]}"
    seen = set()
    for gsd_m in (10, 20, 60):
        (name,) = (s for s in subdatasets if f":{gsd_m}m:EPSG_32634" in s)
        with rasterio.open(name) as dataset:
            assert dataset.transform.to_gdal() == (600_000, gsd_m, 0, 6_400_020, 0, -gsd_m)
            for index in dataset.indexes:
                band = dataset.tags(index).get("BANDNAME", "")
                band = band if len(band) == 3 else f"B0{band[1:]}"
                if band in scene.dn:
                    np.testing.assert_array_equal(dataset.read(index), scene.dn[band] + shift)
                    seen.add(band)
    assert seen == set(SCENE_BANDS)


def test_bands_are_georeferenced_lossless_15_bit_jpeg2000(scene: Scene, tmp_path: Path) -> None:
    product = open_product(write_product(tmp_path, scene, tile="55JEJ"))
    for name in product.files:
        with rasterio.open(product.where(name)) as dataset:
            assert (dataset.driver, dataset.count, dataset.crs.to_epsg()) == ("JP2OpenJPEG", 1, 32755)
            gsd_m = BANDS[name].gsd_m
            assert dataset.transform.to_gdal() == (499_980, gsd_m, 0, 6_900_040, 0, -gsd_m)
            assert dataset.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "15"
            assert dataset.tags(ns="IMAGE_STRUCTURE")["COMPRESSION_REVERSIBILITY"] == "LOSSLESS"


@_LEVELS
@_BASELINES
def test_nodata_and_saturation_come_back_through_the_masks(
    scene: Scene, tmp_path: Path, level: str, baseline: str, shift: int
) -> None:
    spoilt = _with(
        scene,
        {
            "B02": ((slice(0, 4), slice(2, 9)), 0),
            "B11": ((30, slice(40, 43)), 65535),
            "B01": ((5, 6), 32_700),
            "B08": ((100, 101), FULL_SCALE_DN - shift),
        },
    )
    product = open_product(write_product(tmp_path, spoilt, level=level, baseline=baseline))
    by_class = level == "L2A" and not shift
    with BandReader(product) as reader:
        for name, dn in spoilt.dn.items():
            stored, (reflectance, bad) = reader.dn(name), reader.reflectance(name)
            saturated = dn >= FULL_SCALE_DN - shift
            np.testing.assert_array_equal(bad.nodata, dn == 0)
            np.testing.assert_array_equal(stored[dn == 0], 0)
            np.testing.assert_array_equal(stored[saturated], FULL_SCALE_DN)
            np.testing.assert_array_equal(np.isnan(reflectance), bad.any)
            assert bad.saturated[saturated].all()
            # Before 04.00 L2A tells saturation of any band for all of them, at 20 m.
            assert (bad.saturated.sum() == saturated.sum()) or by_class


def test_the_quality_masks_tell_what_values_cannot(scene: Scene, tmp_path: Path) -> None:
    # Not only clamped values tell saturation: here measurements are put back under the marks.
    marked = _with(scene, {"B03": ((slice(7, 9), 11), 65535), "B09": ((3, 4), 65535)})
    for level, baseline in (("L1C", "05.09"), ("L2A", "02.08")):
        clean = open_product(write_product(tmp_path / "clean", scene, level=level, baseline=baseline))
        product = open_product(write_product(tmp_path / "marked", marked, level=level, baseline=baseline))
        for name in BANDS_10M:
            product.where(name).write_bytes(clean.where(name).read_bytes())
        with BandReader(product) as reader:
            assert reader.reflectance("B03")[1].saturated[7:9, 11].all()


def test_vector_masks_outline_what_they_mark(scene: Scene, tmp_path: Path) -> None:
    spoilt = _with(scene, {"B05": ((slice(10, 13), slice(20, 22)), 65535), "B01": ((slice(None), slice(0, 9)), 0)})
    path = write_product(tmp_path, spoilt, baseline="02.08", tile="33UUB")
    masks = {file.name: ET.parse(file).getroot() for file in path.rglob("MSK_*.gml")}
    assert len(masks) == 5 * len(BANDS) + 1
    rings = {
        name: [r.text.split() for r in root.iter("{http://www.opengis.net/gml/3.2}posList")]
        for name, root in masks.items()
    }
    ((*ring,),) = rings["MSK_SATURA_B05.gml"]
    corners = np.array(ring, float).reshape(-1, 2)
    assert corners.min(0).tolist() == [300_000 + 20 * 20, 6_200_040 - 13 * 20]
    assert corners.max(0).tolist() == [300_000 + 22 * 20, 6_200_040 - 10 * 20]
    assert len(rings["MSK_NODATA_B01.gml"]) == 1 and not rings["MSK_SATURA_B06.gml"] and not rings["MSK_CLOUDS_B00.gml"]


def test_announced_files_exist_and_the_manifest_knows_them(scene: Scene, tmp_path: Path) -> None:
    for level, baseline in (("L1C", "02.08"), ("L2A", "05.09")):
        path = write_product(tmp_path, scene, level=level, baseline=baseline)
        announced = [path / f"{e.text}.jp2" for e in ET.parse(path / f"MTD_MSI{level}.xml").iter("IMAGE_FILE")]
        (granule_xml,) = path.rglob("MTD_TL.xml")
        announced += [path / e.text for e in ET.parse(granule_xml).iter("MASK_FILENAME")]
        listed = {}
        for entry in ET.parse(path / "manifest.safe").iter("byteStream"):
            file = path / entry.find("fileLocation").get("href")
            assert int(entry.get("size")) == file.stat().st_size
            listed[file.resolve()] = entry.findtext("checksum")
        there = {f.resolve() for f in path.rglob("*") if f.is_file() and f.name != "manifest.safe"}
        assert set(listed) == there >= {f.resolve() for f in announced}
        assert listed[granule_xml.resolve()] == hashlib.sha3_256(granule_xml.read_bytes()).hexdigest()


def test_rasters_of_masks_have_the_real_layers(scene: Scene, tmp_path: Path, shared_data: Path) -> None:
    (real,) = (shared_data / "safe").glob("S2B_MSIL2A_2023*/GRANULE/*/QI_DATA")
    (ours,) = write_product(tmp_path, scene, level="L2A").glob("GRANULE/*/QI_DATA")
    for name in ("MSK_CLASSI_B00.jp2", "MSK_DETFOO_B8A.jp2", "MSK_QUALIT_B02.jp2"):
        with rasterio.open(real / name) as theirs, rasterio.open(ours / name) as mine:
            assert (mine.count, mine.dtypes) == (theirs.count, theirs.dtypes)
            assert mine.transform.a == theirs.transform.a


def test_offsets_are_written_as_told(scene: Scene, tmp_path: Path) -> None:
    by_band = {name: -10 * band.band_id for name, band in BANDS.items()}
    for folder, offset in (("one", -250), ("each", by_band), ("above", 1)):
        product = open_product(write_product(tmp_path / folder, scene, baseline="03.01", offset=offset))
        with BandReader(product) as reader:
            for name, dn in scene.dn.items():
                shift = offset if isinstance(offset, int) else offset[name]
                assert product.radiometric_offset[name] == shift
                # What an offset above 0 would make nodata stays a measurement.
                np.testing.assert_array_equal(reader.dn(name), np.maximum(dn.astype(int) - shift, 1))


def test_gdal_s_own_reader_agrees_on_several_granules(scene: Scene, tmp_path: Path) -> None:
    other = Scene({name: np.ascontiguousarray(dn[::-1]) for name, dn in scene.dn.items()})
    path = write_multi_granule(tmp_path, {"32TQM": scene, "33UUB": other}, satellite="S2B")
    with rasterio.open(next(path.glob("S2B_OPER_MTD_SAFL1C_*.xml"))) as dataset:
        assert dataset.driver == "SENTINEL2" and dataset.tags()["PROCESSING_BASELINE"] == "02.04"
        subdatasets = dataset.subdatasets
    for zone, expected in ((32, scene), (33, other)):
        (name,) = (s for s in subdatasets if f":20m:EPSG_326{zone}" in s)
        with rasterio.open(name) as dataset:
            bands = {dataset.tags(index)["BANDNAME"]: index for index in dataset.indexes}
            np.testing.assert_array_equal(dataset.read(bands["B5"]), expected.dn["B05"])
            np.testing.assert_array_equal(dataset.read(bands["B8A"]), expected.dn["B8A"])


def test_marks_lie_where_the_product_specification_has_them(scene: Scene, tmp_path: Path) -> None:
    cloud, shadow, lost = np.zeros((69, 69), bool), np.zeros((69, 69), bool), np.zeros((207, 207), bool)
    cloud[3:9, 60:], shadow[20, 5], lost[40:42] = True, True, True
    numbers = np.where(np.arange(207) < 100, 3, 4).astype(np.uint8)[None].repeat(207, 0)
    marks = Marks({"cloud": cloud, "shadow": shadow}, {"B11": {"MSI_LOST": lost}}, {"B11": numbers})
    path = write_product(tmp_path, scene, level="L2A", marks=marks)

    def read(name: str) -> np.ndarray:
        (file,) = path.rglob(name)
        with rasterio.open(file) as dataset:
            return dataset.read()

    opaque, cirrus, snow = read("MSK_CLASSI_B00.jp2")
    np.testing.assert_array_equal(opaque, cloud)
    assert not cirrus.any() and not snow.any()
    quality = read("MSK_QUALIT_B11.jp2")
    np.testing.assert_array_equal(quality[2], lost)
    assert quality.sum() == lost.sum() and not read("MSK_QUALIT_B12.jp2").any()
    np.testing.assert_array_equal(read("MSK_DETFOO_B11.jp2")[0], numbers)
    (classes,) = read("*_SCL_20m.jp2")
    np.testing.assert_array_equal(classes == 9, np.kron(cloud, np.ones((3, 3), bool)))
    assert (classes[60:63, 15:18] == 3).all() and (classes == 3).sum() == 9


def test_a_scene_file_is_read_as_documented(tmp_path: Path, scene: Scene) -> None:
    stacks = {"d10": BANDS_10M, "d20": BANDS_20M, "d60": BANDS_60M}
    arrays = {key: np.stack([scene.dn[name] for name in bands], -1) for key, bands in stacks.items()}
    np.savez_compressed(tmp_path / "scene.npz", **arrays)
    found = read_scene(tmp_path / "scene.npz")
    for name in SCENE_BANDS:
        np.testing.assert_array_equal(found.dn[name], scene.dn[name])
    part = crop(found, 120)
    assert (part.shape_10m, part.dn["B05"].shape, part.dn["B09"].shape) == ((120, 120), (60, 60), (20, 20))
    np.testing.assert_array_equal(part.dn["B12"], scene.dn["B12"][:60, :60])

    np.savez(tmp_path / "odd.npz", **{**arrays, "d20": arrays["d20"][:-1]})
    with pytest.raises(ShapeError, match="B05 is 206 x 207"):
        read_scene(tmp_path / "odd.npz")
    np.savez(tmp_path / "bands.npz", **{**arrays, "d60": arrays["d60"][..., :1]})
    with pytest.raises(ShapeError, match=r"d60 has shape \(69, 69, 1\)"):
        read_scene(tmp_path / "bands.npz")
    np.savez(tmp_path / "keys.npz", d10=arrays["d10"])
    np.save(tmp_path / "array.npy", arrays["d10"])
    (tmp_path / "empty.npz").touch()
    for name in ("keys.npz", "array.npy", "empty.npz"):
        with pytest.raises(ProductError, match=name):
            read_scene(tmp_path / name)
    with pytest.raises(MissingFileError, match="absent.npz"):
        read_scene(tmp_path / "absent.npz")
    for size in (0, 100, 420):
        with pytest.raises(ShapeError, match="of 414 x 414"):
            crop(found, size)


def test_a_real_scene_becomes_a_product(shared_data: Path, tmp_path: Path) -> None:
    scene = read_scene(shared_data / "scenes" / "l1c_usa.npz")
    with np.load(shared_data / "scenes" / "l1c_usa.npz") as file:
        np.testing.assert_array_equal(scene.dn["B8A"], file["d20"][..., 3])
    product = open_product(write_product(tmp_path, scene))
    assert product.grids[60].height == 69
    with BandReader(product) as reader:
        np.testing.assert_array_equal(reader.dn("B8A"), scene.dn["B8A"] + 1000)


def test_scenes_that_do_not_nest_are_refused(scene: Scene) -> None:
    changes = {"B03": scene.dn["B03"][:-1], "B11": scene.dn["B11"][:, 1:], "B09": scene.dn["B01"].astype(float)}
    for name, changed in changes.items():
        with pytest.raises(ShapeError, match=name):
            Scene({**scene.dn, name: changed})
    with pytest.raises(ShapeError, match="B12"):
        Scene({name: dn for name, dn in scene.dn.items() if name != "B12"})


def test_nothing_half_written_stays(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    written = write_product(out, scene)
    with pytest.raises(OutputError, match="exists already"):
        write_product(out, scene)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_product(tmp_path / "file", scene)

    def full_disk(*_: object) -> str:
        raise OSError(28, "No space left on device")

    for failure in (full_disk, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)):
        monkeypatch.setattr("data_prep.safe_writer.manifest_xml", failure)
        with pytest.raises((OutputError, KeyboardInterrupt)):
            write_product(out, scene, date="2023-06-16")
    assert list(out.iterdir()) == [written]


def test_labels_that_no_product_has_are_refused(scene: Scene, tmp_path: Path) -> None:
    days = ("2023-13-01", "2023-02-31", "0000-01-01", "20230615", "2023-W01-1", "\u0662023-01-01")
    labels = [{"level": "L1B"}, {"baseline": "5.9"}, {"baseline": "\u0665\u0665.\u0660\u0669"}, {"tile": "Berlin"}]
    for label in (*labels, {"tile": "\u0663\u0663UUB"}, *({"date": day} for day in days)):
        with pytest.raises(ProductError, match=next(iter(label.values()))):
            write_product(tmp_path, scene, **label)
    with pytest.raises(UnknownSatelliteError, match="S2X"):
        write_product(tmp_path, scene, satellite="S2X")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_the_product_that_it_wrote(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "data_prep.synthetic",
        str(tmp_path),
        "--size-10m",
        "66",
        "--seed",
        "2",
        "--level",
        "L2A",
    ]
    run = subprocess.run(
        [*command, "--baseline", "02.08", "--satellite", "S2B"], capture_output=True, text=True, check=True
    )
    path = Path(run.stdout.strip())
    product = open_product(path)
    assert path.parent == tmp_path and product.tile == tile_of_seed(2).name
    assert (product.level, product.processing_baseline, product.satellite) == ("L2A", "02.08", "S2B")
    assert product.grids[10].height == 66


def test_the_command_reports_errors_with_their_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("synthetic", str(tmp_path), "--size-10m", "67") == 2
    said = capsys.readouterr()
    assert not said.out and "67 px" in said.err and "cure: give a positive multiple of 6" in said.err
    for size in ("-6", "0", "3", "1000000002", str(6 * 10**30)):
        assert run_cli("synthetic", str(tmp_path), "--size-10m", size) == 2
        assert "px at 10 m" in capsys.readouterr().err
    for content in (b"", b"PK", b"\x80\x04N."):
        (tmp_path / "scene.npz").write_bytes(content)
        assert run_cli("synthetic", str(tmp_path), "--scene", str(tmp_path / "scene.npz")) == 2
        assert "scene.npz" in capsys.readouterr().err
    assert run_cli("synthetic", str(tmp_path), "--scene", "/dev/zero") == 2
    assert "not a file" in capsys.readouterr().err
    assert run_cli("synthetic", str(tmp_path / ("x" * 300)), "--size-10m", "6") == 2
    assert "cure" in capsys.readouterr().err
    assert run_cli("synthetic", str(tmp_path), "--scene", str(tmp_path / "absent.npz")) == 2
    assert "absent.npz: is missing" in capsys.readouterr().err
    assert not run_cli("synthetic", "--help")
    assert "d10 (H, W, 4)" in capsys.readouterr().out
