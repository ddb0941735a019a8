"""Training on overlapping crops: what is cut, what is compared, what is refused, and runs that go on to the bit."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_networks import network
from made_store import made_recipe, made_store, train_lines
from support import run_cli

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch, Loader
from hpc_sr.errors import CheckpointError, RecipeError
from hpc_sr.models.autoencoder import PLACES
from hpc_sr.models.draws import uniform
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import parse_model
from hpc_sr.recipe import Recipe
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S26X, TASKS, Units
from hpc_sr.train.enlighten import Crops, Enlightened, crops_of
from hpc_sr.train.options import EnlightenTrainingOptions, PerceptualOptions
from hpc_sr.train.perceptual import open_perceptual
from hpc_sr.train.schedule import resolve
from hpc_sr.train.session import open_session
from hpc_sr.weights.trained import load_trained

SISR, PATCH_PX, CROP_PX = TASKS["sisr_x4"], 56, 32
CROPS = Crops("target", PATCH_PX, CROP_PX)
SMALL = {"width": 4, "growth": 4, "blocks": 1}
MODEL = {"family": "enlighten", **SMALL}
CRITIC = {"family": "vgg", "width": 16, "stages": 2, "hidden": 4, "norm": "none"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("enlighten") / "store", SISR, PATCH_PX, rows=16, held_out=4)


@pytest.fixture(scope="module")
def autoencoder(store: Path) -> Recipe:
    """A narrow autoencoder, trained on the same store, which is of patches that fit: 64 px."""
    folder = store.parent
    pictures = made_store(folder / "pictures", SISR, 64, rows=16, held_out=4)
    told = autoencoder_recipe(folder / "autoencoder", pictures, 32)
    train_lines(told)
    return told


def autoencoder_recipe(run: Path, pictures: Path, samples: int, **sections) -> Recipe:
    objective = {"content": "mse", "best_by": "newest"}
    model = {"family": "autoencoder", "width": 2}
    return made_recipe(run, pictures, model, samples, task="autoencode", **{"objective": objective, **sections})


def recipe(run: Path, store: Path, samples: int = 8, model: dict = MODEL, train: dict | None = None, **told) -> Recipe:
    section = {"method": "enlighten", "content": "mse", "loss": "wgan_gp", "critic": CRITIC, "weight": 0.1, **told}
    batch = {"batch_size_per_rank": 2, **(train or {})}
    return made_recipe(run, store, model, samples, objective=section, train=batch)


def opened(told: Recipe) -> Enlightened:
    torch.manual_seed(0)
    held = Store(told.store)
    schedule = resolve(told.to_train()[1], told.optimizer, told.train, 1)
    generator = network(told.to_train()[0], SISR, Facts(PATCH_PX, Units.of("8 bit"))).train()
    patches = Patches.of(held.split("train"), SISR, PATCH_PX)
    aim = open_session(generator, patches, told.objective, told.optimizer, told.train, schedule, SerialComm()).objective
    assert isinstance(aim, Enlightened)
    return aim


def batch_of(store: Path, size: int = 2) -> Batch:
    patches = Patches.of(Store(store).split("train"), SISR, PATCH_PX)
    loader = Loader(patches, rank=0, world_size=1, batch_size_per_rank=size, seed=0)
    return next(loader.batches(start=0)).in_network_units(Units.of("8 bit"), augment=True)


def test_crops_are_the_corners_of_each_patch_on_every_grid(store: Path) -> None:
    batch = batch_of(store)
    crops = CROPS.of(batch)
    assert {name: tuple(x.shape) for name, x in crops.layers.items()} == {
        "lr": (8, 3, 8, 8),
        "target": (8, 3, 32, 32),
        "x2": (8, 3, 16, 16),
    }
    for number in range(2):
        upper_left, upper_right, lower_left, lower_right = crops.layers["target"][4 * number : 4 * number + 4]
        patch = batch.layers["target"][number]
        assert torch.equal(upper_left, patch[:, :32, :32]) and torch.equal(lower_right, patch[:, 24:, 24:])
        assert torch.equal(upper_right, patch[:, :32, 24:]) and torch.equal(lower_left, patch[:, 24:, :32])
        assert torch.equal(crops.layers["lr"][4 * number + 2], batch.layers["lr"][number][:, 6:, :8])
    half = torch.nn.functional.interpolate(batch.layers["target"], scale_factor=0.5, mode="bicubic", antialias=True)
    assert torch.equal(crops.layers["x2"][5], half[1][:, :16, 12:]), "reduced before it is cut"
    assert crops.samples == batch.samples and crops.indices.tolist() == batch.indices.repeat_interleave(4).tolist()
    ordered = crops.in_stream_order().indices.tolist()
    assert ordered == batch.in_stream_order().indices.repeat_interleave(4).tolist()


def test_every_crop_has_random_numbers_of_its_own_wherever_its_patch_is(store: Path) -> None:
    batch = batch_of(store)
    drawn = uniform(CROPS.of(batch).draws, 3)
    assert len(drawn.flatten().unique()) == 24
    alone = CROPS.of(batch.split(2)[1])
    assert torch.equal(uniform(alone.draws, 3), drawn[4:])


def test_crops_of_one_picture_agree_and_others_differ_by_what_is_written_out() -> None:
    picture = torch.rand(2, 3, 56, 56, dtype=torch.float64)
    assert float(CROPS.disagreement(CROPS._cut(picture))) == 0
    crops = torch.rand(8, 3, 32, 32, dtype=torch.float64)
    total = 0.0
    for one, other, along in ((0, 1, -1), (2, 3, -1), (0, 2, -2), (1, 3, -2)):
        first, second = crops[one::4].narrow(along, 24, 8), crops[other::4].narrow(along, 0, 8)
        total += float((first - second).square().mean())
    assert float(CROPS.disagreement(crops)) == pytest.approx(total, rel=1e-12) and total > 0


def test_the_generators_gradient_is_that_of_the_whole_written_out(tmp_path: Path, store: Path) -> None:
    aim, batch = opened(recipe(tmp_path / "run", store, inconsistency=0.5, half_weight=0.3)), batch_of(store)
    generator, critic = (copy.deepcopy(player.network) for player in aim.players)
    crops = CROPS.of(batch).layers
    made, halves = generator(crops["lr"])
    loss = (made[0] - crops["target"]).square().mean() + 0.3 * (halves["x2"] - crops["x2"]).square().mean()
    loss = loss + 0.5 * CROPS.disagreement(made[0]) - 0.1 * critic(made[0]).mean()
    loss.backward()
    aim.aim.content.player.descend([CROPS.of(batch)], aim.aim.terms)
    for ours, wanted in zip(aim.players[0].network.parameters(), generator.parameters(), strict=True):
        assert ours.grad is not None and ours.grad.abs().max() > 0
        torch.testing.assert_close(ours.grad, wanted.grad, rtol=1e-4, atol=1e-7)


def test_accumulating_patches_equals_the_whole_batch(tmp_path: Path, store: Path) -> None:
    updates = []
    for parts in (1, 2):
        train = {"batch_size_per_rank": 2 // parts, "accumulation_steps": parts}
        updates.append(opened(recipe(tmp_path / "run", store, train=train))(batch_of(store)).terms)
    assert updates[0].keys() >= {"target", "x2", "inconsistency", "adversarial", "critic_penalty"}
    torch.testing.assert_close(updates[1], updates[0], rtol=1e-3, atol=1e-5)


def test_a_run_goes_on_to_the_bit_over_both_phases(tmp_path: Path, store: Path, autoencoder: Recipe) -> None:
    """Content alone, with what the crops and the half say, then the critic and what the autoencoder sees."""
    told = {
        "content_samples": 4,
        "perceptual": {"autoencoder": str(autoencoder.run_directory), "weight": 0.006},
        "train": {"ema_samples": 8},
    }
    unbroken = train_lines(recipe(tmp_path / "unbroken", store, 12, **told))
    train_lines(recipe(tmp_path / "broken", store, 6, **told))
    resumed = train_lines(recipe(tmp_path / "broken", store, 12, **told))
    always = {"target", "x2", "inconsistency"}
    later = {"perceptual", "x2_perceptual", "adversarial"}
    for number, (one, other) in enumerate(zip(unbroken, resumed, strict=True)):
        terms = always | (later if number >= 2 else set())
        assert {name for name in always | later if name in one} == terms
        assert one["loss"] == pytest.approx(sum(one[name] for name in terms), rel=1e-5)
        assert all(math.isfinite(one[name]) and one[name] == other[name] for name in terms)
    whole, again = (
        torch.load(tmp_path / name / "checkpoints" / "step_00000006" / "training.pt", weights_only=True)["parts"]
        for name in ("unbroken", "broken")
    )
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    assert load_trained(tmp_path / "unbroken").card.parameters == sum(
        p.numel() for p in opened(recipe(tmp_path / "none", store)).players[0].network.parameters()
    )


def test_without_the_half_another_network_learns_and_without_its_weight_crops_may_disagree(tmp_path, store) -> None:
    plain = train_lines(recipe(tmp_path / "plain", store, 2, {"family": "rrdb", **SMALL}, inconsistency=0))
    assert plain[0]["loss"] == pytest.approx(plain[0]["target"] + plain[0]["adversarial"], rel=1e-5)


def test_an_objective_that_leaves_a_part_untrained_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(RecipeError, match="family enlighten gives x2 in training too, which objective.method=content"):
        made_recipe(tmp_path / "run", store, MODEL, 8)


@pytest.mark.parametrize(
    ("patch_px", "crop_px", "told"),
    [
        (64, None, "four sevenths of a patch of 64 px are no whole pixels"),
        (56, 34, "34 px of 56 are no multiple of 4"),
        (56, 28, "four crops of 28 px do not overlap"),
        (56, 56, "four crops of 56 px do not overlap"),
    ],
)
def test_crops_that_do_not_fit_a_patch_are_refused(patch_px: int, crop_px: int | None, told: str) -> None:
    options = EnlightenTrainingOptions(method="enlighten", loss="hinge", critic=CRITIC, crop_px=crop_px)
    generator = network(parse_model(MODEL, "a test"), SISR, Facts(patch_px, Units.of("8 bit")))
    with pytest.raises(RecipeError, match=told):
        crops_of(options, generator)
    published = replace(generator.facts, patch_px=672)
    generator.facts = published
    crops = crops_of(options.model_copy(update={"crop_px": None}), generator)
    assert (crops.crop_px, crops.overlap_px, crops.half_px) == (384, 96, 192)


def test_several_targets_are_refused() -> None:
    options = EnlightenTrainingOptions(method="enlighten", loss="hinge", critic=CRITIC)
    generator = network(parse_model({"family": "dsen2", "width": 16, "blocks": 1}, "a test"), S26X, 42)
    with pytest.raises(RecipeError, match="has 2 targets"):
        crops_of(options, generator)


def test_an_autoencoder_learns_on_the_store_of_another_task_and_keeps_its_variances(
    tmp_path: Path, autoencoder: Recipe
) -> None:
    pictures = Path(autoencoder.store)
    lines = train_lines(autoencoder_recipe(tmp_path / "unbroken", pictures, 32))
    train_lines(autoencoder_recipe(tmp_path / "broken", pictures, 16))
    again = train_lines(autoencoder_recipe(tmp_path / "broken", pictures, 32))
    assert [line["loss"] for line in again] == [line["loss"] for line in lines]
    assert min(line["loss"] for line in lines[1:]) < lines[0]["loss"]
    one, other = (load_trained(tmp_path / name).generator for name in ("unbroken", "broken"))
    held = Patches.of(Store(pictures).split("train"), TASKS["autoencode"], 64)
    seen = torch.from_numpy(held.take(torch.arange(16).numpy())["target"]).float() / 255
    with torch.no_grad():
        found = [one.encoder.layers[: place + 1](seen).double().var(correction=0) for place in PLACES.values()]
    torch.testing.assert_close(one.encoder.variances.double(), torch.stack(found), rtol=1e-4, atol=0)
    assert torch.equal(one.encoder.variances, other.encoder.variances)


def test_the_loss_is_the_sum_of_squares_over_variances(autoencoder: Recipe) -> None:
    generator = network(parse_model(MODEL, "a test"), SISR, Facts(PATCH_PX, Units.of("8 bit")))
    options = PerceptualOptions(autoencoder=str(autoencoder.run_directory), weight=0.5)
    term = open_perceptual(options, generator, "fp32", torch.device("cpu"))
    encoder = load_trained(autoencoder.run_directory).generator.encoder
    x, y = torch.rand(2, 2, 3, 32, 32)
    x.requires_grad_()
    total = 0.0
    for place, variance in zip(PLACES.values(), encoder.variances, strict=True):
        one, other = (encoder.layers[: place + 1](picture).detach() for picture in (x, y))
        total += float((one - other).square().mean() / variance)
    found = term([x], [y])
    assert float(found.detach()) == pytest.approx(0.5 * total, rel=1e-4)
    found.backward()
    assert x.grad is not None and x.grad.abs().max() > 0
    assert not any(p.requires_grad or p.grad is not None for p in term.trunk.parameters())


def test_an_autoencoder_that_cannot_be_looked_into_is_refused(tmp_path: Path, store: Path, autoencoder: Recipe) -> None:
    generator = network(parse_model(MODEL, "a test"), SISR, Facts(PATCH_PX, Units.of("8 bit")))

    def opened_with(**told) -> None:
        open_perceptual(PerceptualOptions(**told), generator, "fp32", torch.device("cpu"))

    train = {"checkpoint_every_steps": 1}
    cut = autoencoder_recipe(tmp_path / "cut", Path(autoencoder.store), 16, train=train)
    train_lines(cut)
    opened_with(autoencoder=str(cut.run_directory))
    with pytest.raises(CheckpointError, match="step 1 holds no variances of its layers"):
        opened_with(autoencoder=str(cut.run_directory / "checkpoints" / "step_00000001"))
    with pytest.raises(RecipeError, match="no relu3_1 to compare"):
        opened_with(autoencoder=str(cut.run_directory), layers=("relu3_1",))
    train_lines(made_recipe(tmp_path / "other", store, {"family": "rrdb", **SMALL}, 8))
    with pytest.raises(CheckpointError, match="is of family rrdb"):
        opened_with(autoencoder=str(tmp_path / "other"))
    for told in ({}, {"vgg": "a.pth", "autoencoder": "runs/a"}):
        with pytest.raises(ValueError, match="give either vgg, a file of weights, or autoencoder, a run"):
            PerceptualOptions(**told)


def test_a_task_without_stores_takes_those_with_its_pictures(tmp_path: Path, store: Path) -> None:
    takes = {name for name in TASKS if TASKS["autoencode"].takes(name)}
    assert takes == {"sisr_x2", "sisr_x3", "sisr_x4", "refsr_x4", "autoencode"}
    assert not SISR.takes("sisr_x2") and SISR.takes("sisr_x4")
    with pytest.raises(RecipeError, match="task autoencode takes the store of another task of its pictures"):
        autoencoder_recipe(tmp_path / "run", store, 8, images={"hr": ["images"]})


def test_an_autoencoder_is_scored_on_that_store_but_stands_in_no_table_of_finer_pictures(
    tmp_path: Path, autoencoder: Recipe, capsys: pytest.CaptureFixture
) -> None:
    given = (autoencoder.run_directory, "--store", autoencoder.store, "--out", tmp_path / "out")
    assert run_cli("evaluate", *given) == 0
    assert run_cli("evaluate", "--table", "sisr", *given) == 2
    assert "is of task autoencode, which makes nothing finer" in capsys.readouterr().err
