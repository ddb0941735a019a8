"""Predictions of others: the scores that independent libraries give, on the pixels and bands that all have."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from external_files import BANDS, moved, real_pixels, write_tif
from rasterio.transform import Affine
from skimage.metrics import structural_similarity
from thread_ranks import on_ranks
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    peak_signal_noise_ratio,
    spectral_angle_mapper,
)

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import ImageError, NotFiniteError, RecipeError
from hpc_sr.evaluate.protocols.external import evaluate_predictions


@pytest.fixture(scope="module")
def real(shared_data) -> np.ndarray:
    return real_pixels(shared_data)


@pytest.fixture(scope="module")
def guess(real) -> np.ndarray:
    """A prediction of it: neighbours mixed in, and a bias."""
    x = real.astype(np.float64)
    return (0.6 * x + 0.3 * np.roll(x, 1, 2) + 0.1 * np.roll(x, -2, 1) + 15).round().astype(np.uint16)


def totals(evaluation: dict, name: str = "theirs") -> dict[str, float | None]:
    return evaluation["scenes"][0]["methods"][name]["total"]


def evaluated(prediction: Path, truth: Path, **options: Any) -> dict:
    return evaluate_predictions({"theirs": prediction}, truth, SerialComm(), **options)


def test_real_pixels_score_as_in_independent_libraries(real, guess, tmp_path):
    found = evaluated(write_tif(tmp_path / "p.tif", guess), write_tif(tmp_path / "t.tif", real), scale=2)
    scores = found["scenes"][0]["methods"]["theirs"]
    x, y = (torch.from_numpy(image.astype(np.float64))[None] for image in (real, guess))
    total = scores["total"]
    assert total["rmse"] == pytest.approx(math.sqrt(np.mean((guess.astype(float) - real) ** 2)), rel=1e-9)
    assert total["psnr"] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=10_000.0).item(), rel=1e-7)
    assert total["sam"] == pytest.approx(math.degrees(spectral_angle_mapper(y, x).item()), rel=1e-9)
    ergas = error_relative_global_dimensionless_synthesis(y, x, ratio=2).item()
    assert total["ergas"] == pytest.approx(ergas, rel=1e-9)
    assert total["psnr_image_max"] == pytest.approx(
        peak_signal_noise_ratio(y, x, data_range=float(real.max())).item(), rel=1e-7
    )
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 10_000.0}
    for band, a, b in zip(BANDS, real.astype(float), guess.astype(float), strict=True):
        assert scores["bands"][band]["ssim"] == pytest.approx(structural_similarity(a, b, **gaussian), rel=1e-9)
        assert scores["bands"][band]["bias"] == pytest.approx(np.mean(b) - np.mean(a), abs=1e-9)
    assert scores["pixels"] == real[0].size


def test_the_document_is_what_the_report_reads(real, guess, tmp_path):
    truth = write_tif(tmp_path / "truth.tif", real)
    paths = {name: write_tif(tmp_path / f"{name}.tif", guess) for name in ("bicubic", "theirs")}
    found = json.loads(json.dumps(evaluate_predictions(paths, truth, SerialComm()), allow_nan=False))
    assert found["schema"] == 2 and found["protocol"] == "truth"
    assert found["task"] is found["model"] is found["degradation"] is found["precision"] is found["scale"] is None
    assert found["bands"] == list(BANDS)
    assert found["compared"] == "bicubic"
    assert found["ratio_to_bicubic"]["theirs"]["rmse"] == pytest.approx(1)
    assert found["paired"]["theirs"]["rmse"]["difference"] == pytest.approx(0)
    assert found["scenes"][0]["spectra"]["theirs"]["B02"]["transfer"][3] > 0
    (scene,) = found["scenes"]
    assert scene["scene"] == "truth" and scene["size_px"] == [414, 414]
    assert set(scene["methods"]) == set(found["mean"]) == {"bicubic", "theirs"}
    assert all(isinstance(text, str) for text in scene["provenance"].values())
    assert scene["methods"]["theirs"]["classes"] == {}
    assert found["mean"]["theirs"]["total"] == scene["methods"]["theirs"]["total"]
    assert found["mean"]["theirs"]["total"]["ergas"] is None  # nobody told the ratio of the pixel sizes
    assert found["mean"]["theirs"]["total"]["ergas_ratio_free"] > 0


def test_only_pixels_that_all_have_are_scored(real, guess, tmp_path, caplog, monkeypatch):
    """What any of them leaves out is wrong by far in the others: it would show."""
    reference, one, other = real.astype(np.float32), guess.copy(), guess.copy()
    reference[2, 50:60, 380:390] = np.nan  # in a truth, NaN is no measurement
    one[:, 300, 0:9] = 0
    other[:, 300, 0:9] = 60_000
    other[1, 100, 100] = 0
    one[:, 100, 100] = 60_000
    one[0, 55, 385] = 0  # the truth has nothing there either
    chosen = np.ones(real.shape[1:], np.uint8)
    chosen[:, 400:] = 0
    np.save(tmp_path / "mask.npy", chosen)
    truth = write_tif(tmp_path / "t.tif", reference)
    paths = {
        "one": write_tif(tmp_path / "a.tif", one, nodata=0),
        "other": write_tif(tmp_path / "b.tif", other, nodata=0),
    }
    monkeypatch.setattr(logging.getLogger("hpc_sr"), "propagate", True)
    with caplog.at_level(logging.WARNING, "hpc_sr"):
        found = evaluate_predictions(paths, truth, SerialComm(), mask=tmp_path / "mask.npy")
    counts = chosen.astype(bool) & np.isfinite(reference).all(0)
    counts[300, 0:9] = counts[100, 100] = False
    expected = math.sqrt(np.mean((guess.astype(float) - real)[:, counts] ** 2))
    for name in paths:
        assert found["scenes"][0]["methods"][name]["pixels"] == counts.sum()
        assert totals(found, name)["rmse"] == pytest.approx(expected, rel=1e-9)
    told = [record.getMessage() for record in caplog.records]
    assert any("a.tif" in line and " 9 pixels" in line for line in told)
    assert any("b.tif" in line and " 1 pixels" in line for line in told)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_undeclared_nan_in_a_prediction_is_an_error_with_its_count(real, guess, tmp_path, bad):
    broken = guess.astype(np.float32)
    broken[1, 380:390, 7] = bad  # in two windows, and their contexts overlap
    truth = write_tif(tmp_path / "t.tif", real)
    path = write_tif(tmp_path / "p.tif", broken)
    with pytest.raises(NotFiniteError, match=" 10 pixels") as caught:
        evaluated(path, truth)
    assert caught.value.where == path


def test_an_undeclared_nan_where_the_truth_has_no_data_does_not_matter(real, guess, tmp_path):
    broken, holed = guess.astype(np.float32), real.copy()
    broken[:, 380:390, 7] = np.nan
    holed[0, 380:390, 7] = 0
    found = evaluated(write_tif(tmp_path / "p.tif", broken), write_tif(tmp_path / "t.tif", holed, nodata=0))
    assert found["scenes"][0]["methods"]["theirs"]["pixels"] == real[0].size - 10


def test_bands_are_matched_by_their_names(real, guess, tmp_path):
    truth = write_tif(tmp_path / "t.tif", real)
    expected = totals(evaluated(write_tif(tmp_path / "p.tif", guess), truth))
    shuffled = write_tif(tmp_path / "s.tif", guess[[3, 0, 2, 1]], bands=("B8", "SR B2 (490 nm)", "B4, red", "B03"))
    assert totals(evaluated(shuffled, truth)) == expected
    more = np.concatenate([guess[:1] + 5000, guess])
    more[0, 10, 10] = 0  # missing in a band that nobody asked for
    cube = write_tif(tmp_path / "m.tif", more, bands=("B01", *BANDS), nodata=0)
    assert totals(evaluated(cube, truth)) == expected


def test_bands_without_names_are_matched_by_position(real, guess, tmp_path):
    truth = write_tif(tmp_path / "t.tif", real)
    expected = evaluated(write_tif(tmp_path / "p.tif", guess), truth)
    np.save(tmp_path / "p.npy", guess)
    unnamed = evaluated(tmp_path / "p.npy", truth, unit="dn", truth_unit="tags")
    assert totals(unnamed) == totals(expected)
    np.save(tmp_path / "t.npy", real)
    assert evaluated(tmp_path / "p.npy", tmp_path / "t.npy", unit="dn")["bands"] == ["1", "2", "3", "4"]
    named_by_prediction = evaluated(tmp_path / "p.tif", tmp_path / "t.npy", truth_unit="dn")
    assert named_by_prediction["bands"] == list(BANDS)
    assert totals(named_by_prediction) == totals(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": lambda a: a[:, :-1]}, "413 x 414 px"),
        ({"crs": "EPSG:32634"}, "EPSG:32634"),
        ({"transform": moved(right_px=0.5)}, "0.50 px off"),
        ({"transform": moved(stretch=1.001)}, "px off"),
        ({"values": lambda a: a[:3], "bands": None}, "has 3 bands; the truth has 4 bands"),
        ({"bands": ("B02", "B03", "B04", "B05")}, "has B02, B03, B04, B05; the truth has B02, B03, B04, B08"),
        ({"values": lambda a: a[:3], "bands": BANDS[:3]}, "has B02, B03, B04; the truth"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(real, guess, tmp_path, change, message):
    values = change.pop("values", lambda a: a)(guess)
    path = write_tif(tmp_path / "p.tif", values, **change)
    with pytest.raises(ImageError, match=message) as caught:
        evaluated(path, write_tif(tmp_path / "t.tif", real))
    assert caught.value.where == path


def test_rounded_coordinates_and_files_without_a_place_fit(real, guess, tmp_path):
    truth = write_tif(tmp_path / "t.tif", real)
    assert evaluated(write_tif(tmp_path / "n.tif", guess, transform=moved(right_px=1e-4)), truth)
    assert evaluated(write_tif(tmp_path / "p.tif", guess, crs=None, transform=Affine.identity()), truth)


def test_a_place_in_degrees_is_the_same_on_every_turn(real, guess, tmp_path):
    def placed(name: str, values: np.ndarray, west: float, crs: str = "EPSG:4326") -> Path:
        return write_tif(tmp_path / name, values, crs=crs, transform=Affine(1e-4, 0, west, 0, -1e-4, -16))

    truth = placed("t.tif", real, 179.99)
    assert evaluated(placed("p.tif", guess, -180.01), truth)
    with pytest.raises(ImageError, match="off the truth's grid"):
        evaluated(placed("p.tif", guess, -179.99), truth)
    truth = placed("t.tif", real, 179.99, "EPSG:32632")
    with pytest.raises(ImageError, match="off the truth's grid"):
        evaluated(placed("p.tif", guess, -180.01, "EPSG:32632"), truth)


def test_a_mask_of_another_size_is_refused(real, guess, tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((20, 20), np.uint8))
    files = write_tif(tmp_path / "p.tif", guess), write_tif(tmp_path / "t.tif", real)
    with pytest.raises(ImageError, match="20 x 20 px"):
        evaluated(*files, mask=tmp_path / "mask.npy")


def test_nothing_left_to_score_is_an_error(real, guess, tmp_path):
    np.save(tmp_path / "mask.npy", np.zeros(real.shape[1:], np.uint8))
    files = write_tif(tmp_path / "p.tif", guess), write_tif(tmp_path / "t.tif", real)
    with pytest.raises(ImageError, match="no pixel to score"):
        evaluated(*files, mask=tmp_path / "mask.npy")
    with pytest.raises(RecipeError, match="no prediction"):
        evaluate_predictions({}, files[1], SerialComm())


def test_constant_bands_have_defined_results(real, guess, tmp_path):
    flat = guess.copy()
    flat[1] = 777
    found = evaluated(write_tif(tmp_path / "p.tif", flat), write_tif(tmp_path / "t.tif", real))
    json.dumps(found, allow_nan=False)
    band = found["scenes"][0]["methods"]["theirs"]["bands"]["B03"]
    assert band["correlation"] is None
    assert band["rmse"] == pytest.approx(math.sqrt(np.mean((real[1] - 777.0) ** 2)))


@pytest.mark.parametrize("ranks", [2, 5])
def test_any_number_of_ranks_gives_the_same_numbers(real, guess, tmp_path, ranks):
    """Five ranks share four windows: one has none."""
    truth, path = write_tif(tmp_path / "t.tif", real), write_tif(tmp_path / "p.tif", guess)
    alone = totals(evaluated(path, truth, scale=2))
    for found in on_ranks(ranks, lambda comm: evaluate_predictions({"theirs": path}, truth, comm, scale=2)):
        assert totals(found) == pytest.approx(alone, rel=1e-9)


def test_all_ranks_raise_what_one_rank_has_seen(real, guess, tmp_path):
    broken = guess.astype(np.float32)
    broken[0, 410, 410] = np.nan
    truth, path = write_tif(tmp_path / "t.tif", real), write_tif(tmp_path / "p.tif", broken)
    told = on_ranks(2, lambda comm: evaluate_predictions({"theirs": path}, truth, comm))
    assert str(told[0]) == str(told[1]) and " 1 pixels" in str(told[0])
    assert isinstance(told[0], NotFiniteError)


@pytest.mark.parametrize(
    ("truth", "prediction", "told"),
    [
        (BANDS, BANDS[::-1], None),
        (None, None, None),
        (None, BANDS, "t.tif does not name its bands: taken to be those of"),
        (("B02", "B02", "B03", "B04"), BANDS, "t.tif does not name its bands"),
        (BANDS, ("B02", "B03", "", ""), "p.tif: bands are matched with the truth's by position"),
    ],
)
def test_bands_that_are_matched_by_position_are_told(real, tmp_path, log_lines, truth, prediction, told):
    paths = (write_tif(tmp_path / "p.tif", real, bands=prediction), write_tif(tmp_path / "t.tif", real, bands=truth))
    evaluated(*paths)
    assert [told in line for line in log_lines] == ([True] if told else [])
