"""Two hosts with their own addresses: training between them, and a cable that is pulled in the middle."""

from __future__ import annotations

import json
import subprocess

import pytest
from support import TinyWorld

from .private_cluster import PrivateCluster
from .training_job import Training, wait_until


def test_nodes_have_their_own_names_and_addresses(hosts: PrivateCluster) -> None:
    said = hosts.run("srun", "--nodes=2", "--label", "bash", "-c", "uname -n; ip -4 -o addr show e0").splitlines()
    names = {line.split()[1] for line in said if len(line.split()) == 2}
    addresses = {line.split("inet ")[1].split("/")[0] for line in said if "inet " in line}
    assert names == {"n1", "n2"}
    assert {address.split(".")[3] for address in addresses} == {"11", "12"}


def test_a_node_that_is_cut_off_ends_the_job_which_comes_back(
    hosts: PrivateCluster, tiny: TinyWorld, unbroken: Training
) -> None:
    training = Training.submit(hosts, tiny, "cut", args=["comm.stall_s=10"])
    training.wait_for_checkpoint()
    hosts.link("n2", "down")
    try:
        # Patience in the ranks, SlurmdTimeout and Slurm's pace of looking for dead nodes.
        wait_until(lambda: hosts.facts(training.number)["Restarts"] != "0")
    finally:
        hosts.link("n2", "up")
    job = hosts.wait(training.number)
    assert (job.state, job.exit_code) == ("COMPLETED", 0), job.output
    assert job.restarts >= 1 and "resumed from" in job.output
    assert json.loads((training.run / "environment.json").read_text())["hosts"] == ["n1", "n2"]
    assert training.learnt_the_same_as(unbroken)


def test_the_other_form_is_not_started_over_it(hosts: PrivateCluster) -> None:
    with pytest.raises(RuntimeError, match="the cluster of the other form runs.*cure"):
        PrivateCluster(hosts.directory).start()


def test_a_cluster_without_hosts_has_no_links(cluster: PrivateCluster) -> None:
    with pytest.raises(RuntimeError, match="has no host n2.*cure"):
        cluster.link("n2", "down")


def test_stop_removes_the_network(require_slurm: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = _network()
    private = PrivateCluster(tmp_path_factory.mktemp("net"), hosts=True)
    try:
        private.start()
        assert len(_network() - before) == 5  # a bridge, two of its ends, two namespaces
    finally:
        private.stop()
    assert _network() == before


def _network() -> set[str]:
    """Return the names of this machine's bridges, links and network namespaces that are of private clusters."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    names = [line.split(": ")[1] for line in links.splitlines()] + [line.split()[0] for line in spaces.splitlines()]
    return {name.split("@")[0] for name in names if name.startswith("sr")}
