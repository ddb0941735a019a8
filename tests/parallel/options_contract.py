"""What the options of `comm` promise, and what happens when a rank is lost: called on all ranks in the same order."""

from __future__ import annotations

import copy
import io
import os
import signal
import time
from collections.abc import Callable

import torch
from batch_contract import BATCH_CONTRACT, portions_have_their_own_statistics
from batch_contract import adversaries_with_batch_norm_train_as_one as _relativistic
from training_contract import (
    CHANNELS,
    STEPS,
    TRAINING_CONTRACT,
    Network,
    _batch,
    _deep,
    _descend,
    _pair,
    _share,
    _tensors,
    _train,
)
from training_contract import two_models_train_against_each_other as _adversarial

from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.options import CommOptions


def with_options(comm: Comm, options: CommOptions) -> Comm:
    """Return a Comm of the same ranks that distributes networks with other options."""
    if comm.backend == "horovod":
        return type(comm)(comm.device, options)  # Horovod is started only once
    other = copy.copy(comm)
    other._options = options
    return other


def compressed_gradients_are_close(comm: Comm) -> None:
    """Half precision has 11 bits; ranks get the same ones."""
    comm = with_options(comm, CommOptions(compression="fp16"))
    model, forward, optimizer, reference, plain = _pair(comm, lambda p: torch.optim.SGD(p, 0.1))
    for step in range(STEPS):
        x, y = _batch(step, comm)
        _descend(forward, optimizer, *_share(x, y, comm))
        _descend(reference, plain, x, y)
        for ours, exact in zip(model.parameters(), reference.parameters(), strict=True):
            assert ours.grad.dtype == exact.grad.dtype
            error = float((ours.grad - exact.grad).norm() / exact.grad.norm())
            assert error < 1e-2, error
            if step == 0 and comm.world_size > 1:
                assert error > 1e-7, "nothing was compressed"
    _ranks_are_equal(model, comm)


def adasum_learns_and_resumes(comm: Comm) -> None:
    """The loss falls, ranks agree in bits, and state loaded after `distribute` goes on to the bit."""
    comm = with_options(comm, CommOptions(reduction="adasum"))
    model, forward, optimizer = _deep(comm, seed=1)
    x = torch.randn((1, CHANNELS, 8, 8), generator=torch.Generator().manual_seed(comm.rank))
    losses = []
    for _ in range(2 * STEPS):
        optimizer.zero_grad()
        loss = forward(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0], losses
    _ranks_are_equal(model, comm)
    saved = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    _train(forward, optimizer, range(STEPS), comm)

    resumed, forward, optimizer = _deep(comm, seed=2)
    state = torch.load(io.BytesIO(saved.getvalue()), weights_only=True)
    resumed.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    _train(forward, optimizer, range(STEPS), comm)
    for name, expected in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], expected), name


def small_portions_keep_the_contract(comm: Comm) -> None:
    comm = with_options(comm, CommOptions(bucket_mb=1))
    for part in (*TRAINING_CONTRACT, *BATCH_CONTRACT):
        part(comm)


def a_static_graph_keeps_the_contract(comm: Comm) -> None:
    comm = with_options(comm, CommOptions(static_graph=True))
    for part in (*TRAINING_CONTRACT, *BATCH_CONTRACT):
        if part not in (_adversarial, _relativistic):  # one model in several graphs
            part(comm)


def autotuned_ranks_agree(comm: Comm) -> None:
    model, forward, optimizer = _deep(comm, seed=1)
    _train(forward, optimizer, range(STEPS), comm)
    _ranks_are_equal(model, comm)


def compiled_networks_keep_their_batch_norm(comm: Comm) -> None:
    portions_have_their_own_statistics(comm, lambda forward: torch.compile(forward, backend="eager"))


def rank_1_is_killed(comm: Comm) -> None:
    _train_until(comm, lambda: os.kill(os.getpid(), signal.SIGKILL))


def rank_1_is_stopped(comm: Comm) -> None:
    """As if its host had lost the network: its connections are there, and nothing comes."""
    _train_until(comm, lambda: os.kill(os.getpid(), signal.SIGSTOP))


def _train_until(comm: Comm, happens: Callable[[], None]) -> None:
    model = Network(0)
    forward, optimizer = comm.distribute(model, torch.optim.SGD(model.parameters(), 0.1))
    pids = comm.gather(os.getpid())
    if comm.rank == 0:
        print(f"pids {pids}", flush=True)
    for step in range(10_000):
        if step == 5 and comm.rank == 1:
            print(f"lost at {time.time():.3f}.", flush=True)
            happens()
        _descend(forward, optimizer, *_share(*_batch(step, comm), comm))
        time.sleep(0.01)


def _ranks_are_equal(model: torch.nn.Module, comm: Comm) -> None:
    bits = b"".join(tensor.detach().cpu().numpy().tobytes() for tensor in _tensors(model))
    assert len(set(comm.gather(bits))) == 1, "ranks differ in bits"


#: What a test asks for by name on the command line.
SCENES: dict[str, Callable[[Comm], None]] = {
    "compression": compressed_gradients_are_close,
    "portions": small_portions_keep_the_contract,
    "adasum": adasum_learns_and_resumes,
    "static": a_static_graph_keeps_the_contract,
    "autotune": autotuned_ranks_agree,
    "compiled": compiled_networks_keep_their_batch_norm,
    "killed": rank_1_is_killed,
    "stopped": rank_1_is_stopped,
}
