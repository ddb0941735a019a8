"""Floating-point operations counted against arithmetic, and peaks by a GPU's name."""

from __future__ import annotations

import pytest
from made_networks import narrow

from hpc_sr.bench.flops import flops_per_sample, peak_flops
from hpc_sr.tasks import S2X, S6X


@pytest.mark.parametrize(("task", "inputs", "outputs"), [(S2X, 10, 6), (S6X, 12, 2)])
@pytest.mark.parametrize("patch_px", [12, 24])
def test_convolutions_count_by_their_weights(task, inputs, outputs, patch_px):
    width, blocks = 32, 3
    first, trunk, last = (9 * a * b for a, b in ((inputs, width), (width, width), (width, outputs)))
    # Forward, gradient of weights, gradient of inputs; nobody asks for that of the patches.
    products = 2 * first + 3 * (2 * blocks * trunk + last)
    options = narrow("dsen2", width=width, blocks=blocks)
    assert flops_per_sample(options, task, patch_px) == 2 * products * patch_px**2


def test_attention_counts_its_maps():
    without, attending = (flops_per_sample(narrow(width=32, attention=attends), S2X, 32) for attends in (False, True))
    positions, channels = 32**2, 16
    assert attending - without >= 3 * 2 * (2 * positions**2 * channels), "forward and backward of both products"


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA A100-SXM4-40GB", "bf16", 312e12),
        ("Tesla V100-SXM2-16GB", "fp16", 125e12),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H100 PCIe", "fp16", 756e12),
        ("NVIDIA H200", "bf16", 989e12),
        ("NVIDIA GH200 480GB", "bf16", 989e12),
        ("NVIDIA A100-SXM4-40GB", "fp32", None),
        ("unheard of", "bf16", None),
        (None, "bf16", None),
    ],
)
def test_peaks_are_of_known_gpus_in_half_precision(name, precision, peak):
    assert peak_flops(name, precision) == peak
