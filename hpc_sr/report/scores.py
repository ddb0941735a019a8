"""The scores of an evaluation as they are shown: name, unit, digits, and which direction is good."""

from __future__ import annotations

from dataclasses import dataclass

from hpc_sr.report.rendering import UNDEFINED


@dataclass(frozen=True)
class Score:
    """How a score is shown; `better` is -1 where low is good, 1 where high is, 0 where near zero is."""

    key: str
    label: str
    unit: str
    decimals: int
    better: int

    @property
    def heading(self) -> str:
        unit = f", {self.unit}" if self.unit else ""
        direction = "↓" if self.better < 0 else "↑" if self.better else "→ 0"
        return f"{self.label}{unit} {direction}"

    def text(self, value: float | None) -> str:
        # Rounding first turns -0.001 into -0.0, and adding 0.0 that into 0.0.
        return UNDEFINED if value is None else f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"

    def distance(self, value: float) -> float:
        """Return a number that is lower the better the value is."""
        return -self.better * value if self.better else abs(value)


SCORES = (
    Score("rmse", "RMSE", "", 2, -1),
    Score("rmse_band_mean", "mean band RMSE", "", 2, -1),
    Score("sre", "SRE", "dB", 2, 1),
    Score("sre_power", "SRE, mean square", "dB", 2, 1),
    Score("sam", "SAM", "°", 3, -1),
    Score("ergas", "ERGAS", "", 3, -1),
    Score("ergas_ratio_free", "ERGAS, no ratio", "", 3, -1),
    Score("psnr", "PSNR", "dB", 2, 1),
    Score("psnr_image_max", "PSNR, peak of image", "dB", 2, 1),
    Score("bpsnr", "bPSNR", "dB", 2, 1),
    Score("ssim", "SSIM", "", 4, 1),
    Score("uiq", "UIQ", "", 4, 1),
    Score("q_index", "Q, whole band", "", 4, 1),
    Score("correlation", "correlation", "", 4, 1),
    Score("gsm", "GSM, global", "", 4, 1),
    Score("gsm_map", "GSM, map", "", 4, 1),
    Score("niqe", "NIQE", "", 3, -1),
    Score("lpips", "LPIPS", "", 4, -1),
    Score("bias", "bias", "", 2, 0),
)
BY_KEY = {score.key: score for score in SCORES}
