"""The perceptual term: real weights, the formula written out, its place in both ways of training, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from made_store import made_recipe, made_store, train_lines
from safetensors.torch import load_file
from small_training import small_generator
from torch.nn.functional import conv2d, max_pool2d

from hpc_sr.errors import HpcSrError, MissingComponentError, RecipeError
from hpc_sr.tasks import S2X, S6X, Task
from hpc_sr.train.options import PerceptualOptions
from hpc_sr.train.perceptual import PerceptualTerm, open_perceptual
from hpc_sr.weights.vgg import load_vgg

MODEL = {"family": "s2x", "width": 16, "blocks": 1}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two convolutions and one of the second stage, of random weights that keep signals alive."""
    noise, held = torch.Generator().manual_seed(3), {}
    for number, (out, into) in {0: (64, 3), 2: (64, 64), 5: (128, 64)}.items():
        held[f"features.{number}.weight"] = torch.randn(out, into, 3, 3, generator=noise) * (2 / 9 / into) ** 0.5
        held[f"features.{number}.bias"] = 0.1 * torch.randn(out, generator=noise)
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(held, path)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("perceptual") / "store", S2X, 16, rows=16, held_out=4)


def term(weights: Path, task: Task = S2X, patch_px: int = 16, **options) -> PerceptualTerm:
    told = PerceptualOptions(vgg=str(weights), **{"layers": ("relu1_2", "relu2_1"), "weight": 0.5} | options)
    return open_perceptual(told, small_generator(task=task, patch_px=patch_px), "fp32", CPU)


def pictures(bands: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, bands, 16, 16, requires_grad=True), torch.rand(2, bands, 16, 16, requires_grad=True)


def test_published_weights_see_what_is_on_record(shared_data: Path) -> None:
    path = shared_data / "weights" / "vgg19_normalised_relu3_1.safetensors"
    held = load_file(shared_data / "weights" / "reference_io.safetensors")
    (seen,) = load_vgg(path, ["relu3_1"], CPU).features(held["rgb_input"], ["relu3_1"])
    torch.testing.assert_close(seen, held["vgg19_normalised_relu3_1"], rtol=1e-4, atol=1e-4)
    assert seen.std() > 0.1


def test_the_term_is_the_formula_of_the_named_bands(weights: Path) -> None:
    """By hand: B11, B8A and B05 of the six, reflectance 3000 as white, ImageNet's colours, two layers alike."""
    held, (estimate, reference) = torch.load(weights), pictures(6)

    def seen(target: torch.Tensor) -> list[torch.Tensor]:
        colours = target[:, [4, 3, 0]] * 2000 / 3000
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        out = (colours - mean) / deviation
        for number in (0, 2):
            out = conv2d(out, held[f"features.{number}.weight"], held[f"features.{number}.bias"], padding=1).relu()
        pooled = max_pool2d(out, 2)
        return [out, conv2d(pooled, held["features.5.weight"], held["features.5.bias"], padding=1).relu()]

    expected = sum(((y - x) ** 2).mean() for y, x in zip(seen(estimate), seen(reference), strict=True))
    found = term(weights)([estimate], [reference])
    torch.testing.assert_close(found, 0.5 * expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(found, estimate)[0], torch.autograd.grad(0.5 * expected, estimate)[0], rtol=1e-4, atol=1e-7
    )
    assert not found.requires_grad or reference.grad is None
    swapped = term(weights, bands=("B05", "B8A", "B11"))([estimate], [reference])
    assert swapped != found and term(weights, white=6000.0)([estimate], [reference]) != found
    assert term(weights)([estimate], [estimate]) == 0


def test_layers_before_their_relu_and_other_distances(weights: Path) -> None:
    estimate, reference = pictures(6)

    def features(image: torch.Tensor, layer: str) -> torch.Tensor:
        found = term(weights, layers=(layer,))
        (seen,) = found.trunk.features(found.gain * image[:, [4, 3, 0]], found.layers)
        return seen

    before = features(estimate, "conv2_1")
    assert before.min() < 0 and torch.equal(before.relu(), features(estimate, "relu2_1"))
    difference = before - features(reference, "conv2_1")
    for distance, wanted in {
        "l1": difference.abs().mean(),
        "mse": difference.square().mean(),
        "charbonnier": (difference.square() + 1e-6).sqrt().mean(),
    }.items():
        found = term(weights, layers=("conv2_1",), distance=distance)([estimate], [reference])
        torch.testing.assert_close(found, 0.5 * wanted, rtol=1e-5, atol=0)


def test_content_alone_goes_without_it(tmp_path: Path, store: Path, weights: Path) -> None:
    section = {"perceptual": {"vgg": str(weights), "layers": ["relu2_1"]}, "content_samples": 8}
    lines = train_lines(made_recipe(tmp_path / "run", store, MODEL, 24, objective=section))
    assert ["perceptual" in line for line in lines] == [False, True, True]


def test_two_bands_are_seen_in_grey(weights: Path) -> None:
    estimate, reference = pictures(2)
    whole = term(weights, S6X, patch_px=96)([estimate], [reference])
    torch.testing.assert_close(whole, term(weights, S6X, patch_px=96, bands=("B01",))([estimate], [reference]))
    (gradient,) = torch.autograd.grad(whole, estimate)
    assert gradient[:, 0].any() and not gradient[:, 1].any()


@pytest.mark.parametrize("method", ["content", "adversarial"])
def test_either_way_of_training_adds_the_term(tmp_path: Path, store: Path, weights: Path, method: str) -> None:
    section: dict = {"perceptual": {"vgg": str(weights), "layers": ["relu2_1"], "weight": 0.1}}
    if method == "adversarial":
        critic = {"family": "s2d_light", "width": 16}
        section |= {"method": "adversarial", "loss": "hinge", "critic": critic}
    lines = train_lines(made_recipe(tmp_path / "run", store, MODEL, 24, objective=section))
    assert len(lines) == 3
    for line in lines:
        others = line["adversarial"] if method == "adversarial" else 0.0
        assert line["loss"] == pytest.approx(line["target"] + line["perceptual"] + others, rel=1e-5)
        assert math.isfinite(line["loss"]) and line["perceptual"] > 0
    held = torch.load(tmp_path / "run" / "checkpoints" / "step_00000003" / "generator.pt", weights_only=True)
    assert not any("features" in name for name in held), "the trunk is not part of what is trained"
    anew = train_lines(made_recipe(tmp_path / "anew", store, MODEL, 24, objective=section))
    assert [line["perceptual"] for line in anew] == [line["perceptual"] for line in lines]


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"vgg": "absent.pth"}, MissingComponentError, "absent.pth"),
        ({"layers": ("relu3_1",)}, MissingComponentError, "features.7.weight: no tensor"),
        ({"layers": ("relu1_4",)}, MissingComponentError, "has no layer relu1_4"),
        ({"bands": ("B04", "B03", "B02")}, RecipeError, "'B04' is no band of task s2x"),
        ({"layers": ("relu5_3",), "patch_px": 8}, RecipeError, "relu5_3 needs patches of 16 px"),
    ],
    ids=lambda value: "" if isinstance(value, type) else str(value)[:24],
)
def test_what_does_not_fit_is_told_before_training(weights: Path, options: dict, kind: type, told: str) -> None:
    given = {"weights": weights, **options}
    given["weights"] = given.pop("vgg", given["weights"])
    with pytest.raises(kind, match=told) as error:
        term(**given)
    assert isinstance(error.value, HpcSrError) and error.value.cure and error.value.where


def test_a_file_of_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(MissingComponentError, match="torn.safetensors"):
        term(tmp_path / "torn.safetensors")
