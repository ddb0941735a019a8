"""The guided base and back-projection in a graph: for any size, and with what ONNX of opset 18 can say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import Dim

from hpc_sr.export.onnx_file import open_onnx, write_onnx
from hpc_sr.models.backproject import BackProjection
from hpc_sr.models.bases import Guided
from hpc_sr.sentinel2.degrade import kernel, taps_of_bands
from hpc_sr.tasks import BANDS_10M, BANDS_20M, NETWORK_UNIT, S2X


class _Sharpened(nn.Module):
    """The base as it stands, made consistent once more: network units in and out."""

    def __init__(self) -> None:
        super().__init__()
        taps, guide_taps = (taps_of_bands(kernel("wald", 2, bands, "S2A")) for bands in (BANDS_20M, BANDS_10M))
        self.base = Guided(2, taps, guide_taps, NETWORK_UNIT, rounds=1)
        self.project = BackProjection(2, taps)

    def forward(self, x10: torch.Tensor, x20: torch.Tensor) -> torch.Tensor:
        return self.project(self.base(x20, x10), x20)


def test_graphs_sharpen_like_the_modules_for_any_size(shared_data: Path, tmp_path: Path) -> None:
    module, batch, rows, columns = _Sharpened(), Dim("batch", min=1), Dim("rows", min=2), Dim("columns", min=2)
    sizes = {0: batch, 2: 2 * rows, 3: 2 * columns}, {0: batch, 2: rows, 3: columns}
    program = torch.export.export(module, (torch.rand(2, 4, 12, 16), torch.rand(2, 6, 6, 8)), dynamic_shapes=sizes)
    write_onnx(tmp_path / "base.onnx", program, S2X, 2, "{}")
    onnx = open_onnx(tmp_path / "base.onnx", S2X)
    graphs = [lambda inputs: program.module()(*inputs), lambda inputs: onnx(inputs)[0]]
    with np.load(shared_data / "scenes" / "l1c_malmo_T33UUB.npz") as scene:
        fine, coarse = (
            torch.from_numpy(scene[key].transpose(2, 0, 1) / NETWORK_UNIT).float() for key in ("d10", "d20")
        )
    # Smaller than the window, of one image; and larger than what was traced, of three.
    for count, height, width in ((1, 4, 6), (3, 90, 74)):
        inputs = (
            torch.stack([fine[:, 20 * k : 20 * k + height, :width] for k in range(count)]),
            torch.stack([coarse[:, 10 * k : 10 * k + height // 2, : width // 2] for k in range(count)]),
        )
        wanted = module(*inputs)
        for graph in graphs:
            torch.testing.assert_close(graph(inputs), wanted, rtol=0, atol=0.1 / NETWORK_UNIT)
