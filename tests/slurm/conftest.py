"""The private cluster that the tests of this folder share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from support import require

from .private_cluster import PrivateCluster


@pytest.fixture(scope="session")
def cluster(require_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """Lend a running two-node cluster."""
    private = PrivateCluster(tmp_path_factory.mktemp("slurm"))
    try:
        private.start()
        yield private
    finally:
        private.stop()


@pytest.fixture(scope="session")
def require_slurm() -> None:
    """Skip the tests unless this host can hold a private cluster."""
    require(os.geteuid() == 0, "not root: slurmd cannot start jobs")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for tool in ("munged", "slurmctld", "slurmd", "sbatch", "srun"):
        require(shutil.which(tool, path=path), f"{tool} is not installed (apt-get install slurm-wlm munge)")
