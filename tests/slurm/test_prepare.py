"""slurm/prepare.sh on a real cluster of two nodes: over MPI, and as a job array with a job that collects."""

from __future__ import annotations

from stores import content, files
from support import TinyWorld

from .private_cluster import PROJECT, PrivateCluster

SCRIPT = PROJECT / "slurm" / "prepare.sh"


def test_mpi_over_two_nodes(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    store = tiny.store.with_name("mpi")
    options = ["--nodes=2", "--ntasks-per-node=2"]
    job = cluster.submit(SCRIPT, env={"RECIPE": str(tiny.recipe)}, args=[f"store={store}"], options=options)
    assert job.exit_code == 0, job.output
    assert "[0/4]" in job.output
    assert content(store) == content(tiny.store) and files(store) == files(tiny.store)


def test_an_array_of_jobs_and_one_that_collects(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    store = tiny.store.with_name("array")
    submission = {"env": {"RECIPE": str(tiny.recipe)}, "args": [f"store={store}"]}
    array = cluster.enqueue(SCRIPT, **submission, options=["--array=0-1"])
    after = ["--kill-on-invalid-dep=yes", f"--dependency=afterok:{array}"]
    job = cluster.submit(SCRIPT, **submission, options=after)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    assert "2 of 2 are finished and kept" in job.output
    assert content(store) == content(tiny.store) and files(store) == files(tiny.store)


def test_an_array_that_does_not_count_from_0_is_refused(cluster: PrivateCluster, tiny: TinyWorld) -> None:
    job = cluster.submit(SCRIPT, env={"RECIPE": str(tiny.recipe)}, options=["--array=3"])
    assert job.exit_code == 2 and "the array is not 0-N" in job.output and "cure" in job.output
