"""A training job that tests interrupt: long enough to be caught in the middle, and compared by its last weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from support import TinyWorld

from .private_cluster import PATIENCE_S, PROJECT, PrivateCluster

STEPS = 400


@dataclass(frozen=True)
class Training:
    """A submitted slurm/train_s2x2.sh on two nodes, one rank each."""

    cluster: PrivateCluster
    number: int
    run: Path

    @classmethod
    def submit(
        cls,
        cluster: PrivateCluster,
        tiny: TinyWorld,
        name: str,
        *,
        args: Sequence[str] = (),
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Training:
        """Return the job of a run `name` of STEPS steps, which shares the nodes with others."""
        words = [
            f"name=job-{name}",
            "train.batch_size_per_rank=8",
            f"schedule.total_samples={16 * STEPS}",
            "train.log_every_steps=1",
            "train.checkpoint_every_steps=20",
            "train.evaluate_every_steps=1000000",
        ]
        number = cluster.enqueue(
            PROJECT / "slurm/train_s2x2.sh",
            env={"RECIPE": str(tiny.recipe), **(env or {})},
            args=[*words, *args],
            options=["--oversubscribe", *options],
        )
        return cls(cluster, number, tiny.recipe.parent / "runs" / f"job-{name}")

    def wait_for_checkpoint(self) -> list[int]:
        """Return the ranks' process ids once the run has written its first checkpoint, with most still to go."""
        wait_until(lambda: len(self.ranks()) == 2)
        ranks = self.ranks()  # now: looking takes as long as many steps
        wait_until(lambda: any(self.run.glob("checkpoints/step_*/generator.pt")))
        return ranks

    def ranks(self) -> list[int]:
        """Return the process ids of the job's ranks, in their order."""
        cluster = next(
            line for line in (self.cluster.directory / "conf/slurm.conf").read_text().splitlines() if "Cluster" in line
        ).removeprefix("ClusterName=")
        mine = {f"SLURM_CLUSTER_NAME={cluster}", f"SLURM_JOB_ID={self.number}"}
        found, parents = {}, {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = set((process / "environ").read_text().split("\0"))
                program = (process / "exe").resolve().name
                parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, UnicodeDecodeError):  # it has ended meanwhile
                continue
            for word in words:
                if word.startswith("SLURM_PROCID=") and mine <= words and program.startswith("python"):
                    found[int(process.name)] = int(word.removeprefix("SLURM_PROCID="))
                    parents[int(process.name)] = parent
        # Between fork and exec what a rank starts (git, uname) looks like the rank.
        return sorted((pid for pid in found if parents[pid] not in found), key=found.__getitem__)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights after the last step."""
        return torch.load(self.run / f"checkpoints/step_{STEPS:08d}/generator.pt", weights_only=True)

    def learnt_the_same_as(self, other: Training) -> bool:
        """Return whether the last weights are equal to the bit."""
        mine, theirs = self.weights(), other.weights()
        return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def wait_until(condition: Callable[[], object]) -> None:
    """Return once the condition holds. Fails if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
