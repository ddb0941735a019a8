"""LPIPS: as in torchmetrics with the same tensors, and unavailable rather than random."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support import require
from torch import nn
from torchmetrics.functional.image import lpips as library

from hpc_sr.errors import MissingComponentError, NotFiniteError, ShapeError
from hpc_sr.evaluate.metrics.lpips import Lpips, lpips, measure_lpips

#: The library brings the published linear weights along, though not the backbone's.
LINEAR = Path(library.__file__).parent / "lpips_models" / "vgg.pth"


def vgg_features() -> nn.Sequential:
    """Return VGG16's feature layers in the published order, with repeatable weights that keep signals alive."""
    layers: list[nn.Module] = []
    width = 3
    for count, channels in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(inplace=True)]
            width = channels
        layers.append(nn.MaxPool2d(2))
    generator = torch.Generator().manual_seed(5)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.normal_(layer.bias, std=0.1, generator=generator)
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def features() -> nn.Sequential:
    return vgg_features()


@pytest.fixture(scope="module")
def backbone(features, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    held = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save(held | {"classifier.0.weight": torch.zeros(2)}, path)
    return path


@pytest.fixture(scope="module")
def network(backbone) -> Lpips:
    require(LINEAR.exists(), "torchmetrics without LPIPS' linear weights")
    return Lpips.load(backbone, LINEAR)


@pytest.fixture(scope="module")
def pictures(shared_data) -> tuple[torch.Tensor, torch.Tensor]:
    """Two crops of a real scene in red, green, blue and a version of them that is less sharp."""
    scene = np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz")["d10"].astype(np.float32).transpose(2, 0, 1)
    both = torch.stack([torch.from_numpy(scene[[2, 1, 0], at : at + 48, at : at + 64].copy()) for at in (80, 300)])
    return both, (both + both.roll(1, 2) + both.roll(1, 3)) / 3


def test_real_pixels_score_as_in_torchmetrics(network, features, pictures, monkeypatch):
    """Same tensors; the library keeps lengths from 0 by 1e-8 under the root, the authors by 1e-10 beside it."""
    monkeypatch.setattr(library, "_get_tv_model_features", lambda *_, **__: features)
    theirs = library._LPIPS(net="vgg", pretrained=True)
    x, y = ((2 * picture / 3000 - 1).clamp(-1, 1) for picture in pictures)
    expected = theirs(x, y).ravel()
    torch.testing.assert_close(network.distances(x, y), expected, rtol=1e-4, atol=1e-7)
    sums = measure_lpips(network, *pictures, white=3000.0)
    assert lpips(sums) == pytest.approx(expected.mean().item(), rel=1e-4)
    assert expected.min() > 1e-4


def test_pictures_add_up_over_batches_and_ranks(network, pictures):
    x, y = pictures
    apart = sum(measure_lpips(network, a[None], b[None]) for a, b in zip(x, y, strict=True))
    np.testing.assert_allclose(measure_lpips(network, x, y), apart, rtol=1e-5)


def test_equal_pictures_are_0_apart_and_none_have_no_distance(network, pictures):
    x, y = pictures
    assert lpips(measure_lpips(network, x, x)) == 0.0
    nothing = measure_lpips(network, x, y, torch.zeros(2, 48, 64, dtype=torch.bool))
    assert lpips(nothing) is None


def test_a_picture_with_a_masked_pixel_is_left_out_even_if_it_is_nan(network, pictures):
    x, y = pictures
    spoilt, mask = y.clone(), torch.ones(2, 48, 64, dtype=torch.bool)
    spoilt[1, 0, 3, 4], mask[1, 3, 4] = math.nan, False
    np.testing.assert_allclose(measure_lpips(network, x, spoilt, mask), measure_lpips(network, x[:1], y[:1]))
    with pytest.raises(NotFiniteError):
        measure_lpips(network, x, spoilt)


def test_shapes_that_do_not_fit_are_errors(network, pictures):
    x, y = pictures
    for bad in (y[..., :-1], y[:, :2]):
        with pytest.raises(ShapeError):
            measure_lpips(network, x, bad)
    with pytest.raises(ShapeError, match="16 px"):
        measure_lpips(network, x[..., :15, :], y[..., :15, :])
    with pytest.raises(ShapeError, match="mask"):
        measure_lpips(network, x, y, torch.ones(48, 64))


def test_missing_or_foreign_weights_are_an_error_never_a_random_network(backbone, tmp_path):
    with pytest.raises(MissingComponentError, match="absent.pth"):
        Lpips.load(tmp_path / "absent.pth", LINEAR)
    (tmp_path / "torn.pth").write_bytes(backbone.read_bytes()[:100_000])
    with pytest.raises(MissingComponentError, match="torn.pth"):
        Lpips.load(tmp_path / "torn.pth", LINEAR)
    with pytest.raises(MissingComponentError, match="features.0.weight: no tensor"):
        Lpips.load(LINEAR, LINEAR)
    with pytest.raises(MissingComponentError, match="lin0"):
        Lpips.load(backbone, backbone)
    with pytest.raises(MissingComponentError, match=r"shape \(1, 192, 1, 1\)"):
        Lpips.load(backbone, LINEAR.with_name("alex.pth"))
