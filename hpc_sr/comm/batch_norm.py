"""BatchNorm that sees the batches of all ranks, on any backend and device."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Gives the sum over ranks of a tensor, and lets gradients through.
Sum = Callable[[torch.Tensor], torch.Tensor]


def synchronise(network: nn.Module, sum_over_ranks: Sum) -> nn.Module:
    """Return the network, each BatchNorm of which takes its statistics from all ranks in training.

    The modules stay, and with them names, parameters, buffers and hooks: only their `forward` is another. In
    evaluation it is torch's own. (torch.nn.SyncBatchNorm and Horovod's refuse tensors on a CPU.)
    """

    def forward(norm: _BatchNorm, values: torch.Tensor) -> torch.Tensor:
        return _normalised(norm, values, sum_over_ranks) if norm.training else type(norm).forward(norm, values)

    for module in network.modules():
        if isinstance(module, _BatchNorm):
            # A method: a copy of the network gets the copy's own. torch lets a module have one, mypy does not.
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]
    return network


def _normalised(norm: _BatchNorm, values: torch.Tensor, sum_over_ranks: Sum) -> torch.Tensor:
    """Return (x - E[x]) / sqrt(Var[x] + eps) * weight + bias for each channel (Ioffe and Szegedy, arXiv:1502.03167).

    The arithmetic is autograd's, so its gradients may be differentiated again.
    """
    norm._check_input_dim(values)
    exact = values if values.dtype == torch.float64 else values.float()
    count, centre, variance = _statistics(exact, sum_over_ranks)
    if norm.running_mean is not None:
        _keep_running(norm, centre.detach(), (variance * count / (count - 1)).detach())
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight
    shift = -centre * scale
    if norm.affine:
        shift = shift + norm.bias
    # x * scale + shift: autograd keeps nothing of the size of x but x.
    scale, shift = (each.to(exact.dtype).view(-1, *[1] * (values.dim() - 2)) for each in (scale, shift))
    return torch.addcmul(shift, exact, scale).to(values.dtype)


def _statistics(values: torch.Tensor, sum_over_ranks: Sum) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return how many values each channel has on all ranks, and their mean and variance, as float64.

    They travel as count, sum and sum of squares in one exchange, so unequal batches weigh what they should.
    """
    variance, centre = torch.var_mean(values, [0, *range(2, values.dim())], correction=0)
    # In float32 the square of a large mean would leave nothing of a small variance.
    variance, centre = variance.double(), centre.double()
    own = torch.cat([centre.new_ones(1), centre, variance + centre.square()]) * (values.numel() / len(centre))
    count, total, squares = sum_over_ranks(own).split([1, len(centre), len(centre)])
    centre = total / count
    return count, centre, (squares / count - centre.square()).clamp(min=0)


@torch.no_grad()
def _keep_running(norm: _BatchNorm, centre: torch.Tensor, variance: torch.Tensor) -> None:
    """Move the running statistics towards a batch's, as far as `momentum` says; None makes them the mean of all."""
    assert norm.num_batches_tracked is not None and norm.running_mean is not None and norm.running_var is not None
    norm.num_batches_tracked += 1
    share = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
    norm.running_mean += share * (centre - norm.running_mean)
    norm.running_var += share * (variance - norm.running_var)
