"""NIQE and LPIPS beside the other metrics, for those who ask for them: each needs a file that is not shipped.

Together they cost several times the other metrics, so nothing here runs unless a model or weights are given; what was
not given has no key in the scores, and tables say "unavailable".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpc_sr.evaluate.metrics.lpips import LEAST_PX, Lpips, lpips, measure_lpips
from hpc_sr.evaluate.metrics.niqe import NIQE_CONTEXT_PX, NiqeModel, NiqeSums, measure_niqe, niqe
from hpc_sr.tasks import REFLECTANCE_ONE, RGB

#: Pixels of context that a window brings along on each side, as far as the image goes.
PERCEPTUAL_CONTEXT_PX = NIQE_CONTEXT_PX

#: Bands that are red, green and blue: of images, of a satellite.
_COLOURS = (RGB, ("B04", "B03", "B02"))


@dataclass(frozen=True, eq=False)
class Perceptual:
    """What was asked for. `white` is the value that LPIPS sees as white: 10 000, or 255 for images of 8 bits."""

    niqe: NiqeModel | None = None
    lpips: Lpips | None = None
    white: float = REFLECTANCE_ONE

    def fingerprint(self) -> bytes:
        """Return bytes that differ where a model or weights do."""
        arrays = [np.array(self.white)]
        if self.niqe is not None:
            arrays += [self.niqe.mean, self.niqe.covariance, np.array(self.niqe.white)]
        if self.lpips is not None:
            arrays += [tensor.cpu().numpy() for tensor in (*self.lpips.trunk.tensors, *self.lpips.linear)]
        return b"".join(array.tobytes() for array in arrays)

    def zero(self) -> np.ndarray:
        """Return the sums over nothing. Those of windows, batches and ranks are added."""
        return np.zeros(len(NiqeSums.zero().values) + 2)

    def measure(
        self,
        reference: torch.Tensor,
        estimate: torch.Tensor,
        bands: tuple[str, ...],
        mask: torch.Tensor | None = None,
        core: tuple[slice, slice] | None = None,
    ) -> np.ndarray:
        """Return the float64 sums of an image's window, or of a batch of small images.

        NIQE pools the blocks of all bands; cores start on multiples of 96 px and bring PERCEPTUAL_CONTEXT_PX. LPIPS
        sees the core's red, green and blue where the target has them, and takes each window for a picture.

        Shapes: (C, H, W) or (B, C, H, W); mask (H, W) or (B, H, W). Raises as `measure_niqe` and `measure_lpips` do.
        """
        x_BCHW, y_BCHW = (image if image.ndim == 4 else image[None] for image in (reference, estimate))
        valid_BHW = None if mask is None else mask.bool().expand(len(x_BCHW), *x_BCHW.shape[-2:])
        quality, distance = NiqeSums.zero(), np.zeros(2)
        if self.niqe is not None:
            for image_CHW, valid in zip(y_BCHW, [None] * len(y_BCHW) if valid_BHW is None else valid_BHW, strict=True):
                for image_HW in image_CHW:
                    quality += measure_niqe(image_HW, self.niqe.white, valid, core)
        names = next((names for names in _COLOURS if set(names) <= set(bands)), None)
        if self.lpips is not None and names is not None:
            inside = (..., *(core or (slice(None), slice(None))))
            colours = [bands.index(name) for name in names]
            x_B3HW, y_B3HW = (image[:, colours][inside] for image in (x_BCHW, y_BCHW))
            if min(x_B3HW.shape[-2:]) >= LEAST_PX:
                valid = None if valid_BHW is None else valid_BHW[inside]
                distance = measure_lpips(self.lpips, x_B3HW, y_B3HW, valid, self.white)
        return np.concatenate([quality.values, distance])

    def finish(self, sums: np.ndarray) -> dict[str, float | None]:
        """Return `niqe` and `lpips`, each if it was asked for; None where nothing could be measured."""
        scores: dict[str, float | None] = {}
        if self.niqe is not None:
            scores["niqe"] = niqe(NiqeSums(sums[:-2]), self.niqe)
        if self.lpips is not None:
            scores["lpips"] = lpips(sums[-2:])
        return scores
