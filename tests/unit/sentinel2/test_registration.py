"""The shift between grids is measured to a few hundredths of a pixel, on real ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_sr.errors import RasterError, RegistrationError
from hpc_sr.sentinel2.registration import check_band_order, check_registration, crops, measure_shift, overview

_SCENES = ["l1c_malmo_T33UUB", "l1c_iceland", "l1c_usa", "l1c_australia"]


def _bands(shared_data: Path, scene: str) -> dict[str, np.ndarray]:
    with np.load(shared_data / "scenes" / f"{scene}.npz") as file:
        return {
            "B02": file["d10"][..., 0],
            "B08": file["d10"][..., 3],
            "B8A": file["d20"][..., 3],
            "B01": file["d60"][..., 0],
        }


@pytest.mark.parametrize("scene", _SCENES)
@pytest.mark.parametrize("moved", [(0, 0), (1, 0), (0, -1), (-2, 3)])
def test_a_shift_of_real_bands_is_measured(shared_data: Path, scene: str, moved: tuple[int, int]) -> None:
    bands = _bands(shared_data, scene)
    for coarse, fine in (("B8A", "B08"), ("B01", "B02")):
        shifted = np.roll(bands[coarse], moved, (0, 1))
        found = measure_shift(crops(coarse, shifted), crops(fine, bands[fine]))
        np.testing.assert_allclose(found, moved, atol=0.05)


@pytest.mark.parametrize("scene", _SCENES)
def test_registered_scenes_pass_and_a_pixel_at_20_m_is_refused_with_its_shift(shared_data: Path, scene: str) -> None:
    bands = _bands(shared_data, scene)
    found = check_registration({name: crops(name, dn) for name, dn in bands.items()}, 0.5, scene)
    assert set(found) == {"20 m", "60 m"} and max(abs(x) for shift in found.values() for x in shift) < 0.05
    bands["B8A"] = np.roll(bands["B8A"], 1, 0)
    with pytest.raises(
        RegistrationError, match=r"B8A at 20 m lies \+(0\.9|1\.0)\d rows and [+-]0\.0\d columns off B08"
    ):
        check_registration({name: crops(name, dn) for name, dn in bands.items()}, 0.5, scene)


def test_without_texture_nothing_is_claimed() -> None:
    noise = np.random.default_rng(0)
    flat, grain = np.full((256, 256), 500.0), noise.integers(400, 600, (512, 512)).astype(float)
    assert measure_shift(crops("B8A", flat), crops("B08", np.full((512, 512), 400.0))) is None
    assert measure_shift(crops("B8A", noise.integers(400, 600, (256, 256)).astype(float)), crops("B08", grain)) is None
    assert check_registration({"B8A": crops("B8A", flat), "B08": crops("B08", grain)}, 0.5, "x") == {"20 m": None}
    assert measure_shift(crops("B8A", np.zeros((256, 256))), crops("B08", grain)) is None


def test_gain_and_offset_between_the_bands_do_not_matter(shared_data: Path) -> None:
    bands = _bands(shared_data, "l1c_malmo_T33UUB")
    plain = measure_shift(crops("B8A", bands["B8A"]), crops("B08", bands["B08"]))
    other = measure_shift(crops("B8A", 3.0 * bands["B8A"] + 700), crops("B08", bands["B08"]))
    np.testing.assert_allclose(plain, other, atol=1e-9)


def _overviews(bands: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: overview(name, dn) for name, dn in bands.items()}


def _nested(bands: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Trim bands to whole pixels of 60 m."""
    rows, columns = bands["B01"].shape
    return {
        name: dn[: rows * 60 // gsd, : columns * 60 // gsd]
        for (name, dn), gsd in zip(bands.items(), (10, 10, 20, 60), strict=True)
    }


def test_no_real_scene_or_part_of_one_is_taken_for_exchanged_and_every_exchanged_one_is(shared_data: Path) -> None:
    scenes = sorted((shared_data / "scenes").glob("*.npz"))
    assert len(scenes) >= 12
    said = 0
    for scene in scenes:
        bands = _nested(_bands(shared_data, scene.stem))
        rows, columns = bands["B01"].shape
        parts = [(0, 0, rows, columns)]
        parts += [(r, c, 20, 20) for r in range(0, rows - 19, 10) for c in range(0, columns - 19, 10)]
        for row, column, height, width in parts:
            part = {
                name: dn[row * 60 // gsd :, column * 60 // gsd :][: height * 60 // gsd, : width * 60 // gsd]
                for (name, dn), gsd in zip(bands.items(), (10, 10, 20, 60), strict=True)
            }
            for names in (("B02", "B08", "B8A"), ("B01", "B02", "B08", "B8A")):
                right = {name: part[name] for name in names}
                check_band_order(_overviews(right), scene.stem)
                try:
                    check_band_order(_overviews(right | {"B02": part["B08"], "B08": part["B02"]}), scene.stem)
                except RasterError as error:
                    said += 1
                    assert "called B02 looks like near infrared" in str(error) and error.cure
                else:  # open water, and the smallest clearing in a forest: nothing can be told
                    assert height * width < rows * columns or scene.stem.endswith("S2B_MSIL2A_20170924T93020_69_24")
    assert said > 500


@pytest.mark.parametrize("value", [0, 500])
def test_where_bands_are_alike_their_order_is_not_judged(shared_data: Path, value: int) -> None:
    bands = _nested(_bands(shared_data, "l1c_malmo_T33UUB"))
    flat = {name: np.full_like(dn, value) for name, dn in bands.items()}
    check_band_order(_overviews(flat), "flat")
    snow = {name: np.repeat(np.repeat(bands["B01"], n, 0), n, 1) for name, n in zip(bands, (6, 6, 3, 1), strict=True)}
    check_band_order(_overviews(snow | {"B02": snow["B08"] + value, "B08": snow["B02"]}), "snow")
    small = {name: dn[: 9 * n, : 9 * n] for (name, dn), n in zip(bands.items(), (6, 6, 3, 1), strict=True)}
    check_band_order(_overviews(small | {"B02": small["B08"], "B08": small["B02"]}), "too small to tell")
    check_band_order({}, "of other bands")


def test_samples_lie_on_the_same_ground_in_all_bands() -> None:
    ground = np.random.default_rng(3).integers(1, 9000, (300, 417))
    seen = {name: overview(name, np.kron(ground, np.ones((n, n)))) for name, n in (("B02", 6), ("B8A", 3), ("B01", 1))}
    assert seen["B01"].shape == (150, 208)
    np.testing.assert_array_equal(seen["B01"], ground[::2, ::2][:, :208])
    for name in ("B02", "B8A"):
        np.testing.assert_allclose(seen[name], seen["B01"])
    assert overview("B11", ground).size == 0
