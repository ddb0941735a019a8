"""Finer pictures scored as published: what is cropped, what brightness is, pieces of large pictures, the table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_networks import trained

from hpc_sr.evaluate.metrics.niqe import FEATURES, NiqeModel
from hpc_sr.evaluate.metrics.perceptual import Perceptual
from hpc_sr.evaluate.protocols import single_images
from hpc_sr.evaluate.protocols.single_images import (
    PicturePair,
    enlarged,
    hardest_part,
    mean_scores,
    score_by_bicubic,
    score_picture,
)
from hpc_sr.infer.predict import Predictor
from hpc_sr.models.options import parse_model
from hpc_sr.report.pictures import PictureRow, picture_grid
from hpc_sr.report.rendering import as_markdown
from hpc_sr.tasks import task_by_name

X2 = task_by_name("sisr_x2")


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(20, 230, (3, height, width))).float()


def test_scores_are_those_of_the_formulas_inside_the_border() -> None:
    x = picture(40, 36)
    error = torch.tensor([4.0, -2.0, 6.0])[:, None, None]
    y = x + error
    y[:, :2] = y[:, -2:] = 0
    y[..., :2] = y[..., -2:] = 255
    found = score_picture(x, y, X2, 255)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / ((16 + 4 + 36) / 3)))
    in_y = float((torch.tensor([65.481, 128.553, 24.966]) * error.flatten()).sum()) / 255
    assert found["psnr_y"] == pytest.approx(20 * np.log10(255 / abs(in_y)))
    assert 0.9 < found["ssim"] < 1 and 0.99 < found["gsm"] <= 1 and 0.9 < found["ssim_y"] < 1
    assert score_picture(x, y + 0.3, X2, 255) == found, "levels are whole"
    assert score_picture(x, x, X2, 255) == {"psnr": None, "ssim": 1, "gsm": 1, "psnr_y": None, "ssim_y": 1}
    # As many bits as there are: the same picture in 16 bits has the same scores.
    wide = score_picture(x * 257, y * 257, X2, 65535)
    assert wide == pytest.approx(found, rel=1e-9)


def test_niqe_is_of_the_brightness_and_only_on_request() -> None:
    x = picture(200, 200, seed=1).cumsum(1) % 256
    asked = Perceptual(niqe=NiqeModel(np.zeros(FEATURES), np.eye(FEATURES), white=255.0))
    told = score_picture(x, x, X2, 255, asked)
    assert told["niqe"] is not None and "lpips" not in told and "niqe" not in score_picture(x, x, X2, 255)
    assert score_picture(x * 257, x * 257, X2, 65535, asked)["niqe"] == pytest.approx(told["niqe"], rel=0.05)


@pytest.mark.parametrize("family", ["fsrcnn", "srresnet"])
def test_pieces_of_a_large_picture_are_those_of_the_whole(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = {"fsrcnn": {"width": 4, "narrow": 4, "maps": 1}, "srresnet": {"width": 4, "blocks": 1}}[family]
    options = parse_model({"family": family, **narrow}, "a test")
    predictor = Predictor.of(trained(X2, 32, options, units="8 bit"), torch.device("cpu"), "fp32")
    coarse = picture(57, 83).numpy()
    whole = enlarged(predictor, coarse)
    assert whole.shape == (3, 114, 166)
    monkeypatch.setattr(single_images, "PIECE_PX", 50)
    monkeypatch.setattr(single_images, "_OVERLAP_PX", 1)
    torch.testing.assert_close(enlarged(predictor, coarse), whole, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "multiple"),
    [({"family": "msfm", "width": 4}, 4), ({"family": "degan", "width": 16, "blocks": 1, "unet_width": 16}, 2)],
)
def test_a_network_that_takes_multiples_sees_an_odd_picture_mirrored(options: dict, multiple: int) -> None:
    predictor = Predictor.of(
        trained(X2, 32, parse_model(options, "a test"), units="8 bit"), torch.device("cpu"), "fp32"
    )
    coarse = picture(13, 19).numpy()
    found = enlarged(predictor, coarse)
    beyond = [(0, 0), (0, -13 % multiple), (0, -19 % multiple)]
    whole = enlarged(predictor, np.pad(coarse, beyond, mode="symmetric"))
    assert found.shape == (3, 26, 38) and whole.shape[1:] > found.shape[1:]
    torch.testing.assert_close(found, whole[:, :26, :38], rtol=0, atol=2e-3)


def test_means_and_the_table() -> None:
    pair = PicturePair("a", picture(24, 20).numpy(), picture(48, 40, seed=2).numpy(), 255)
    bicubic = score_by_bicubic(pair, X2).scores
    assert mean_scores([bicubic, bicubic]) == pytest.approx(bicubic)
    assert mean_scores([{"psnr": 1.0}, {"psnr": None}]) == {"psnr": None}
    better = {name: value + 0.01 for name, value in bicubic.items()}
    rows = [
        PictureRow("bicubic", "bicubic", bicubic, {}),
        PictureRow("mine", "srcnn", better, {"parameters": 20.099, "multiply_adds": 1.25, "milliseconds": 10.0}),
    ]
    grid = picture_grid(2, rows, ("A protocol.",))
    by_heading = dict(zip(grid.heading[1:], dict(grid.rows)["mine"], strict=True))
    assert by_heading["PSNR, Y, dB ↑"].published == "36.66" and by_heading["SSIM, Y ↑"].published == "0.9542"
    assert all(cell.best for heading, cell in by_heading.items() if heading[-1] == "↑")
    assert by_heading["multiply-adds, G a megapixel"].text == "1.2" and "NIQE, " not in by_heading
    told = as_markdown(grid)
    assert "A protocol." in told and "NIQE was not asked for" in told and "PI needs" in told and "33.66" in told


def test_the_hardest_part_is_where_bicubic_errs_most() -> None:
    target = np.full((3, 80, 120), 100, np.int16)
    target[:, 50:60:2, 70:90] = 250  # stripes that the low resolution does not show
    coarse = target.reshape(3, 40, 2, 60, 2).mean((2, 4)).astype(np.int16)
    area = hardest_part(PicturePair("stripes", coarse, target, 255.0), 2, 16)
    assert (area.height, area.width) == (16, 16)
    assert area.row <= 25 and area.row + 16 >= 30 and area.column <= 35 and area.column + 16 >= 45
    whole = hardest_part(PicturePair("small", coarse[:, :8, :8], target[:, :16, :16], 255.0), 2, 16)
    assert (whole.row, whole.column, whole.height, whole.width) == (0, 0, 8, 8)
