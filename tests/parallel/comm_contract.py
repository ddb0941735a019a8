"""What every Comm must do, whatever carries it: plain functions of a Comm, called on all ranks in the same order.

As a script under a launcher: `python comm_contract.py BACKEND SCENES [OPTIONS]`. SCENES, with commas between, are
contract (all of it), ranks (only that they are counted), raise (rank 1 fails on purpose), and those of
options_contract.py; OPTIONS are more of CommOptions, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from batch_contract import BATCH_CONTRACT
from options_contract import SCENES
from training_contract import TRAINING_CONTRACT

from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launch import connected
from hpc_sr.comm.options import CommOptions
from hpc_sr.errors import RecipeError, TrainingError


def ranks_are_counted_once(comm: Comm) -> None:
    assert comm.gather(comm.rank) == list(range(comm.world_size))
    assert 0 <= comm.local_rank < comm.world_size
    assert isinstance(comm.device, torch.device)


def barrier_waits_for_the_last(comm: Comm) -> None:
    if comm.rank == comm.world_size - 1:
        time.sleep(0.2)
    entered = time.monotonic()  # one clock for all processes of a host
    comm.barrier()
    left = time.monotonic()
    assert min(comm.gather(left)) >= max(comm.gather(entered))


def sum_is_exact_in_rank_order(comm: Comm) -> None:
    generator = np.random.default_rng(3)
    for shape in ((), (1,), (7,), (3, 5), (40, 1000)):
        parts = [
            generator.standard_normal(shape) * 10.0 ** generator.integers(-300, 300) for _ in range(comm.world_size)
        ]
        mine = np.array(parts[comm.rank])
        before = mine.copy()
        total = comm.sum(mine)
        expected = parts[0]
        for part in parts[1:]:
            expected = expected + part
        assert total.dtype == np.float64 and total.shape == shape
        assert np.array_equal(total, expected), (total, expected)
        assert np.array_equal(mine, before)
        assert len(set(comm.gather(total.tobytes()))) == 1


def sum_takes_any_numbers(comm: Comm) -> None:
    n = comm.world_size
    for shape in ((0,), (3, 0)):
        assert comm.sum(np.zeros(shape)).shape == shape
    assert np.array_equal(comm.sum(np.array([1, 2**53], np.int64)), np.array([n, n * 2.0**53]))
    assert comm.sum(np.float32(0.1)) == n * float(np.float32(0.1))  # float64 from the start
    last = comm.rank == n - 1
    special = comm.sum(np.array([np.nan if last else 1.0, np.inf if last else 1.0, -np.inf, 1.0]))
    assert np.isnan(special[0]) and special[1] == np.inf and special[2] == -np.inf and special[3] == n
    if n > 1:
        assert np.isnan(comm.sum(np.array(np.inf if comm.rank == 0 else -np.inf)))


def sum_gives_an_array_of_its_own(comm: Comm) -> None:
    mine = np.ones(3)
    comm.sum(mine)[:] = 7
    assert np.array_equal(mine, np.ones(3))


def mean_is_by_name(comm: Comm) -> None:
    n = comm.world_size
    means = comm.mean({"loss": comm.rank, "nan": float("nan") if comm.rank == 0 else 1.0, "same": 2.5})
    assert list(means) == ["loss", "nan", "same"]
    assert means["loss"] == sum(range(n)) / n and np.isnan(means["nan"]) and means["same"] == 2.5
    assert comm.mean({"inf": float("inf")}) == {"inf": float("inf")}
    assert comm.mean({}) == {}


def disagreeing_ranks_are_an_error_everywhere(comm: Comm) -> None:
    if comm.world_size == 1:
        return
    for collective in (
        lambda: comm.sum(np.zeros(2 if comm.rank == 0 else 3)),
        lambda: comm.mean({"loss" if comm.rank == 0 else "lose": 1.0}),
    ):
        try:
            collective()
        except TrainingError:
            continue
        raise AssertionError("no TrainingError")


def any_is_true_for_one(comm: Comm) -> None:
    assert comm.any(False) is False
    assert comm.any(True) is True
    assert comm.any(np.bool_(False)) is False
    for rank in range(comm.world_size):
        assert comm.any(comm.rank == rank) is True


def broadcast_gives_the_roots_value(comm: Comm) -> None:
    for root in range(comm.world_size):
        for value in (None, {"a": np.arange(root + 3)}, "ä" * 1_000_000, RecipeError("bad", where="key", cure="mend")):
            mine = value if comm.rank == root else comm.rank  # other ranks' values may be of another type
            assert _same(comm.broadcast(mine, root), value)


def gather_keeps_rank_order(comm: Comm) -> None:
    values = [{"rank": rank, "weights": torch.full((1000 * rank,), float(rank))} for rank in range(comm.world_size)]
    for got, expected in zip(comm.gather(values[comm.rank]), values, strict=True):
        assert got["rank"] == expected["rank"] and torch.equal(got["weights"], expected["weights"])
    mixed = [None, "text", 3.5, b"", (1, 2)]
    assert comm.gather(mixed[comm.rank % 5]) == [mixed[rank % 5] for rank in range(comm.world_size)]


def _same(got: object, expected: object) -> bool:
    if isinstance(expected, dict):
        return got.keys() == expected.keys() and all(np.array_equal(got[key], expected[key]) for key in expected)
    return str(got) == str(expected) and type(got) is type(expected)


CONTRACT: tuple[Callable[[Comm], None], ...] = (
    ranks_are_counted_once,
    barrier_waits_for_the_last,
    sum_is_exact_in_rank_order,
    sum_takes_any_numbers,
    sum_gives_an_array_of_its_own,
    mean_is_by_name,
    disagreeing_ranks_are_an_error_everywhere,
    any_is_true_for_one,
    broadcast_gives_the_roots_value,
    gather_keeps_rank_order,
    *TRAINING_CONTRACT,
    *BATCH_CONTRACT,
)


def check_contract(comm: Comm) -> None:
    """Check everything; raises AssertionError naming the backend and the part that is broken."""
    for part in CONTRACT:
        try:
            part(comm)
        except Exception as error:
            raise AssertionError(f"{comm.backend}: broken contract, {part.__name__}: {error!r}") from error


def fail_on_rank_1(comm: Comm) -> None:
    if comm.rank == 1:
        raise RecipeError("a mistake on rank 1", where="recipe.yaml", cure="mend it")
    comm.barrier()  # which rank 1 never enters


def main() -> None:
    backend, names = sys.argv[1:3]
    scenes = {"contract": check_contract, "ranks": ranks_are_counted_once, "raise": fail_on_rank_1, **SCENES}
    more = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    with connected(CommOptions(backend=backend, **more)) as comm:
        for name in names.split(","):
            scenes[name](comm)
            print(f"{comm.backend} of {comm.world_size}: rank {comm.rank} done: {name}", flush=True)


if __name__ == "__main__":
    main()
