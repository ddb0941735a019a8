"""The part of every Comm's contract that makes a batch on several ranks one batch: means with gradient, BatchNorm."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.functional import softplus
from training_contract import STEPS, _assert_close, _batch, _criticise, _share, _tensors

from hpc_sr.comm.communicator import Comm, SerialComm

Mean = Callable[[torch.Tensor], torch.Tensor]


def mean_of_tensors_is_in_rank_order(comm: Comm) -> None:
    """In float64, whatever the tensors' type, which the mean has too, on their device."""
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for shape in ((), (1,), (5, 3)):
            parts = [torch.randn(shape, generator=generator).to(dtype) for _ in range(comm.world_size)]
            parts = [part.transpose(0, -1) if part.dim() else part for part in parts]  # not contiguous
            mean = comm.mean_with_gradient(parts[comm.rank].to(comm.device))
            expected = sum(part.double() for part in parts) / comm.world_size
            assert mean.dtype == dtype and mean.device == comm.device
            assert torch.equal(mean.cpu(), expected.to(dtype))


def mean_sends_back_the_mean_gradient(comm: Comm) -> None:
    """Gradients through it, and gradients of these, are those of the mean loss, by hand.

    With x_k = w c_k, m = mean x_k and L_k = a_k m^2, the slope at every x_k is s = 2 mean(a) m.
    """
    n = comm.world_size
    a, b, c = (torch.arange(1.0, n + 1, dtype=torch.float64) + shift for shift in (0.0, 2.5, 7.0))
    w = torch.tensor(0.3, dtype=torch.float64, device=comm.device, requires_grad=True)
    x = w * c[comm.rank]
    loss = a[comm.rank] * comm.mean_with_gradient(x).square()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    _assert_close([slope.cpu()], [2 * a.mean() * 0.3 * c.mean()])
    (loss + b[comm.rank] * slope.square()).backward()
    of_loss, of_slopes = a.mean() * c.mean() ** 2, b.mean() * (2 * a.mean() * c.mean()) ** 2
    _assert_close([comm.mean_with_gradient(w.grad).cpu()], [2 * 0.3 * (of_loss + of_slopes)])


def waiting_for_means_is_counted(comm: Comm) -> None:
    late_s, before = 0.2, comm.waited_s
    comm.barrier()
    if comm.rank == comm.world_size - 1:
        time.sleep(late_s)
    comm.mean_with_gradient(torch.ones(3, device=comm.device))
    waited = comm.gather(comm.waited_s - before)
    if comm.world_size > 1:
        assert all(late_s * 0.8 < one < late_s + 2 for one in waited[:-1]) and waited[-1] < min(waited[:-1]), waited


def adversaries_with_batch_norm_train_as_one(comm: Comm) -> None:
    """Relativistic averages and BatchNorm in both networks: gradients, weights and statistics are of the whole batch.

    All ranks would save the same bytes.
    """
    generator, generate, g_optimizer, g_reference, g_plain = _pair(comm, seed=1)
    critic, judge, c_optimizer, c_reference, c_plain = _pair(comm, seed=2)
    alone = SerialComm().mean_with_gradient
    for step in range(STEPS):
        x, y = _batch(step, comm)
        mine, real = _share(x, y, comm)
        _tell_apart(judge, c_optimizer, generator, mine, real, comm.mean_with_gradient)
        _tell_apart(c_reference, c_plain, g_reference, x, y, alone)
        _assert_close(_gradients(critic), _gradients(c_reference))
        _deceive(generate, g_optimizer, critic, mine, real, comm.mean_with_gradient)
        _deceive(g_reference, g_plain, c_reference, x, y, alone)
        _assert_close(_gradients(generator), _gradients(g_reference))
    for ours, reference in ((generator, g_reference), (critic, c_reference)):
        assert ours.state_dict().keys() == reference.state_dict().keys()
        _assert_close(_tensors(ours), _tensors(reference))
        saved = [(name, value.cpu().numpy().tobytes()) for name, value in ours.state_dict().items()]
        assert all(other == saved for other in comm.gather(saved)), "ranks differ in bits"


def portions_have_their_own_statistics(comm: Comm, wrap: Callable = lambda forward: forward) -> None:
    """Accumulated over two portions of all ranks: as one process with the same two. `wrap` may compile."""
    network, forward, optimizer, reference, plain = _pair(comm, seed=1)
    forward = wrap(forward)
    for step in range(STEPS):
        for portion in range(2):
            x, y = _batch(2 * step + portion, comm)
            mine, target = _share(x, y, comm)
            with comm.local_gradients(forward) if portion == 0 else nullcontext():
                (forward(mine) - target).square().mean().backward()
            (reference(x) - y).square().mean().backward()
        _assert_close(_gradients(network), _gradients(reference))
        for each in (optimizer, plain):
            each.step()
            each.zero_grad()
    _assert_close(_tensors(network), _tensors(reference))


def penalties_go_through_batch_norm(comm: Comm) -> None:
    """The slope at a rank's samples is that of all ranks' outputs: BatchNorm lets each look at all."""
    critic, judge, optimizer, reference, plain = _pair(comm, seed=3)
    for step in range(STEPS):
        x, y = _batch(step, comm)
        half = torch.full((len(x), 1, 1, 1), 0.5).to(x)
        _criticise(judge, optimizer, *_share(x, y, comm), half[: len(x) // comm.world_size])
        _criticise(reference, plain, x, y, half)
    _assert_close(_tensors(critic), _tensors(reference))


def batch_norm_weighs_unequal_batches(comm: Comm) -> None:
    """Of any shape and with any options: outputs, both gradients and statistics are the whole batch's."""
    for shape, make in (
        ((), nn.BatchNorm1d),
        ((4,), lambda n: nn.BatchNorm1d(n, momentum=None)),
        ((4, 3), lambda n: nn.BatchNorm2d(n, affine=False)),
        ((2, 3, 2), lambda n: nn.BatchNorm3d(n, track_running_stats=False)),
    ):
        reference = make(3).double().to(comm.device)
        norm = copy.deepcopy(reference)
        before = _tensors(norm)
        assert comm.synchronised(norm) is norm
        copied = copy.deepcopy(norm)
        for step in range(2):
            generator = torch.Generator().manual_seed(step)
            sizes = [2 + rank for rank in range(comm.world_size)]
            x, w = torch.randn((2, sum(sizes), 3, *shape), generator=generator, dtype=torch.float64).to(comm.device)
            mine = x.split(sizes)[comm.rank].clone().requires_grad_()
            got, expected = norm(mine), reference(x.requires_grad_())
            _assert_close([got], [expected.split(sizes)[comm.rank]])
            # The mean over ranks of what each descends is what the whole descends.
            (got * w.split(sizes)[comm.rank]).sum().mul(comm.world_size).backward()
            (expected * w).sum().backward()
            _assert_close([mine.grad / comm.world_size], [x.grad.split(sizes)[comm.rank]])
            gradients = [comm.mean_with_gradient(gradient) for gradient in _gradients(norm)]
            _assert_close(gradients, _gradients(reference))
        _assert_close(_tensors(norm), _tensors(reference))
        assert all(a is b for a, b in zip(_tensors(norm), before, strict=True))
        assert not norm.track_running_stats or copied.num_batches_tracked == 0, "a copy shares statistics"


def batch_norm_keeps_its_precision(comm: Comm) -> None:
    """A small variance beside a large mean in float32; bfloat16 in, bfloat16 out."""
    x = 1000 + 0.1 * torch.randn(comm.world_size * 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x = x.to(comm.device)
    mine = x[comm.rank :: comm.world_size]
    norm = comm.synchronised(nn.BatchNorm2d(3).to(comm.device))
    norm, _ = comm.distribute(norm, torch.optim.SGD(norm.parameters(), 0.1))  # though it is nothing but a BatchNorm
    expected = nn.BatchNorm2d(3).double().to(comm.device)(x.double())[comm.rank :: comm.world_size]
    torch.testing.assert_close(norm(mine).double(), expected, rtol=0, atol=2e-3)
    got = norm((mine - 1000).bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=5e-2)


def batch_norm_evaluates_alone(comm: Comm) -> None:
    """Evaluation uses what was kept, and asks no other rank: those that have nothing to evaluate wait for nobody."""
    norm = comm.synchronised(nn.BatchNorm2d(2).double().to(comm.device))
    x, _ = _batch(0, comm)
    norm(x + comm.rank)
    reference = nn.BatchNorm2d(2).double().to(comm.device)
    reference.load_state_dict(norm.state_dict())
    if comm.rank == 0:
        assert torch.equal(norm.eval()(x), reference.eval()(x))


class Normalised(nn.Module):
    """Convolutions around a BatchNorm, in float64."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.Conv2d(4, 2, 3, padding=1)
        self.body = nn.Sequential(*layers).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def _pair(comm: Comm, seed: int) -> tuple:
    """Return a synchronised, distributed network, its callable and optimizer, and a plain copy with its own."""
    torch.manual_seed(seed)
    reference = Normalised().to(comm.device)
    network = comm.synchronised(copy.deepcopy(reference))
    optimizer, plain = (torch.optim.Adam(each.parameters(), 1e-2, eps=1e-3) for each in (network, reference))
    return network, *comm.distribute(network, optimizer), reference, plain


def _gradients(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in network.parameters()]


def _tell_apart(judge: Callable, optimizer: torch.optim.Optimizer, generator, x, real, mean: Mean) -> None:
    """A step of the critic with the relativistic average loss (Jolicoeur-Martineau, arXiv:1807.00734)."""
    optimizer.zero_grad()
    with torch.no_grad():
        fake = generator(x)
    of_real, of_fake = judge(real), judge(fake)
    loss = softplus(mean(of_fake.mean()) - of_real).mean() + softplus(of_fake - mean(of_real.mean())).mean()
    loss.backward()
    optimizer.step()


def _deceive(generate: Callable, optimizer: torch.optim.Optimizer, critic: nn.Module, x, real, mean: Mean) -> None:
    """A step of the generator against the frozen critic, whose verdict on real images gets no gradient."""
    optimizer.zero_grad()
    critic.requires_grad_(False)
    of_real, of_fake = critic(real).detach(), critic(generate(x))
    loss = softplus(of_real - mean(of_fake.mean())).mean() + softplus(mean(of_real.mean()) - of_fake).mean()
    loss.backward()
    critic.requires_grad_(True)
    optimizer.step()


#: What needs nothing of a Comm but gathered tensors.
GATHERING_CONTRACT: tuple[Callable[[Comm], None], ...] = (
    mean_of_tensors_is_in_rank_order,
    mean_sends_back_the_mean_gradient,
    batch_norm_weighs_unequal_batches,
    batch_norm_keeps_its_precision,
    batch_norm_evaluates_alone,
)
BATCH_CONTRACT: tuple[Callable[[Comm], None], ...] = (
    *GATHERING_CONTRACT,
    waiting_for_means_is_counted,
    adversaries_with_batch_norm_train_as_one,
    portions_have_their_own_statistics,
    penalties_go_through_batch_norm,
)
