"""Power spectra by frequency: does an estimate bring back frequencies, and are they the right ones?

Power alone does not answer that, because noise has power too. Coherence is the share of the power whose phase agrees
with the reference. Both come from sums over blocks of 64 px with a Hann window, averaged over directions; float64.
Shapes: C bands, K rings of frequency, one for each 1/64 cycle per pixel from 1/64 to 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hpc_sr.errors import NotFiniteError, ShapeError

SPECTRUM_BLOCK_PX = 64
RINGS = SPECTRUM_BLOCK_PX // 2


@dataclass(frozen=True, eq=False)
class SpectrumSums:
    """The number of blocks, and over them the power of reference and estimate and their cross power: (3, C, K)."""

    blocks: int
    powers: np.ndarray

    def __add__(self, other: SpectrumSums) -> SpectrumSums:
        """Return the sums over both; those of ranks add up in the same way."""
        return SpectrumSums(self.blocks + other.blocks, self.powers + other.powers)


@torch.no_grad()
def measure_spectrum(
    reference: torch.Tensor,
    estimate: torch.Tensor,
    mask: torch.Tensor | None = None,
    core: tuple[slice, slice] | None = None,
) -> SpectrumSums:
    """Return the sums over the 64 px blocks that are laid from the core's corner, lie wholly in it and are all valid.

    No context is needed: cores that start on multiples of 64 px (384 does) give the sums of the whole image.

    Shapes: (C, H, W) both, mask (H, W).
    Raises ShapeError if they do not fit, NotFiniteError for NaN or infinity in a block that counts.
    """
    if reference.ndim != 3 or reference.shape != estimate.shape:
        raise ShapeError(f"{tuple(reference.shape)} and {tuple(estimate.shape)} are not both (C, H, W)")
    if mask is not None and mask.shape != reference.shape[1:]:
        raise ShapeError(f"a mask of shape {tuple(mask.shape)} does not fit {tuple(reference.shape)}")
    core = core or (slice(None), slice(None))
    valid = None if mask is None else _in_blocks(mask[core][None].bool()).flatten(1).all(1)
    pair = []
    for image in (reference, estimate):
        blocks_NCHW = _in_blocks(image[(slice(None), *core)])
        pair.append((blocks_NCHW if valid is None else blocks_NCHW[valid]).double())
    x_NCHW, y_NCHW = pair
    if not (x_NCHW.isfinite().all() and y_NCHW.isfinite().all()):
        raise NotFiniteError("values are NaN or infinite", where="spectrum", cure="give a mask where there is no data")
    if not len(x_NCHW):
        return SpectrumSums(0, np.zeros((3, len(reference), RINGS)))
    x, y = _transform(x_NCHW), _transform(y_NCHW)
    powers = torch.stack([x.abs() ** 2, y.abs() ** 2, (x * y.conj()).real]).sum(1)
    return SpectrumSums(len(x_NCHW), _over_rings(powers.cpu().numpy()))


def spectra(sums: SpectrumSums, bands: tuple[str, ...]) -> dict[str, dict[str, list[float]]] | None:
    """Return {band: lists over frequency}, None of no block.

      frequency   cycles per pixel, 1/2 is the Nyquist frequency
      power_reference, power_estimate   in squared units: white noise has its variance at every
                  frequency but the first, of which the removed mean takes a fifth
      transfer    power_estimate / power_reference: 1 where all is restored, 0 where nothing is
      coherence   cross power / sqrt(product of the powers), -1..1: 1 where what is there is right; 0 beside no power

    Raises ShapeError if `bands` is not as long as the sums are wide.
    """
    if len(bands) != sums.powers.shape[1]:
        raise ShapeError(f"{len(bands)} band names meet spectra of {sums.powers.shape[1]} bands")
    if not sums.blocks:
        return None
    x_CK, y_CK, cross_CK = sums.powers / sums.blocks
    product = np.sqrt(x_CK * y_CK)
    curves = {
        "power_reference": x_CK,
        "power_estimate": y_CK,
        "transfer": np.divide(y_CK, x_CK, out=np.zeros_like(x_CK), where=x_CK > 0),
        "coherence": np.divide(cross_CK, product, out=np.zeros_like(x_CK), where=product > 0),
    }
    frequency = [ring / SPECTRUM_BLOCK_PX for ring in range(1, RINGS + 1)]
    return {
        band: {"frequency": frequency, **{name: curve[index].tolist() for name, curve in curves.items()}}
        for index, band in enumerate(bands)
    }


def _in_blocks(image_CHW: torch.Tensor) -> torch.Tensor:
    """Return the whole blocks of an image, (N, C, 64, 64)."""
    channels, height, width = image_CHW.shape
    rows, columns = height // SPECTRUM_BLOCK_PX, width // SPECTRUM_BLOCK_PX
    whole = image_CHW[:, : rows * SPECTRUM_BLOCK_PX, : columns * SPECTRUM_BLOCK_PX]
    split = whole.reshape(channels, rows, SPECTRUM_BLOCK_PX, columns, SPECTRUM_BLOCK_PX)
    return split.permute(1, 3, 0, 2, 4).reshape(-1, channels, SPECTRUM_BLOCK_PX, SPECTRUM_BLOCK_PX)


def _transform(blocks_NCHW: torch.Tensor) -> torch.Tensor:
    """Return the half spectra (N, C, 64, 33) of blocks without their mean, under a Hann window of mean square 1."""
    taper = torch.hann_window(SPECTRUM_BLOCK_PX, dtype=torch.float64, device=blocks_NCHW.device)
    window = torch.outer(taper, taper)
    window = window / window.square().mean().sqrt()
    # Of the tapered values: the window would spread a mean that is left over the first ring.
    mean = (blocks_NCHW * window).sum((-1, -2), keepdim=True) / window.sum()
    return torch.fft.rfft2((blocks_NCHW - mean) * window) / SPECTRUM_BLOCK_PX


def _over_rings(powers: np.ndarray) -> np.ndarray:
    """Return the mean over directions of powers (..., 64, 33) in each ring, (..., K)."""
    down = np.fft.fftfreq(SPECTRUM_BLOCK_PX)[:, None] * SPECTRUM_BLOCK_PX
    across = np.fft.rfftfreq(SPECTRUM_BLOCK_PX)[None] * SPECTRUM_BLOCK_PX
    ring = np.rint(np.hypot(down, across))
    # A half spectrum stands for its mirror image too, but for the columns that are their own.
    twice = np.where((across == 0) | (across == RINGS), 1.0, 2.0)
    members = np.stack([(ring == number) * twice for number in range(1, RINGS + 1)]).reshape(RINGS, -1)
    return powers.reshape(*powers.shape[:-2], -1) @ (members / members.sum(1, keepdims=True)).T
