"""Parts of pictures side by side, whatever the pictures are called."""

from __future__ import annotations

import warnings

import numpy as np

from hpc_sr.report.figures.side_by_side import draw_side_by_side
from hpc_sr.report.pictures import Part


def test_long_names_leave_room_for_the_parts() -> None:
    """Matplotlib warns where it finds no room for what is beside or above an axis."""
    image = np.full((8, 8, 3), 0.5)
    name = "S2A_MSIL1C_20170527T101031_N0509_R022_T33UUB_20170527T120000"
    part = Part(name, {"given": image, f"srresnet_{name}": image, "reference": image}, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_side_by_side([part] * 4, "a title").startswith(b"\x89PNG")
