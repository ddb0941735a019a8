"""What a scene looks like, for reports: its middle under the protocol, and before and after at 10 m, as .npz files."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from hpc_sr.evaluate.protocols.scenes import Lineup, Scene, measured, native_prediction
from hpc_sr.evaluate.scoring import panel_of
from hpc_sr.infer.windows import middle_of
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.safe import BandReader
from hpc_sr.tasks import REFLECTANCE_ONE

#: Pixels a side: of the protocol's grid, and of the native 10 m.
_PANEL_PX, _NATIVE_PX = 192, 96


def pictures_of(scene: Scene, reader: BandReader, lineup: Lineup, protocol: str) -> dict[str, bytes]:
    """Return the files of a scene's pictures by name. Without a network there is nothing before and after."""
    guides = lineup.task.inputs[0].bands
    panel: dict[str, Any] = panel_of(scene, _PANEL_PX, lineup.task.alignment_px)
    panel |= {"guide_bands": guides, "guide_nm": [BANDS[band].wavelength_nm for band in guides]}
    found = {f"panels_{lineup.label(protocol)}_{scene.name}.npz": _packed(lineup, panel, scene.methods)}
    if lineup.networks:
        native = _native(reader, lineup)
        found[f"{lineup.label('native')}_{scene.name}.npz"] = _packed(lineup, native, lineup.named_networks)
    return found


def _native(reader: BandReader, lineup: Lineup) -> dict[str, np.ndarray]:
    """Return the middle of a product as it was measured, `input`, and as each network brings it to 10 m, `method_n`.

    Float32 reflectance, cut to whole coarse pixels.
    """
    grid, target, scale = reader.product.grids[10], lineup.task.target, lineup.task.scale
    area = middle_of(grid.height, grid.width, _NATIVE_PX, scale)
    predict = native_prediction(reader)
    shown = {"input": measured(reader, target.bands, area.divided(scale))}
    for number, network in enumerate(lineup.networks):
        shown[f"method_{number}"] = lineup.predicted(predict, network, area).cpu().numpy()
    return {key: (values / REFLECTANCE_ONE).astype(np.float32) for key, values in shown.items()}


def _packed(lineup: Lineup, pictures: dict[str, Any], methods: Iterable[str]) -> bytes:
    bands, buffer = lineup.task.target.bands, io.BytesIO()
    told: dict[str, Any] = {"bands": bands, "band_nm": [BANDS[band].wavelength_nm for band in bands]}
    np.savez_compressed(buffer, methods=list(methods), **told, **pictures)
    return buffer.getvalue()
