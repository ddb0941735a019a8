"""The private clusters, and the training job, that the tests of this folder share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from support import TinyWorld, require

from .private_cluster import PrivateCluster
from .training_job import Training


@pytest.fixture(scope="session")
def cluster(require_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """Lend a running two-node cluster."""
    yield from running(PrivateCluster(tmp_path_factory.mktemp("slurm")))


@pytest.fixture(scope="session")
def hosts(require_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """Lend a running cluster of two hosts with their own addresses."""
    require(shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), "ip is not installed (iproute2)")
    yield from running(PrivateCluster(tmp_path_factory.mktemp("hosts"), hosts=True))


def running(private: PrivateCluster) -> Iterator[PrivateCluster]:
    """Yield the cluster while it runs; it is stopped also if it did not start."""
    try:
        private.start()
        yield private
    finally:
        private.stop()


@pytest.fixture(scope="session")
def unbroken(cluster: PrivateCluster, tiny: TinyWorld) -> Training:
    """A training job that nothing has disturbed: what all others must come to."""
    training = Training.submit(cluster, tiny, "unbroken")
    job = cluster.wait(training.number)
    assert (job.state, job.restarts) == ("COMPLETED", 0), job.output
    return training


@pytest.fixture(scope="session")
def require_slurm() -> None:
    """Skip the tests unless this host can hold a private cluster."""
    require(os.geteuid() == 0, "not root: slurmd cannot start jobs")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for tool in ("munged", "slurmctld", "slurmd", "sbatch", "srun"):
        require(shutil.which(tool, path=path), f"{tool} is not installed (apt-get install slurm-wlm munge)")
