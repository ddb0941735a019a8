"""The part of every Comm's contract that is about training: what `distribute` returns, to the bit."""

from __future__ import annotations

import copy
import io
import itertools
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from hpc_sr.comm.communicator import Comm

STEPS = 5
#: Of the deep model, whose gradients then fill several portions of 1 MiB.
CHANNELS = 80


def distribute_starts_from_rank_0(comm: Comm) -> None:
    torch.manual_seed(100 + comm.rank)
    model = Network(comm.rank).to(comm.device)
    own_parameters = list(model.parameters())
    comm.distribute(model, torch.optim.Adam(model.parameters()))
    torch.manual_seed(100)
    expected = Network(0).to(comm.device)
    for got, wanted in zip(_tensors(model), _tensors(expected), strict=True):
        assert torch.equal(got, wanted)
    assert all(a is b for a, b in zip(own_parameters, model.parameters(), strict=True))


def ranks_train_as_one(comm: Comm) -> None:
    """After the same steps, ranks with a share of the batch have the weights of one process with the whole."""
    for make_optimizer in (lambda p: torch.optim.Adam(p, 1e-2, betas=(0.5, 0.9)), lambda p: torch.optim.SGD(p, 0.1)):
        model, forward, optimizer, reference, plain = _pair(comm, make_optimizer)
        for step in range(STEPS):
            x, y = _batch(step, comm)
            _descend(forward, optimizer, *_share(x, y, comm))
            _descend(reference, plain, x, y)
            _assert_close([p.grad for p in model.parameters()], [p.grad for p in reference.parameters()])
        _assert_close(_tensors(model), _tensors(reference))
        bits = b"".join(tensor.detach().cpu().numpy().tobytes() for tensor in _tensors(model))
        assert len(set(comm.gather(bits))) == 1, "ranks differ in bits"


def frozen_parameters_start_equal_and_stay(comm: Comm) -> None:
    torch.manual_seed(comm.rank)
    model = Network(comm.rank).to(comm.device)
    model.body[0].requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    forward, optimizer = comm.distribute(model, torch.optim.SGD(trained, 0.1))
    reference = copy.deepcopy(model)
    plain = torch.optim.SGD([p for p in reference.parameters() if p.requires_grad], 0.1)
    x, y = _batch(0, comm)
    _descend(forward, optimizer, *_share(x, y, comm))
    _descend(reference, plain, x, y)
    _assert_close(_tensors(model), _tensors(reference))


def gradients_add_up_over_backwards(comm: Comm) -> None:
    """`.grad` is the mean when backward returns, before any step, and a second backward adds its mean."""
    model, forward, optimizer, reference, _ = _pair(comm, lambda p: torch.optim.SGD(p, 0.1))
    for step in range(2):
        x, y = _batch(step, comm)
        mine, target = _share(x, y, comm)
        (forward(mine) - target).square().mean().backward()
        (reference(x) - y).square().mean().backward()
        _assert_close([p.grad for p in model.parameters()], [p.grad for p in reference.parameters()])
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in model.parameters())


def accumulating_is_one_backward_of_the_whole(comm: Comm) -> None:
    """Shares in several portions, all but the last kept on their rank, give the gradients of the whole batch."""
    for wrap in (lambda forward: forward, lambda forward: torch.compile(forward, backend="eager")):
        model, forward, optimizer, reference, plain = _pair(comm, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9))
        forward = wrap(forward)
        for step in range(STEPS):
            x, y = _batch(step, comm)
            _accumulate(forward, optimizer, *_share(x, y, comm), comm)
            _descend(reference, plain, x, y)
            _assert_close([p.grad for p in model.parameters()], [p.grad for p in reference.parameters()])
        _assert_close(_tensors(model), _tensors(reference))


def local_gradients_are_the_ranks_own(comm: Comm) -> None:
    """Nothing is exchanged inside the block, also if one model of two is in it, and all is after it."""
    kept, keep, _, own, _ = _pair(comm, lambda p: torch.optim.SGD(p, 0.1))
    shared, share, _, whole, _ = _pair(comm, lambda p: torch.optim.SGD(p, 0.1))
    x, y = _batch(0, comm)
    mine, target = _share(x, y, comm)
    with comm.local_gradients(keep):
        (keep(mine) - target).square().mean().backward()
        (share(mine) - target).square().mean().backward()
    (own(mine) - target).square().mean().backward()
    (whole(x) - y).square().mean().backward()
    _assert_close([p.grad for p in kept.parameters()], [p.grad for p in own.parameters()])
    _assert_close([p.grad for p in shared.parameters()], [p.grad for p in whole.parameters()])
    (keep(mine) - target).square().mean().backward()
    own.zero_grad()
    (2 * (own(x) - y).square().mean()).backward()
    _assert_close([p.grad for p in kept.parameters()], [p.grad for p in own.parameters()])


def waiting_for_others_is_counted(comm: Comm) -> None:
    """Who is ready first waits for the one that is late; one rank alone waits for nobody."""
    model, forward, optimizer, _, _ = _pair(comm, lambda p: torch.optim.SGD(p, 0.1))
    late_s, times = 0.1, 3
    x, y = _share(*_batch(0, comm), comm)
    comm.barrier()
    before = comm.waited_s
    for _ in range(times):
        loss = (forward(x) - y).square().mean()
        if comm.rank == comm.world_size - 1:
            time.sleep(late_s)
        loss.backward()
    waited = comm.gather(comm.waited_s - before)
    if comm.world_size > 1:
        assert all(times * late_s * 0.8 < one < times * late_s + 2 for one in waited[:-1]), waited
        assert 0 <= waited[-1] < min(waited[:-1]), waited
    else:
        assert 0 <= waited[0] < times * late_s, waited


def exchanges_are_recorded_where_that_can_be(comm: Comm) -> None:
    """Twice, as a block that begins and ends while training goes on; by Horovod alone."""
    model, forward, optimizer, *_ = _pair(comm, lambda p: torch.optim.SGD(p, 0.1))
    with tempfile.TemporaryDirectory() as own:
        folder = Path(comm.broadcast(own))
        for turn in ("first", "second"):
            with comm.recording(folder / turn):
                _descend(forward, optimizer, *_share(*_batch(0, comm), comm))
            comm.barrier()
            written = folder / turn / "horovod.json"
            assert written.exists() == (comm.backend == "horovod")
        comm.barrier()


def two_models_train_against_each_other(comm: Comm) -> None:
    """A critic with gradient penalty (two orders of differentiation) and a generator against the frozen critic."""

    def adam(parameters):
        return torch.optim.Adam(parameters, 1e-2, eps=1e-3)

    generator, generate, g_optimizer, g_reference, g_plain = _pair(comm, adam)
    critic, judge, c_optimizer, c_reference, c_plain = _pair(comm, adam)
    for step in range(STEPS):
        x, y = _batch(step, comm)
        t = torch.rand(len(x), 1, 1, 1, generator=torch.Generator().manual_seed(step), dtype=x.dtype).to(x)
        mine, target, mix = _share(x, y, comm)[0], _share(x, y, comm)[1], t[comm.rank :: comm.world_size]
        _criticise(judge, c_optimizer, generate(mine).detach(), target, mix)
        _generate(generate, g_optimizer, critic, mine)
        _criticise(c_reference, c_plain, g_reference(x).detach(), y, t)
        _generate(g_reference, g_plain, c_reference, x)
    _assert_close(_tensors(generator), _tensors(g_reference))
    _assert_close(_tensors(critic), _tensors(c_reference))


def training_is_reproducible_whatever_the_timing(comm: Comm) -> None:
    for portions in (1, 3):
        runs = []
        for _ in range(2):
            model, forward, optimizer = _deep(comm, seed=1)
            _train(forward, optimizer, range(STEPS), comm, portions)
            runs.append(model.state_dict())
        for name, expected in runs[0].items():
            assert torch.equal(runs[1][name], expected), (portions, name)


def resumed_training_is_bit_identical(comm: Comm) -> None:
    for portions in (1, 3):
        model, forward, optimizer = _deep(comm, seed=1)
        _train(forward, optimizer, range(STEPS), comm, portions)
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        _train(forward, optimizer, range(STEPS, 2 * STEPS), comm, portions)

        resumed, forward, optimizer = _deep(comm, seed=2)
        saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True, map_location=comm.device)
        resumed.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        _train(forward, optimizer, range(STEPS, 2 * STEPS), comm, portions)
        for name, expected in model.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], expected), (portions, name)


class Network(nn.Module):
    """Two convolutions in float64, with buffers of several types that differ by `mark`."""

    def __init__(self, mark: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 2, 3, padding=1)).double()
        self.register_buffer("offset", torch.full((2, 1, 1), 0.1 + mark, dtype=torch.float64))
        self.register_buffer("mask", torch.tensor([True, bool(mark % 2)]))
        self.register_buffer("count", torch.tensor(mark), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.offset


class Jitter(torch.autograd.Function):
    """The identity, with a backward pass of random duration: gradients become ready in another rhythm each time."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(random.random() * 4e-3)
        return gradient


class Layer(nn.Module):
    """A residual convolution that takes its time."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * torch.relu(self.convolution(Jitter.apply(x)))


def _deep(comm: Comm, seed: int) -> tuple:
    """Return a float32 model of 3 MB in many tensors, its callable and its optimizer, distributed."""
    torch.manual_seed(seed)
    model = nn.Sequential(*(Layer(CHANNELS) for _ in range(12))).to(comm.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1)
    return model, *comm.distribute(model, optimizer)


def _train(forward: Callable, optimizer: torch.optim.Optimizer, steps: range, comm: Comm, portions: int = 1) -> None:
    for step in steps:
        noise = torch.Generator().manual_seed(1000 * comm.rank + step)
        x = torch.randn((portions, CHANNELS, 8, 8), generator=noise).to(comm.device)
        _accumulate(forward, optimizer, x, torch.zeros_like(x), comm)


def _pair(comm: Comm, make_optimizer: Callable) -> tuple:
    """Return a distributed model, its callable and optimizer, and an ordinary copy with its own optimizer."""
    torch.manual_seed(comm.rank)
    model = Network(comm.rank).to(comm.device)
    forward, optimizer = comm.distribute(model, make_optimizer(model.parameters()))
    reference = copy.deepcopy(model)
    return model, forward, optimizer, reference, make_optimizer(reference.parameters())


def _batch(step: int, comm: Comm) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    shape = (2, 2 * comm.world_size, 2, 6, 6)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(comm.device).unbind()


def _share(x: torch.Tensor, y: torch.Tensor, comm: Comm) -> tuple[torch.Tensor, torch.Tensor]:
    return x[comm.rank :: comm.world_size], y[comm.rank :: comm.world_size]


def _descend(forward: Callable, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer.zero_grad()
    (forward(x) - y).square().mean().backward()
    optimizer.step()


def _accumulate(forward: Callable, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, comm) -> None:
    """Descend as with the whole of x, one sample after the other."""
    optimizer.zero_grad()
    for i in range(len(x)):
        with nullcontext() if i == len(x) - 1 else comm.local_gradients(forward):
            ((forward(x[i : i + 1]) - y[i : i + 1]).square().mean() / len(x)).backward()
    optimizer.step()


def _criticise(judge: Callable, optimizer: torch.optim.Optimizer, fake, real, t) -> None:
    optimizer.zero_grad()
    between = (t * fake + (1 - t) * real).requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    (judge(fake).mean() - judge(real).mean() + 10 * penalty).backward()
    optimizer.step()


def _generate(generate: Callable, optimizer: torch.optim.Optimizer, critic: nn.Module, x: torch.Tensor) -> None:
    optimizer.zero_grad()
    critic.requires_grad_(False)
    (-critic(generate(x)).mean()).backward()
    critic.requires_grad_(True)
    optimizer.step()


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return list(itertools.chain(model.parameters(), model.buffers()))


def _assert_close(got: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


TRAINING_CONTRACT: tuple[Callable[[Comm], None], ...] = (
    distribute_starts_from_rank_0,
    ranks_train_as_one,
    frozen_parameters_start_equal_and_stay,
    gradients_add_up_over_backwards,
    accumulating_is_one_backward_of_the_whole,
    local_gradients_are_the_ranks_own,
    waiting_for_others_is_counted,
    exchanges_are_recorded_where_that_can_be,
    two_models_train_against_each_other,
    training_is_reproducible_whatever_the_timing,
    resumed_training_is_bit_identical,
)
