"""A generator against a critic: turns, rates, weights, what is refused, and runs that go on to the bit."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from made_store import made_recipe, made_store, train_lines
from small_training import Waits, noise_batch, small_generator
from torch.nn.functional import softplus

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.data.loader import Batch
from hpc_sr.errors import RecipeError
from hpc_sr.losses.adversarial import ADVERSARIAL_LOSSES
from hpc_sr.models.gradients import gradient_map
from hpc_sr.recipe import Recipe
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X, S26X
from hpc_sr.train.adversarial import Adversarial
from hpc_sr.train.optimizers import set_learning_rate
from hpc_sr.train.player import Update
from hpc_sr.train.schedule import resolve
from hpc_sr.train.session import Session, open_session
from hpc_sr.weights.trained import load_trained

MODEL = {"family": "s2x", "width": 16, "blocks": 1}
TERMS = {"loss", "target", "adversarial", "gradient_norm"}
TERMS |= {f"critic_{name}" for name in ("loss", "adversarial", "score_real", "score_fake", "gradient_norm")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("adversarial") / "store", S2X, 16, rows=32, held_out=4)


def recipe(run: Path, store: Path, loss: str, samples: int = 32, train: dict | None = None, **objective) -> Recipe:
    """Return a recipe of a narrow critic without norms, whatever else it says."""
    critic = {"family": "s2d_light", "width": 16} | objective.pop("critic", {})
    section = {"method": "adversarial", "loss": loss, "critic": critic, "weight": 0.1, **objective}
    return made_recipe(run, store, MODEL, samples, objective=section, train=train or {})


def opened(told: Recipe, seed: int = 0) -> Session:
    """Return the session of a recipe on a small network for patches of 16 pixels."""
    torch.manual_seed(seed)
    patches = Patches.of(Store(told.store).split("train"), S2X, 16)
    schedule = resolve(told.to_train()[1], told.optimizer, told.train, 1)
    generator = small_generator(seed, patch_px=16)
    return open_session(generator, patches, told.objective, told.optimizer, told.train, schedule, SerialComm())


def objective_of(told: Recipe) -> Adversarial:
    aim = opened(told).objective
    assert isinstance(aim, Adversarial)
    for player in aim.players:
        set_learning_rate(player.optimizer, 1e-3)
    return aim


def batch_of(size: int = 8, seed: int = 0) -> Batch:
    batch = noise_batch(size, seed, patch_px=16)
    return batch.in_network_units(small_generator(patch_px=16).units, augment=False)


def copies(aim: Adversarial) -> list[dict[str, torch.Tensor]]:
    return [copy.deepcopy(player.network.state_dict()) for player in aim.players]


def differ(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES)
def test_every_loss_trains_both_networks_with_finite_numbers(tmp_path: Path, store: Path, loss: str) -> None:
    lines = train_lines(recipe(tmp_path / "run", store, loss))
    assert len(lines) == 4
    for line in lines:
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float)), line
        assert line["loss"] == pytest.approx(line["target"] + line["adversarial"], rel=1e-5)
        assert set(line) >= TERMS and ("critic_penalty" in line) == (loss == "wgan_gp")
        assert line["skipped"] == 0
    aim = objective_of(recipe(tmp_path / "none", store, loss))
    before = copies(aim)
    update = aim(batch_of())
    assert update.finite and all(map(differ, before, copies(aim)))
    assert all(p.grad is not None and p.requires_grad for player in aim.players for p in player.network.parameters())
    trained = load_trained(tmp_path / "run")
    assert trained.card.step == 4, "what is used is the generator, the newest"


def test_each_turn_changes_one_network_alone(tmp_path: Path, store: Path) -> None:
    aim = objective_of(recipe(tmp_path / "run", store, "ragan"))
    before = copies(aim)
    judge = aim.judges[0]
    judge.player.descend([aim.exhibit(batch_of())], partial(aim.judgement, judge))
    between = copies(aim)
    assert (differ(before[0], between[0]), differ(before[1], between[1])) == (False, True)
    judged = [p.grad.clone() for p in aim.judges[0].player.network.parameters()]
    aim.content.player.descend([batch_of()], aim.terms)
    after = copies(aim)
    assert (differ(between[0], after[0]), differ(between[1], after[1])) == (True, False)
    for kept, parameter in zip(judged, aim.judges[0].player.network.parameters(), strict=True):
        assert torch.equal(kept, parameter.grad)


def test_the_generators_gradient_is_that_of_the_whole_written_out(tmp_path: Path, store: Path) -> None:
    aim, batch = objective_of(recipe(tmp_path / "run", store, "vanilla", weight=0.3)), batch_of()
    network, critic = (copy.deepcopy(player.network) for player in aim.players)
    estimate = network(batch.layers["x10"], batch.layers["x20"]).targets[0]
    loss = (estimate - batch.layers["target"]).abs().mean() + 0.3 * (1 + (-critic(estimate)).exp()).log().mean()
    loss.backward()
    aim.content.player.descend([batch], aim.terms)
    for ours, wanted in zip(aim.content.player.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, wanted.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["vanilla", "wgan_gp", "rsgan"])
def test_accumulating_parts_equals_the_whole_batch(tmp_path: Path, store: Path, loss: str) -> None:
    updates = []
    for accumulation in (1, 2, 4):
        train = {"batch_size_per_rank": 8 // accumulation, "accumulation_steps": accumulation}
        updates.append(objective_of(recipe(tmp_path / "run", store, loss, train=train))(batch_of()).terms)
    for other in updates[1:]:
        torch.testing.assert_close(other, updates[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("loss", ADVERSARIAL_LOSSES)
def test_no_operation_in_an_update_waits_for_the_device(tmp_path, store, loss: str, precision: str) -> None:
    train = {"precision": precision, "clip_norm": 1.0, "accumulation_steps": 2, "batch_size_per_rank": 4}
    aim = objective_of(recipe(tmp_path / "run", store, loss, train=train, critic_steps=2))
    with Waits() as waits:
        update = aim(batch_of())
    assert not waits.found and update.finite


def test_steps_of_the_critic_see_each_sample_once_in_the_streams_order(tmp_path: Path, store: Path) -> None:
    aim, seen = objective_of(recipe(tmp_path / "run", store, "wgan", critic_steps=4)), []
    judge = aim.judges[0]
    aim = replace(aim, judges=(replace(judge, player=_Watched(judge.player, seen)),))
    batch = batch_of()
    aim(replace(batch, places=torch.tensor([7, 0, 3, 1, 6, 2, 5, 4])))
    references = batch.layers["target"]
    for part, rows in zip(seen, [[1, 3], [5, 2], [7, 6], [4, 0]], strict=True):
        assert torch.equal(part.real, references[rows]) and torch.equal(part.draws, batch.draws[rows])


class _Watched:
    """A critic's player that notes the parts it is asked to learn from."""

    def __init__(self, player, seen: list[Batch]):
        self._player, self._seen = player, seen

    def __getattr__(self, name: str):
        return getattr(self._player, name)

    def descend(self, parts, terms) -> Update:
        self._seen.extend(parts)
        return self._player.descend(parts, terms)


def test_the_weight_comes_in_over_the_warm_up(tmp_path: Path, store: Path) -> None:
    aim = objective_of(recipe(tmp_path / "run", store, "lsgan", weight=0.5, warmup_samples=100))
    batch = batch_of()
    said = {at: float(aim.terms(replace(batch, samples=at))["adversarial"].detach()) for at in (25, 50, 100, 1000)}
    assert said[100] == said[1000] and said[100] > 0
    assert [said[at] / said[100] for at in (25, 50)] == pytest.approx([0.25, 0.5], rel=1e-5)


def test_the_critics_rate_follows_the_schedule_in_proportion(tmp_path: Path, store: Path) -> None:
    options = {"name": "adam", "base_lr": 4e-3, "betas": [0.5, 0.9]}
    told = recipe(tmp_path / "run", store, "hinge", samples=24, critic_optimizer=options)
    generator, critic = opened(told).objective.players
    assert critic.optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    assert (generator.pace, critic.pace) == (1.0, pytest.approx(4.0))
    train_lines(told)
    saved = torch.load(tmp_path / "run" / "checkpoints" / "step_00000003" / "training.pt", weights_only=True)["parts"]
    rates = [saved[f"{name}.optimizer"]["param_groups"][0]["lr"] for name in ("generator", "critic")]
    assert rates == pytest.approx([1e-3, 4e-3])


def test_weights_of_a_wasserstein_critic_stay_clipped(tmp_path: Path, store: Path) -> None:
    for bound, told in ((0.01, {}), (0.05, {"clip_weights": 0.05})):
        aim = objective_of(recipe(tmp_path / "run", store, "wgan", **told))
        aim(batch_of())
        largest = max(float(p.detach().abs().max()) for p in aim.judges[0].player.network.parameters())
        assert largest == pytest.approx(bound)
    free = objective_of(recipe(tmp_path / "run", store, "wgan_gp"))
    free(batch_of())
    assert max(float(p.detach().abs().max()) for p in free.judges[0].player.network.parameters()) > 0.05


def test_each_player_scales_its_own_loss(tmp_path: Path, store: Path) -> None:
    """An overflow of the critic's halves the critic's scale alone, and the generator learns on."""
    aim = objective_of(recipe(tmp_path / "run", store, "wgan_gp", train={"precision": "fp16"}))
    plain = objective_of(recipe(tmp_path / "run", store, "wgan_gp"))
    for player in aim.players:
        player.scaler.scale(torch.zeros(()))  # it has no scale before
        player.scaler.update(1024.0)
    one, other = aim(batch_of()), plain(batch_of())
    for name in ("loss", "critic_loss", "critic_penalty", "critic_gradient_norm", "gradient_norm"):
        torch.testing.assert_close(one.terms[name], other.terms[name], rtol=5e-2, atol=5e-3)
    before = copies(aim)
    update = replace(aim, penalty=1e37)(batch_of(seed=1))
    assert not update.finite
    assert [player.scaler.get_scale() for player in aim.players] == [1024.0, 512.0]
    assert (differ(before[0], copies(aim)[0]), differ(before[1], copies(aim)[1])) == (True, False)


@pytest.mark.parametrize(
    ("loss", "critic"),
    [("wgan_gp", {}), ("ragan", {"norm": "batch"}), ("hinge", {"spectral_norm": True, "norm": "instance"})],
)
def test_a_run_goes_on_to_the_bit_with_both_networks(tmp_path: Path, store: Path, loss: str, critic: dict) -> None:
    told = {"critic": critic, "warmup_samples": 64, "critic_steps": 2, "train": {"ema_samples": 32}}
    unbroken = train_lines(recipe(tmp_path / "unbroken", store, loss, 64, **told))
    train_lines(recipe(tmp_path / "broken", store, loss, 32, **told))
    resumed = train_lines(recipe(tmp_path / "broken", store, loss, 64, **told))
    clocks = {"seconds", "samples_per_s", "data_wait_share", "communication_share", "compute_share"}
    for one, other in zip(unbroken, resumed, strict=True):
        assert {k: v for k, v in one.items() if k not in clocks} == {k: v for k, v in other.items() if k not in clocks}
    whole, again = (
        torch.load(tmp_path / name / "checkpoints" / "step_00000008" / "training.pt", weights_only=True)["parts"]
        for name in ("unbroken", "broken")
    )
    assert whole.keys() >= {"generator", "critic", "critic.optimizer", "critic.scaler", "generator.optimizer"}
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


def test_a_content_run_is_where_it_starts_from_and_its_scores_choose_nothing(tmp_path: Path, store: Path) -> None:
    origin = made_recipe(tmp_path / "origin", store, MODEL, 32)
    train_lines(origin)
    told = {"start_from": str(tmp_path / "origin"), "weight": 1e-3, "train": {"evaluate_every_steps": 1}}
    lines = train_lines(recipe(tmp_path / "run", store, "vanilla", 32, **told))
    anew = train_lines(recipe(tmp_path / "anew", store, "vanilla", 8))
    assert lines[0]["target"] < anew[0]["target"]
    assert load_trained(tmp_path / "run").card.step == 4
    diary = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert sum(line["kind"] == "validation" for line in diary) == 4


def test_content_goes_alone_first(tmp_path: Path, store: Path) -> None:
    """For the samples it is told: the critics keep their weights and are not told of, then the warm-up begins."""
    told = {"content_samples": 16, "warmup_samples": 16, "gradients": 0.5}
    lines = train_lines(recipe(tmp_path / "run", store, "hinge", 40, **told))
    assert ["adversarial" in line for line in lines] == [False, False, True, True, True]
    assert ["critic_loss" in line for line in lines] == [False, False, True, True, True]
    assert all("gradients" in line for line in lines)
    aim = objective_of(recipe(tmp_path / "none", store, "hinge", **told))
    before = copies(aim)
    aim(replace(batch_of(), samples=16))
    assert (differ(before[0], copies(aim)[0]), differ(before[1], copies(aim)[1])) == (True, False)
    said = [float(aim.terms(replace(batch_of(), samples=at))["adversarial"].detach()) for at in (24, 32)]
    assert said[0] / said[1] == pytest.approx(0.5, rel=1e-5)
    # A line that spans the change tells each term's mean over the steps that had it.
    told["train"] = {"log_every_steps": 5}
    (whole,) = train_lines(recipe(tmp_path / "whole", store, "hinge", 40, **told))
    for name, steps in (("target", lines), ("adversarial", lines[2:])):
        assert whole[name] == pytest.approx(sum(line[name] for line in steps) / len(steps), rel=1e-5)


def test_a_second_critic_sees_gradient_maps(tmp_path: Path, store: Path) -> None:
    second = {"gradient_critic": {"family": "s2d_light", "width": 32}, "gradient_weight": 0.2}
    told = recipe(tmp_path / "run", store, "ragan", gradients=2.0, train={"accumulation_steps": 2}, **second)
    aim, batch = objective_of(told), batch_of()
    assert [player.name for player in aim.players] == ["generator", "critic", "gradient_critic"]
    network, critic = (copy.deepcopy(aim.players[k].network) for k in (0, 2))
    estimate = network(batch.layers["x10"], batch.layers["x20"]).targets[0]
    maps = [gradient_map(image) for image in (estimate, batch.layers["target"])]
    fake, real = map(critic, maps)
    wanted = 0.1 * (softplus(real - fake.mean()).mean() + softplus(real.mean() - fake).mean())
    terms = aim.terms(batch)
    torch.testing.assert_close(terms["gradient_adversarial"], wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(terms["gradients"], 2 * (maps[0] - maps[1]).square().mean(), rtol=1e-4, atol=1e-6)
    before = copies(aim)
    update = aim(batch)
    assert all(map(differ, before, copies(aim))) and update.finite
    assert {"gradient_critic_loss", "gradient_critic_score_real", "critic_loss"} <= set(update.terms)


def test_all_targets_are_judged_together(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", S26X, 24, rows=16, held_out=4)
    lines = train_lines(recipe(tmp_path / "run", store, "rsgan", 16))
    assert len(lines) == 2 and {"target20", "target60", "adversarial"} <= set(lines[0])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"comm": {"reduction": "adasum"}}, "reduction=adasum updates a network inside its backward pass"),
        ({"comm": {"static_graph": True}}, "static_graph wants each network called once a step"),
        ({"train": {"compile": True}}, "train.compile has no second derivatives"),
    ],
)
def test_what_two_networks_cannot_do_is_refused_with_the_reason(tmp_path, store, changed: dict, told: str) -> None:
    section = {"method": "adversarial", "loss": "wgan_gp", "critic": {"family": "s2d"}}
    with pytest.raises(RecipeError, match=f"objective.method=adversarial: .*{told}"):
        made_recipe(tmp_path / "run", store, MODEL, 32, objective=section, **changed)
    if "train" in changed:  # without a penalty it compiles
        made_recipe(tmp_path / "run", store, MODEL, 32, objective=section | {"loss": "hinge"}, **changed)
    made_recipe(tmp_path / "run", store, MODEL, 32, **changed)


def test_a_penalty_and_batch_norm_are_refused_together(tmp_path: Path, store: Path) -> None:
    for loss, told in (("wgan_gp", {}), ("hinge", {"penalty": 1.0})):
        with pytest.raises(RecipeError, match="a gradient penalty is of each sample"):
            recipe(tmp_path / "run", store, loss, critic={"norm": "batch"}, **told)
    recipe(tmp_path / "run", store, "wgan_gp", critic={"norm": "batch"}, penalty=0.0)


def test_steps_that_cannot_share_the_batch_and_patches_too_small_are_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(RecipeError, match="3 steps cannot share 8 samples"):
        train_lines(recipe(tmp_path / "run", store, "wgan", critic_steps=3))
    with pytest.raises(RecipeError, match="critic patchgan needs patches of 24 px"):
        train_lines(recipe(tmp_path / "run", store, "wgan", critic={"family": "patchgan"}))
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.parametrize("changed", [{"critic": {"width": 32}}, {"critic_optimizer": {"name": "sgd"}}, None])
def test_a_run_goes_on_with_no_other_critic_nor_without(tmp_path: Path, store: Path, changed: dict | None) -> None:
    from hpc_sr.cli.train import train_recipe

    train_lines(recipe(tmp_path / "run", store, "vanilla", 8))
    other = recipe(tmp_path / "run", store, "vanilla", 16, **changed) if changed is not None else None
    other = other or made_recipe(tmp_path / "run", store, MODEL, 16)
    with pytest.raises(RecipeError, match="cannot go on with another optimizer, critic or way of training"):
        train_recipe(other, SerialComm(), allow_change=True)
