"""Launch detection from dictionaries, the choice of a backend, shares of processors, and what cannot be connected."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.comm.failure import failing_together
from hpc_sr.comm.fitting import HorovodBuild, fitting_backend
from hpc_sr.comm.launch import (
    check_backend_has,
    choose_backend,
    connect,
    connected,
    pin_device,
    processor_share,
    run_on_ranks,
)
from hpc_sr.comm.launchers import Launch, MeetingPlace, describe_launch, first_host
from hpc_sr.comm.mpi import SerialWorld, mpi_world
from hpc_sr.comm.options import CommOptions
from hpc_sr.errors import LaunchError, MissingComponentError, RecipeError

#: A Horovod with all that there is.
WHOLE = HorovodBuild(mpi=True, nccl=True)
ALONE = Launch("none", 0, 1, 0, MeetingPlace("127.0.0.1", (0,), "none"))
BY_HAND = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a"}
TORCHRUN = {**BY_HAND, "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True"}
HOROVODRUN = {"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "2"}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "77",
    "PMIX_RANK": "3",
}
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
#: What a batch script's own shell has: the allocation's numbers, no step.
BATCH = {
    "SLURM_JOB_ID": "41",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NNODES": "2",
    "SLURM_JOB_NODELIST": "jwb[0009-0010]",
}
SRUN = {
    **BATCH,
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "6",
    "SLURM_LOCALID": "2",
    "SLURM_STEP_NODELIST": "jwb[0009-0010]",
}
PMIX = {"PMIX_RANK": "6", "PMIX_NAMESPACE": "slurm.pmix.41.0"}


@pytest.fixture
def environment(monkeypatch):
    """Return a function that makes a dictionary the whole environment as far as launchers are concerned."""

    def become(variables: dict[str, str]) -> None:
        for name in list(os.environ):
            if name.startswith(("OMPI_", "PMI", "MPI_", "SLURM_", "HOROVOD_", "TORCHELASTIC_", "MASTER_")):
                monkeypatch.delenv(name)
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    become({})
    return become


def identity(launch: Launch) -> tuple:
    return launch.launcher, launch.rank, launch.world_size, launch.local_rank


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("none", 0, 1, 0)),
        (BATCH, ("none", 0, 1, 0)),
        (TORCHRUN, ("torchrun", 5, 8, 1)),
        ({"RANK": "2", "WORLD_SIZE": "3", "MASTER_ADDR": "a"}, ("torchrun", 2, 3, 2)),
        ({"WORLD_SIZE": "3", "MASTER_ADDR": "a"}, ("none", 0, 1, 0)),
        (HOROVODRUN, ("horovodrun", 1, 2, 1)),
        (MPIRUN, ("mpirun", 3, 4, 1)),
        (MPICH, ("mpirun", 1, 4, 1)),
        (SRUN, ("srun", 6, 8, 2)),
        # Nested: the launcher nearest to the process counts. mpirun's daemons are srun's tasks, one a node.
        ({**SRUN, **MPIRUN, "SLURM_STEP_NUM_TASKS": "1"}, ("mpirun", 3, 4, 1)),
        ({**SRUN, **MPICH, "SLURM_STEP_NUM_TASKS": "1"}, ("mpirun", 1, 4, 1)),
        ({**SRUN, **TORCHRUN}, ("torchrun", 5, 8, 1)),
        ({**BATCH, **HOROVODRUN}, ("horovodrun", 1, 2, 1)),
        # The step of an interactive shell: one task in an allocation of eight.
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, ("srun", 0, 1, 0)),
    ],
)
def test_the_environment_tells_rank_and_size(environ, expected):
    assert identity(describe_launch(environ)) == expected


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        (SRUN, "jwb0009"),
        ({**SRUN, "SLURM_STEP_NODELIST": "jwb0010"}, "jwb0010"),
        ({**SRUN, "SLURM_STEP_NUM_NODES": "1"}, "127.0.0.1"),
        ({**SRUN, "MASTER_ADDR": "jwb0009i"}, "jwb0009i"),
        ({**MPIRUN, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, "127.0.0.1"),
        ({**BATCH, **MPIRUN}, "jwb0009"),
        ({**MPIRUN, "MASTER_ADDR": "h"}, "h"),
        (HOROVODRUN, "127.0.0.1"),
        (MPICH, "127.0.0.1"),
        (BY_HAND, "a"),
    ],
)
def test_the_rendezvous_is_on_rank_0s_host(environ, host):
    place = describe_launch(environ).rendezvous
    assert place.host == host and len(set(place.ports)) == 10
    assert all(15_000 <= port < 32_768 for port in place.ports)  # not where Linux puts the local ends of connections


def test_the_meeting_place_is_one_for_all_ranks_and_another_for_another_start():
    places = [
        describe_launch({**SRUN, "SLURM_STEP_ID": str(step), "SLURM_RESTART_COUNT": again, "SLURM_PROCID": str(rank)})
        for step in range(10)
        for again in ("1", "2")
        for rank in range(8)
    ]
    assert len({place.rendezvous for place in places}) == len({place.rendezvous.name for place in places}) == 20


def test_a_port_that_is_given_is_the_only_one():
    assert describe_launch({**SRUN, "MASTER_PORT": "4711"}).rendezvous.ports == (4711,)
    assert describe_launch({**BY_HAND, "MASTER_PORT": "4711"}).rendezvous.ports == (4711,)
    for port in ("0", "65536", "-1", "http"):
        with pytest.raises(LaunchError, match=f"(?s)MASTER_PORT: .*{port}.*cure"):
            describe_launch({**SRUN, "MASTER_PORT": port})


def test_a_rendezvous_nobody_tells_is_none():
    assert describe_launch(MPIRUN).rendezvous is None
    assert describe_launch(TORCHRUN).rendezvous is None  # its agent arranges it


@given(prefix=st.from_regex(r"[a-z]{1,5}-?", fullmatch=True), numbers=st.lists(st.integers(0, 9999), min_size=1))
def test_the_first_host_of_any_node_list(prefix, numbers):
    listed = ",".join(f"{n:04d}-{n + 3:04d}" if n % 2 else f"{n:04d}" for n in numbers)
    for rest in ("", ",other[1-3]", ",x,y"):
        assert first_host(f"{prefix}[{listed}]{rest}") == f"{prefix}{numbers[0]:04d}"
        assert first_host(f"{prefix}{numbers[0]:04d}{rest}") == f"{prefix}{numbers[0]:04d}"


@pytest.mark.parametrize("environ", [TORCHRUN, HOROVODRUN, MPIRUN, SRUN])
def test_half_an_environment_is_an_error_that_names_the_variable(environ):
    marks = {"TORCHELASTIC_RUN_ID", "HOROVOD_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_ID"}
    needed = {"RANK", "WORLD_SIZE", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"}
    for name in needed & environ.keys() - marks:
        with pytest.raises(LaunchError, match=name):
            describe_launch({key: value for key, value in environ.items() if key != name})
        with pytest.raises(LaunchError, match=f"{name}.*'two'"):
            describe_launch({**environ, name: "two"})


@pytest.mark.parametrize(
    ("environ", "with_horovod", "without"),
    [
        ({}, "serial", "serial"),
        (BATCH, "serial", "serial"),
        ({**MPIRUN, "OMPI_COMM_WORLD_SIZE": "1"}, "serial", "serial"),
        (TORCHRUN, "ddp", "ddp"),
        (HOROVODRUN, "horovod", "ddp"),
        (MPIRUN, "horovod", "ddp"),
        (SRUN, "ddp", "ddp"),  # MPI would start worlds of one
        ({**SRUN, **PMIX}, "horovod", "ddp"),
    ],
)
def test_auto_follows_the_launcher(environ, with_horovod, without):
    launch = describe_launch(environ)
    for on_gpus in (False, True):
        assert fitting_backend(launch, lambda: WHOLE, on_gpus) == (with_horovod, None)
        assert fitting_backend(launch, lambda: None, on_gpus) == (without, None)
    without_mpi = with_horovod if launch.launcher == "horovodrun" else without
    assert fitting_backend(launch, lambda: replace(WHOLE, mpi=False), True) == (without_mpi, None)
    # Between GPUs a Horovod without NCCL gives way.
    slow = replace(WHOLE, nccl=False)
    assert fitting_backend(launch, lambda: slow, on_gpus=False) == (with_horovod, None)
    met = replace(launch, rendezvous=launch.rendezvous or ALONE.rendezvous)
    backend, remark = fitting_backend(met, lambda: slow, on_gpus=True)
    assert backend == without and (remark is None) == (with_horovod != "horovod")
    assert remark is None or ("host memory" in remark and "make horovod" in remark)


def test_a_horovod_without_nccl_stays_where_ddp_could_not_meet():
    launch = replace(describe_launch(HOROVODRUN), rendezvous=None)
    backend, remark = fitting_backend(launch, lambda: replace(WHOLE, nccl=False), on_gpus=True)
    assert backend == "horovod" and "MASTER_ADDR" in remark


@pytest.mark.parametrize("environ", [{}, TORCHRUN, SRUN])
def test_a_horovod_that_cannot_be_meant_is_not_loaded(environ):
    fitting_backend(describe_launch(environ), lambda: pytest.fail("it was loaded"), on_gpus=True)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_choice_is_told_once_and_options_of_horovods_own_decide_it(rank, monkeypatch, log_lines):
    class Installed:
        build = staticmethod(lambda: replace(WHOLE, nccl=False))

    launch = replace(describe_launch(MPIRUN), rank=rank, rendezvous=ALONE.rendezvous)
    monkeypatch.setitem(sys.modules, "hpc_sr.comm.horovod", Installed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_backend(launch) == "ddp"
    assert len(log_lines) == (rank == 0) and all("built without NCCL" in line for line in log_lines)
    assert choose_backend(launch, CommOptions(reduction="adasum")) == "horovod"
    monkeypatch.setitem(sys.modules, "hpc_sr.comm.horovod", None)
    assert choose_backend(launch) == "ddp"


def test_a_plain_process_is_serial(environment):
    assert isinstance(connect(), SerialComm)
    environment(BATCH)
    assert isinstance(connect(), SerialComm)


def test_a_missing_backend_is_named_with_its_cure(environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "hpc_sr.comm.horovod", None)
    with pytest.raises(MissingComponentError, match="make horovod"):
        connect(CommOptions(backend="horovod"))


def test_serial_ranks_in_a_world_of_several_are_an_error(environment):
    environment(MPIRUN)
    with pytest.raises(LaunchError, match="4 ranks.*world of 1"):
        connect(CommOptions(backend="serial"))


def test_ddp_without_a_meeting_place_names_the_variable(environment):
    environment(MPIRUN)
    with pytest.raises(LaunchError, match="MASTER_ADDR"):
        connect(CommOptions(backend="ddp"))


def test_ddp_says_at_once_that_no_host_has_the_name(environment):
    environment({**MPIRUN, "MASTER_ADDR": "no-such-host.invalid"})
    with pytest.raises(LaunchError, match=r"no-such-host.invalid(.|\n)*MASTER_ADDR"):
        connect(CommOptions(backend="ddp"))


def test_an_error_of_one_process_passes_through(environment):
    with pytest.raises(ZeroDivisionError), connected():
        raise ZeroDivisionError


class Two(SerialWorld):
    rank, world_size = 1, 2


@pytest.mark.parametrize(("error", "code"), [(LaunchError("a mistake", cure="mend it"), 2), (KeyError("a mistake"), 1)])
def test_one_of_several_reports_and_aborts(error, code, capfd):
    with pytest.raises(SystemExit) as end, failing_together(Two()):
        raise error
    assert end.value.code == code
    told = capfd.readouterr().err
    assert "[rank 1 of 2] " in told and f"{type(error).__name__}: " in told and "a mistake" in told
    assert ("cure: mend it" in told) == (code == 2) and ("Traceback" in told) == (code == 1)


def test_what_the_caller_survives_passes_through_on_any_world():
    with pytest.raises(ZeroDivisionError), failing_together(Two(), let_pass=(ZeroDivisionError,)):
        raise ZeroDivisionError


def test_work_gets_the_comm_and_its_result_comes_back(environment):
    assert run_on_ranks(lambda comm: (comm.backend, comm.world_size, comm.waited_s, comm.world_changes)) == (
        "serial",
        1,
        0.0,
        False,
    )


@pytest.mark.parametrize(
    ("options", "backend", "named"),
    [
        ({"reduction": "adasum"}, "ddp", "comm.reduction"),
        ({"cycle_time_ms": 2}, "ddp", "comm.cycle_time_ms"),
        ({"autotune": True}, "ddp", "comm.autotune"),
        ({"static_graph": True}, "horovod", "comm.static_graph"),
    ],
)
def test_an_option_of_the_other_backend_is_an_error_with_its_cure(options, backend, named, environment):
    launch = describe_launch(MPIRUN)
    other = {"ddp": "horovod", "horovod": "ddp"}[backend]
    check_backend_has(CommOptions(**options), other, launch)
    with pytest.raises(RecipeError, match=rf"(?s){named}: .*{other if other == 'ddp' else 'Horovod'}.*cure: "):
        check_backend_has(CommOptions(**options), backend, launch)
    environment({**MPIRUN, "MASTER_ADDR": "127.0.0.1"} if backend == "ddp" else MPIRUN)
    with pytest.raises(RecipeError, match=named):
        connect(CommOptions(**options, backend=backend))


@given(st.integers(1, 300))
def test_adasum_takes_powers_of_two(ranks):
    launch = describe_launch({**MPIRUN, "OMPI_COMM_WORLD_SIZE": str(ranks)})
    if ranks in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        check_backend_has(CommOptions(reduction="adasum"), "horovod", launch)
    else:
        with pytest.raises(RecipeError, match=f"{ranks} is no power of two"):
            check_backend_has(CommOptions(reduction="adasum"), "horovod", launch)


def test_one_rank_alone_takes_any_option(environment):
    options = CommOptions(reduction="adasum", autotune=True)
    assert run_on_ranks(lambda comm: comm.backend, options) == "serial"


def test_each_rank_takes_the_gpu_of_its_place_on_the_node(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", pinned.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [pin_device(rank).index for rank in range(4)] == [0, 1, 2, 3]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # the launcher shows each rank its own only
    assert pin_device(3).index == 0
    assert [device.index for device in pinned] == [0, 1, 2, 3, 0]


@given(ranks=st.integers(1, 9), processors=st.integers(1, 64), hosts=st.integers(1, 3))
def test_unbound_ranks_share_a_host_equally(ranks, processors, hosts):
    world = [(f"h{rank % hosts}", range(processors)) for rank in range(ranks * hosts)]
    assert {processor_share(world, rank) for rank in range(len(world))} == {max(1, processors // ranks)}


@given(st.lists(st.integers(1, 16), min_size=1, max_size=6))
def test_bound_ranks_keep_all_they_are_bound_to(sizes):
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    world = [("h", range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    assert [processor_share(world, rank) for rank in range(len(sizes))] == sizes


@given(st.lists(st.sets(st.integers(0, 15), min_size=1), min_size=1, max_size=6))
def test_shares_never_exceed_the_processors_but_for_the_one_that_each_rank_needs(allowed):
    world = [("h", sorted(processors)) for processors in allowed]
    shares = [processor_share(world, rank) for rank in range(len(world))]
    assert sum(share for share in shares if share > 1) <= len(set().union(*allowed))
    assert all(1 <= share <= len(processors) for share, processors in zip(shares, allowed, strict=True))


def test_data_preparation_alone_starts_no_mpi(environment):
    code = "import sys; from hpc_sr.comm.mpi import mpi_world; w = mpi_world(); print(w.world_size, w.gather(5), "
    code += "'mpi4py' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "[5]", "False", "False"]


def test_data_preparation_needs_mpi_for_several(environment, monkeypatch):
    environment(TORCHRUN)
    with pytest.raises(LaunchError, match="torchrun started 8"):
        mpi_world()
    environment(MPIRUN)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingComponentError, match="mpi4py"):
        mpi_world()
