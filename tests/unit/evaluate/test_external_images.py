"""Images of others: what their numbers mean, which axes are bands, where they hold data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
from external_files import real_pixels, write_tif
from rasterio.enums import ColorInterp

from hpc_sr.errors import ImageError
from hpc_sr.evaluate.protocols.external_images import open_image
from hpc_sr.infer.windows import Area


def read_all(path: Path, unit: str = "tags") -> tuple[np.ndarray, np.ndarray]:
    with open_image(path, unit) as image:
        return image.read(Area(0, 0, image.height, image.width))


@pytest.fixture(scope="module")
def real(shared_data) -> np.ndarray:
    return real_pixels(shared_data)


@pytest.mark.parametrize(
    ("dtype", "to_stored", "scale", "offset", "unit"),
    [
        (np.uint16, lambda r: r * 10_000, 1e-4, 0.0, "tags"),
        (np.uint16, lambda r: r * 10_000 + 1000, 1e-4, -0.1, "tags"),  # processing baselines from 04.00 on
        (np.float32, lambda r: r / 0.5, 0.5, 0.0, "tags"),
        (np.uint16, lambda r: r * 10_000, None, 0.0, "dn"),
        (np.float32, lambda r: r * 10_000, None, 0.0, "dn"),
        (np.float32, lambda r: r, None, 0.0, "reflectance"),
        (np.float64, lambda r: r, 1e-4, 0.0, "reflectance"),  # what is said counts
    ],
)
def test_every_unit_gives_reflectance_times_10_000(real, tmp_path, dtype, to_stored, scale, offset, unit):
    stored = to_stored(real / 10_000.0)
    stored = stored.round().astype(dtype) if np.issubdtype(dtype, np.integer) else stored.astype(dtype)
    values, valid = read_all(write_tif(tmp_path / "i.tif", stored, scale=scale, offset=offset), unit)
    assert values.dtype == np.float32 and valid.all()
    np.testing.assert_allclose(values, real, atol=2e-3)


def test_without_tags_the_unit_must_be_told(real, tmp_path):
    path = write_tif(tmp_path / "i.tif", real, scale=None)
    with pytest.raises(ImageError, match="unit") as caught:
        read_all(path)
    assert caught.value.where == path and "reflectance" in caught.value.cure
    np.save(tmp_path / "i.npy", real)
    with pytest.raises(ImageError, match="unit"):
        read_all(tmp_path / "i.npy")


@pytest.mark.parametrize(
    "arrange", [lambda a: a, lambda a: a.transpose(1, 2, 0), lambda a: np.asfortranarray(a)], ids=["CHW", "HWC", "F"]
)
def test_an_array_reads_the_same_in_any_order_of_its_axes(real, tmp_path, arrange):
    np.save(tmp_path / "i.npy", arrange(real))
    np.testing.assert_array_equal(read_all(tmp_path / "i.npy", "dn")[0], real)
    np.save(tmp_path / "r.npy", arrange((real / 10_000).astype(np.float32)))
    np.testing.assert_allclose(read_all(tmp_path / "r.npy", "reflectance")[0], real, atol=2e-3)


def test_a_plane_is_one_band(real, tmp_path):
    np.save(tmp_path / "i.npy", real[2])
    np.testing.assert_array_equal(read_all(tmp_path / "i.npy", "dn")[0], real[2:3])


@pytest.mark.parametrize("shape", [(4, 10, 8), (12, 40, 6), (4,), (2, 4, 20, 20)])
def test_axes_that_may_mean_two_things_are_refused(tmp_path, shape):
    np.save(tmp_path / "i.npy", np.ones(shape))
    with pytest.raises(ImageError, match="shape"):
        read_all(tmp_path / "i.npy", "dn")


def test_what_is_no_image_of_numbers_is_refused(real, tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.tif").write_text("no raster")
    np.save(tmp_path / "complex.npy", np.ones((20, 20), complex))
    np.save(tmp_path / "true.npy", np.ones((20, 20), bool))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "torn.npy", real)
    (tmp_path / "torn.npy").write_bytes((tmp_path / "torn.npy").read_bytes()[:5000])
    write_tif(tmp_path / "complex.tif", np.ones((1, 20, 20), np.complex64), bands=None)
    for path in [*tmp_path.iterdir(), tmp_path / "absent.tif", tmp_path / "absent.npy"]:
        with pytest.raises(ImageError) as caught:
            read_all(path, "dn")
        assert caught.value.where == path


def test_a_torn_geotiff_is_refused_where_it_is_read(real, tmp_path):
    path = write_tif(tmp_path / "torn.tif", real, compress="deflate")
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read"):
        read_all(path)


def test_nodata_masks_and_alpha_are_not_valid(real, tmp_path):
    holed = real.copy()
    holed[1, 5, 7] = 0
    _, valid = read_all(write_tif(tmp_path / "nodata.tif", holed, nodata=0))
    assert np.argwhere(~valid).tolist() == [[1, 5, 7]]
    empty = real.astype(np.float32)
    empty[3, 2, 2] = np.nan
    _, valid = read_all(write_tif(tmp_path / "nan.tif", empty, nodata=math.nan))
    assert np.argwhere(~valid).tolist() == [[3, 2, 2]]
    masked = write_tif(tmp_path / "mask.tif", real)
    with rasterio.open(masked, "r+") as file:
        shown = np.full(real.shape[1:], 255, np.uint8)
        shown[9, 1] = 0
        file.write_mask(shown)
    assert np.argwhere(~read_all(masked)[1]).tolist() == [[band, 9, 1] for band in range(4)]
    alpha = np.concatenate([real[:1], np.full_like(real[:1], 255)])
    alpha[1, 3, 4] = 0
    path = write_tif(tmp_path / "alpha.tif", alpha, bands=("B02", ""))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    values, valid = read_all(path)
    assert values.shape[0] == 1
    assert np.argwhere(~valid).tolist() == [[0, 3, 4]]


def test_each_band_has_its_own_scale_and_offset(real, tmp_path):
    path = write_tif(tmp_path / "i.tif", real)
    scales, offsets = np.array([1e-4, 2e-4, 1e-4, 5e-5]), np.array([0.0, -0.1, 0.2, -0.1])
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = scales, offsets
    expected = 10_000 * (real * scales[:, None, None] + offsets[:, None, None])
    np.testing.assert_allclose(read_all(path)[0], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("SR B5 (705 nm)", "B8A, central wavelength 865 nm", "B11", "red"), ("B05", "B8A", "B11", "B04")),
        (("thermal", "B8A of B08", "B14", "nir"), ("thermal", "B8A of B08", "B14", "B08")),
        (("B8a", "b05_20m", "T33UUB B11", "SUB12"), ("B8A", "B05", "B11", "SUB12")),
        (("B02", "B02", "B03", "B04"), None),
        (("B02", "B03", "B04", ""), None),
    ],
)
def test_names_are_spelt_one_way_and_all_or_none_count(real, tmp_path, names, expected):
    with open_image(write_tif(tmp_path / "i.tif", real, bands=names)) as image:
        assert image.bands == expected


@pytest.mark.parametrize(
    ("tags", "unit", "warns"),
    [
        ((1e-4, -0.1), "dn", True),
        ((1e-4, 0.0), "reflectance", True),
        ((1e-4, 0.0), "dn", False),
        ((1.0, 0.0), "reflectance", False),
        ((1e-4, -0.1), "tags", False),
    ],
)
def test_a_unit_against_the_files_own_tags_is_warned_of(real, tmp_path, log_lines, tags, unit, warns):
    path = write_tif(tmp_path / "i.tif", real, scale=tags[0], offset=tags[1])
    with open_image(path, unit):
        assert any("not so read" in line for line in log_lines) == warns
