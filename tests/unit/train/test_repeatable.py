"""train.deterministic: on while training and as before afterwards; what cannot be repeated is refused with a cure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from made_store import made_recipe, made_store, train_lines
from parallel.recorded_losses import FAMILIES
from torch.utils._python_dispatch import TorchDispatchMode

from hpc_sr.errors import TrainingError
from hpc_sr.losses.content import CONTENT_LOSSES, l1
from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import parse_model
from hpc_sr.recipe import load_recipe
from hpc_sr.tasks import S2X, task_by_name
from hpc_sr.train.repeatable import repeatable

ROOT = Path(__file__).resolve().parents[3]
MODEL = {"family": "s2x", "width": 16, "blocks": 1}
#: What has no form on a GPU that repeats to the bit, as torch's manual of `use_deterministic_algorithms` lists it.
#: `interpolate` replaces its bilinear mode there.
WITHOUT = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "max_unpool2d", "avg_pool3d_backward"),
    *("upsample_linear1d_backward", "upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward"),
    *("_upsample_bilinear2d_aa_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("grid_sampler_2d_backward", "nll_loss2d_forward", "nll_loss_forward", "put_", "histc", "cumsum", "bincount"),
    *("median", "kthvalue", "scatter_reduce"),
}


@pytest.fixture(params=[(False, False), (True, True)])
def before(request: pytest.FixtureRequest) -> Iterator[tuple[bool, bool]]:
    """A process with a mode of its own."""
    torch.use_deterministic_algorithms(request.param[0], warn_only=request.param[1])
    yield request.param
    torch.use_deterministic_algorithms(False)


def modes() -> tuple[object, ...]:
    on = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return *on, torch.backends.cudnn.deterministic, os.environ.get("CUBLAS_WORKSPACE_CONFIG"), fills()


def fills() -> bool:
    return torch.utils.deterministic.fill_uninitialized_memory


def run(folder: Path, monkeypatch, loss: Callable[..., torch.Tensor], **train: object) -> list[dict]:
    monkeypatch.setitem(CONTENT_LOSSES, "l1", loss)
    store = made_store(folder / "store", S2X, 16, rows=8, held_out=4)
    return train_lines(made_recipe(folder / "run", store, MODEL, 8, train=train))


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_modes_hold_while_it_trains_and_no_longer(tmp_path, monkeypatch, before, capsys, deterministic) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen, outside = [], modes()

    def noted(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        seen.append(modes())
        return l1(estimate, reference)

    run(tmp_path, monkeypatch, noted, deterministic=deterministic)
    assert set(seen) == {(deterministic, False, deterministic, ":4096:8" if deterministic else None, False)}
    assert modes() == outside
    assert ("resumed runs repeat unbroken ones only up to rounding" in capsys.readouterr().err) != deterministic


def test_what_cannot_be_repeated_is_an_error_that_names_the_cure(tmp_path, monkeypatch) -> None:
    def put(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))  # either of the two may win
        return l1(estimate, reference)

    outside = modes()
    with pytest.raises(TrainingError, match=r"put_ does not have a deterministic.*\n.*train\.deterministic=false"):
        run(tmp_path / "refused", monkeypatch, put)
    assert modes() == outside
    assert len(run(tmp_path / "allowed", monkeypatch, put, deterministic=False)) == 1


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="something else"), repeatable(True):
        raise RuntimeError("something else")
    assert not torch.are_deterministic_algorithms_enabled()


class Operations(TorchDispatchMode):
    """Collects the names of all operations, those of backward passes too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_every_family_learns_and_all_but_one_can_be_repeated_on_a_gpu() -> None:
    found = {}
    for name, (task_name, patch_px, model, _) in FAMILIES.items():
        task, noise = task_by_name(task_name), torch.manual_seed(0)
        generator = build_generator(parse_model(model, "a test"), task, Facts(patch_px))
        inputs = [torch.rand(2, *task.shape(layer, patch_px), generator=noise) for layer in task.inputs]
        drawn = {"draws": torch.arange(2)} if generator.noisy else {}
        with repeatable(True), Operations() as operations:
            targets, extras = generator(*inputs, **drawn)
            sum(made.square().mean() for made in (*targets, *extras.values())).backward()
        assert all(p.grad.isfinite().all() for p in generator.parameters() if p.grad is not None)
        assert any(p.grad.any() for p in generator.parameters() if p.grad is not None)
        found[name] = operations.names & WITHOUT
    assert {name: names for name, names in found.items() if names} == {"rrsgan": {"grid_sampler_2d_backward"}}


def test_recipes_of_the_one_that_cannot_say_so() -> None:
    recipes = [load_recipe(path) for path in sorted((ROOT / "configs").glob("*.yaml"))]
    those = [recipe for recipe in recipes if recipe.model is not None and recipe.model.family == "rrsgan"]
    assert those and not any(recipe.train.deterministic for recipe in those)
    assert all(recipe.train.deterministic for recipe in recipes if recipe not in those)
