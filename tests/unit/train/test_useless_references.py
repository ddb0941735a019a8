"""References that are made useless in training: how many, which, the same on any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_store import made_recipe, made_store, train_lines

from hpc_sr.data.loader import Batch
from hpc_sr.errors import RecipeError
from hpc_sr.tasks import task_by_name
from hpc_sr.train.references import with_useless

MODEL = {"family": "rrsgan", "width": 8, "blocks": 1, "gradient_width": 4, "groups": 2}


def batch_of(size: int) -> Batch:
    numbers = torch.arange(size)
    picture = torch.rand(size, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    draws = torch.randint(0, 2**62, (size,), generator=torch.Generator().manual_seed(1))
    return Batch({"lr": picture[..., :1, :1], "ref": picture}, numbers, numbers, draws, numbers, size)


def test_half_of_the_share_is_black_half_is_turned_and_the_rest_stays() -> None:
    batch = batch_of(4000)
    before, after = batch.layers["ref"], with_useless(batch, 0.3).layers["ref"]
    black = (after == 0).all((1, 2, 3))
    turned = (after == before.flip(2, 3)).all((1, 2, 3))
    kept = (after == before).all((1, 2, 3))
    assert (black | turned | kept).all()
    shares = [float(which.float().mean()) for which in (black, turned, kept)]
    assert shares == pytest.approx([0.15, 0.15, 0.7], abs=0.02)
    assert torch.equal(batch.layers["lr"], with_useless(batch, 0.3).layers["lr"])
    assert torch.equal(with_useless(batch, 0.0).layers["ref"], before)
    assert not (with_useless(batch, 1.0).layers["ref"] == before).all((1, 2, 3)).any()


def test_it_is_each_samples_own_whoever_is_beside_it() -> None:
    batch = batch_of(64)
    whole = with_useless(batch, 0.5).layers["ref"]
    for rank in range(2):
        mine = batch._each(lambda values, rank=rank: values[rank::2])
        assert torch.equal(with_useless(mine, 0.5).layers["ref"], whole[rank::2])
    other = replace(batch, draws=batch.draws + 1)
    assert not torch.equal(with_useless(other, 0.5).layers["ref"], whole)


def test_training_meets_them_and_tasks_without_references_refuse(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", task_by_name("refsr_x4"), 32, rows=16, held_out=4)
    plain, spoiled = (
        train_lines(made_recipe(tmp_path / str(share), store, MODEL, 8, train={"useless_references": share}))
        for share in (0.0, 1.0)
    )
    assert plain[0]["loss"] != spoiled[0]["loss"]
    with pytest.raises(RecipeError, match="task s2x has no reference"):
        made_recipe(
            tmp_path / "s2x",
            made_store(tmp_path / "other", task_by_name("s2x"), 16, rows=8, held_out=2),
            {"family": "dsen2", "width": 16, "blocks": 1},
            8,
            train={"useless_references": 0.1},
        )
