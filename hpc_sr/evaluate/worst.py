"""Where a method errs most: the block of a scene that a page shows, with what every method makes of it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from hpc_sr.tasks import REFLECTANCE_ONE

#: Pixels a side of a block. Windows that are scored hold whole ones.
BLOCK_PX = 48
#: Places of a scene that are kept as pictures.
_KEPT = 4


@dataclass(frozen=True, eq=False)
class Worst:
    """A block of a scene: the method's RMSE there over bands and pixels, its corner, and its pixels by all methods.

    `reference` and `estimates` are (C, 48, 48) float32 in stored units.
    """

    rmse: float
    row: int
    column: int
    reference: np.ndarray
    estimates: dict[str, np.ndarray]

    @property
    def place(self) -> tuple[int, int]:
        """Row and column of the corner in the scene."""
        return self.row, self.column

    def or_worse(self, other: Worst | None) -> Worst:
        """Return the one of greater error; of equal ones the upper left, whoever found it first."""
        mine = (-self.rmse, *self.place)
        return self if other is None or mine <= (-other.rmse, *other.place) else other


def worst_in(
    reference_CHW: torch.Tensor, estimates: dict[str, torch.Tensor], valid_HW: torch.Tensor, corner: tuple[int, int]
) -> dict[str, Worst]:
    """Return each method's worst block of a window whose upper-left pixel lies at `corner` of the scene.

    Blocks are laid from there, lie wholly in the window, and count where all their pixels are valid.
    """
    whole = _in_blocks(valid_HW[None].float()).amin((-3, -2, -1)) > 0
    if not whole.any():
        return {}
    found = {}
    for name, estimate_CHW in estimates.items():
        # Methods without training answer on the CPU, networks where they are.
        error = (estimate_CHW - reference_CHW.to(estimate_CHW.device)).double()
        squares = torch.where(whole.to(error.device), _in_blocks(error.square()).mean((-3, -2, -1)), -1.0).cpu()
        flat = int(squares.argmax())
        down, across = divmod(flat, whole.shape[1])
        inside = (slice(None), *(slice(BLOCK_PX * place, BLOCK_PX * (place + 1)) for place in (down, across)))
        found[name] = Worst(
            float(squares[down, across].sqrt()),
            corner[0] + BLOCK_PX * down,
            corner[1] + BLOCK_PX * across,
            _pixels(reference_CHW[inside]),
            {other: _pixels(image[inside]) for other, image in estimates.items()},
        )
    return found


def worst_file(found: Iterable[Worst], bands: tuple[str, ...]) -> bytes:
    """Return an .npz of at most four different places, the worst first: reflectance, float32.

    `bands` and `methods` name what there is; `rows` and `columns` are the corners; `truth` (places, C, h, w) and
    `estimates` (places, methods, C, h, w) the pixels.
    """
    places: dict[tuple[int, int], Worst] = {}
    for one in sorted(found, key=lambda one: (-one.rmse, *one.place)):
        places.setdefault(one.place, one)
    kept, buffer = list(places.values())[:_KEPT], io.BytesIO()
    np.savez_compressed(
        buffer,
        bands=bands,
        methods=list(kept[0].estimates),
        rows=[one.row for one in kept],
        columns=[one.column for one in kept],
        truth=np.stack([one.reference for one in kept]) / np.float32(REFLECTANCE_ONE),
        estimates=np.stack([np.stack(list(one.estimates.values())) for one in kept]) / np.float32(REFLECTANCE_ONE),
    )
    return buffer.getvalue()


def _in_blocks(image_CHW: torch.Tensor) -> torch.Tensor:
    """Return the whole blocks of an image, (rows, columns, C, 48, 48)."""
    channels, height, width = image_CHW.shape
    rows, columns = height // BLOCK_PX, width // BLOCK_PX
    whole = image_CHW[:, : rows * BLOCK_PX, : columns * BLOCK_PX]
    return whole.reshape(channels, rows, BLOCK_PX, columns, BLOCK_PX).permute(1, 3, 0, 2, 4)


def _pixels(image_CHW: torch.Tensor) -> np.ndarray:
    return image_CHW.float().cpu().numpy().copy()
