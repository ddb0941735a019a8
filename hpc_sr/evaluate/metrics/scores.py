"""The scores of one image from its sums: every formula once, and None for what does not exist."""

from __future__ import annotations

import math

import numpy as np

from hpc_sr.errors import ShapeError
from hpc_sr.evaluate.metrics.sums import ImageSums
from hpc_sr.tasks import REFLECTANCE_ONE

# A variance below this share of the mean square (of the error: of the squared bias) is the rounding of the sums, an
# MSE below this share of the reference's mean square that of float32 pixels: decibels would make a score of it.
_ROUNDING = 1e-12


def finish(sums: ImageSums, bands: tuple[str, ...], scale: int, peak: float = REFLECTANCE_ONE) -> dict:
    """Return the scores of one image: {"total": {...}, "bands": {name: {...}}, "pixels": count}.

    Per band, with x reference, e = estimate - reference and MSE = mean e^2:
      bias   mean e (positive: too bright)      rmse   sqrt(MSE)
      sre    10 log10(mean(x)^2 / MSE), dB      sre_power   10 log10(mean(x^2) / MSE), dB
      psnr   10 log10(peak^2 / MSE), dB         psnr_image_max   the same with the image's greatest x as peak
      bpsnr  10 log10(peak^2 / (MSE - bias^2)), dB: PSNR once the brightness is equalised
      ssim, uiq   mean over windows
      correlation   Pearson's, over pixels      q_index   UIQ's formula with the whole band as one window
      gsm    2 gx gy / (gx^2 + gy^2) of the mean gradients gx, gy      gsm_map   mean over pixels of the map

    Total: rmse is the root of the mean over bands and pixels, rmse_band_mean the mean of the bands' RMSE; psnr,
    psnr_image_max and bpsnr are taken of the mean over bands of MSE and MSE - bias^2; the others of the above are
    means of the bands' values, bias has no total:

      sam    mean angle between the pixels' band vectors, degrees, zero vectors left out
      ergas  100 / scale sqrt(mean over bands of MSE / mean(x)^2); ergas_ratio_free has 100 in its place

    Sources: SAM Kruse et al. 1993, https://doi.org/10.1016/0034-4257(93)90013-N; ERGAS Wald 2000,
    https://hal.science/hal-00395027; SSIM, UIQ and GSM where their windows are made (structure.py, gradients.py).

    psnr_image_max is there if the sums know the greatest value (`ImageSums.brightest`).
    A score that does not exist is None, which JSON can hold: the decibels of no error but that of
    rounding, a ratio to a mean of zero, the angle of single numbers, correlation with a constant, gsm of two flat
    images, anything of no pixels or, for what looks at windows, of no whole window.
    Raises ShapeError if `bands` is not as long as the sums are wide.
    """
    if len(bands) != sums.bands:
        raise ShapeError(f"{len(bands)} band names meet sums of {sums.bands} bands")
    # The sums are finite, so what is not finite below is a score that does not exist.
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, bias, mse = (sums[name] / sums["pixels"] for name in ("reference", "error", "squared_error"))
        power = sums["squared_reference"] / sums["pixels"]
        heard = np.where(mse > _ROUNDING * power, mse, 0.0 * mse)
        detail = heard - bias**2
        detail = np.where(detail > _ROUNDING * (bias**2 + power), detail, 0.0 * bias)
        per_band = {
            "rmse": np.sqrt(mse),
            "sre": _decibels(mean**2 / heard),
            "sre_power": _decibels(power / heard),
            "psnr": _decibels(peak**2 / heard),
            "bpsnr": _decibels(peak**2 / detail),
            "ssim": sums["ssim"] / sums["ssim_windows"],
            "uiq": sums["uiq"] / sums["uiq_windows"],
            **_agreement(sums),
            **_gradient_similarity(sums),
            "bias": bias,
        }
        relative = np.sqrt(np.mean(mse / mean**2))
        total = {
            "rmse": np.sqrt(mse.mean()),
            "rmse_band_mean": per_band["rmse"].mean(),
            "sam": (sums["angle_deg"] / sums["angle_pixels"]).item() if sums.bands > 1 else math.nan,
            "ergas": 100.0 / scale * relative,
            "ergas_ratio_free": 100.0 * relative,
            "psnr": _decibels(peak**2 / heard.mean()),
            "bpsnr": _decibels(peak**2 / detail.mean()),
        }
        if sums.brightest is not None:
            per_band["psnr_image_max"] = _decibels(sums.brightest**2 / heard)
            total["psnr_image_max"] = _decibels(sums.brightest**2 / heard.mean())
        total |= {name: values.mean() for name, values in per_band.items() if name not in (*total, "bias")}
    return {
        "total": {name: _number_or_none(value) for name, value in total.items()},
        "bands": {
            band: {name: _number_or_none(values[index]) for name, values in per_band.items()}
            for index, band in enumerate(bands)
        },
        "pixels": int(sums["pixels"].item()),
    }


def _agreement(sums: ImageSums) -> dict[str, np.ndarray]:
    """Return Pearson's correlation and Q of each band, from the moments of reference and error."""
    mean_x, mean_e, power_x, power_e, product = (
        sums[name] / sums["pixels"]
        for name in ("reference", "error", "squared_reference", "squared_error", "reference_error")
    )
    mean_y, covariance_xe = mean_x + mean_e, product - mean_x * mean_e
    variance_x, covariance = power_x - mean_x**2, power_x - mean_x**2 + covariance_xe
    variance_y = variance_x + 2 * covariance_xe + power_e - mean_e**2
    rounding = _ROUNDING * (power_x + power_e)
    variance_x, variance_y = (np.where(v > rounding, v, 0.0 * v) for v in (variance_x, variance_y))
    covariance = np.where((variance_x > 0) & (variance_y > 0), covariance, 0.0 * covariance)
    luminance = 2 * mean_x * mean_y / (mean_x**2 + mean_y**2)
    return {
        "correlation": covariance / np.sqrt(variance_x * variance_y),
        "q_index": luminance * 2 * covariance / (variance_x + variance_y),
    }


def _gradient_similarity(sums: ImageSums) -> dict[str, np.ndarray]:
    gradient_x, gradient_y, similarity = (
        sums[name] / sums["gradients"] for name in ("gradient_reference", "gradient_estimate", "gradient_similarity")
    )
    return {"gsm": 2 * gradient_x * gradient_y / (gradient_x**2 + gradient_y**2), "gsm_map": similarity}


def _decibels(ratio: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(ratio)


def _number_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
