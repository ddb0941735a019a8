"""The shift between grids is measured to a few hundredths of a pixel, on real ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpc_sr.errors import RegistrationError
from hpc_sr.sentinel2.registration import check_registration, crops, measure_shift

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
