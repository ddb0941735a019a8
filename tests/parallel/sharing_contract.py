"""What the MPI world of data preparation must do, as a script under mpirun: `python sharing_contract.py MODE`.

MODE is results (with few processors kept busy by waiting), alone (the same where rank 0 may only hand out: the MPI
serves one thread), or rank-0, rank-1, result (who fails on purpose), barrier (rank 1 fails, others wait at a barrier).
"""

from __future__ import annotations

import sys
import threading
import time

import mpi4py

MODE = sys.argv[1]
if MODE == "alone":
    mpi4py.rc.thread_level = "funneled"

from hpc_sr.comm.failure import failing_together  # noqa: E402
from hpc_sr.comm.mpi import MpiWorld, mpi_world  # noqa: E402
from hpc_sr.errors import RecipeError  # noqa: E402


def check_messages(world: MpiWorld) -> None:
    """What is gathered is in the order of ranks, and what is broadcast is the root's."""
    assert world.gather({world.rank: "x" * world.rank}) == [{r: "x" * r} for r in range(world.world_size)]
    for root in range(world.world_size):
        assert world.broadcast((root, world.rank), root) == (root, root)
    world.barrier()


def check_results(world: MpiWorld) -> None:
    """Every number is done once, results come by number on all ranks, and rank 0 hears of each, one at a time."""
    for count in (0, 1, world.world_size - 1, world.world_size, 40):
        told, begun, within = {}, [], threading.Lock()

        def work(index: int, begun: list[int] = begun) -> tuple[int, int, bytes]:
            begun.append(index)
            time.sleep(0.003 * (index % 5))
            return index, world.rank, bytes(300_000 * (index % 2))  # also results that no eager message carries

        def on_result(index: int, result: tuple, told: dict = told, within: threading.Lock = within) -> None:
            assert within.acquire(blocking=False)
            assert index not in told
            told[index] = result
            within.release()

        results = world.share_out(work, count, on_result)
        assert [index for index, _, _ in results] == list(range(count))
        assert begun == sorted(begun)
        assert sorted(index for part in world.gather(begun) for index in part) == list(range(count))
        assert told == (dict(enumerate(results)) if world.rank == 0 else {})
        if count == 40:
            working = {rank for _, rank, _ in results}
            assert working == set(range(MODE == "alone", world.world_size)), working


def check_idle(world: MpiWorld) -> None:
    """A long piece on rank 0 does not keep the others from theirs, and ranks that wait leave the processors alone."""
    began, processor_s = time.monotonic(), time.process_time()
    done_s: dict[int, float] = {}

    def note(index: int, result: int) -> None:
        done_s[index] = time.monotonic() - began

    ranks = world.share_out(lambda index: time.sleep(1.5 if index == 0 else 0.02) or world.rank, 10, note)
    used_s = time.process_time() - processor_s
    assert used_s < 0.5, used_s
    if world.rank == 0:
        # Who took the long piece is chance; nobody else waits for it, and rank 0 hears at once of all the others.
        others_s = [done_s[index] for index in range(1, 10)]
        assert ranks.count(ranks[0]) == 1 and max(others_s) < done_s[0], (ranks, done_s)


def succeed(world: MpiWorld) -> None:
    check_messages(world)
    check_results(world)
    if MODE == "results":
        check_idle(world)


def fail(world: MpiWorld) -> None:
    """One rank fails while the others have more to do."""

    def mistake(here: bool) -> None:
        if here:
            raise RecipeError("a mistake", where=MODE, cure="mend it")

    def work(index: int) -> None:
        time.sleep(0.01)
        mistake(f"rank-{world.rank}" == MODE)

    if MODE == "barrier":
        mistake(world.rank == 1)
        world.barrier()
    world.share_out(work, 100_000, lambda index, result: mistake(MODE == "result"))


def main() -> None:
    world = mpi_world()
    with failing_together(world):
        (succeed if MODE in ("results", "alone") else fail)(world)
        print(f"sharing of {world.world_size}: rank {world.rank} done", flush=True)


if __name__ == "__main__":
    main()
