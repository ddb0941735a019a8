"""The thesis's published scores as plain data, digit for digit as printed: its tables of S2x and S6x next to others.

Sources:
    The rows of bicubic, DSen2, S2x and S6x: R. Zhang, Super-resolution of Sentinel-2 images with GANs, thesis, RWTH
    Aachen University and Jülich Supercomputing Centre; S2x and S6x also in Zhang, Cavallaro, Jitsev, IGARSS 2020.
    Means over its 15 test tiles.
    The rows of ATPRK, SupReME and Superres: quoted by the thesis from Lanaras et al., Super-resolution of Sentinel-2
    images, ISPRS Journal of Photogrammetry and Remote Sensing, 2018 (the DSen2 paper), whose runs they are.

Put right here: bicubic's SSIM and PSNR under L2A consistency, which the thesis prints in each other's column. Nothing
is filled in: a score that is not known from these sources is absent, and so are all of L2A at 60 m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hpc_sr.tasks import BANDS_20M, BANDS_60M

#: The scores that the thesis has, by its names.
SCORES = ("RMSE", "SRE", "SAM", "ERGAS", "SSIM", "PSNR", "bPSNR")
QUOTED_FROM = "Lanaras et al. (DSen2), ISPRS Journal of Photogrammetry and Remote Sensing, 2018"


@dataclass(frozen=True)
class Case:
    """What a table is about: processing level, task (s2x: 20 m bands, s6x: 60 m bands), and protocol."""

    level: str
    task: str
    protocol: str


@dataclass(frozen=True)
class Published:
    """A method's printed scores, all bands and by {score: {band: value}}.

    `family` is the method or network of ours that the row is compared with. `quoted` says where the thesis has the
    row from, if it is not its own.
    """

    name: str
    family: str
    scores: Mapping[str, str]
    bands: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    quoted: str | None = None


def _own(name: str, family: str, numbers: str, **bands: dict[str, str]) -> Published:
    """Return a row of the thesis from its numbers in the order of SCORES; the last ones may be missing."""
    return Published(name, family, dict(zip(SCORES, numbers.split(), strict=False)), bands)


def _quoted(name: str, family: str, numbers: str) -> Published:
    return Published(name, family, dict(zip(SCORES, numbers.split(), strict=False)), quoted=QUOTED_FROM)


def _by_band(bands: tuple[str, ...], numbers: str) -> dict[str, str]:
    return dict(zip(bands, numbers.split(), strict=True))


TABLES: dict[Case, tuple[Published, ...]] = {
    Case("L1C", "s2x", "synthesis"): (
        _own("bicubic", "bicubic", "125.69 25.64 1.22 3.48 0.82 45.00 45.00"),
        _quoted("ATPRK", "atprk", "116.2 25.7 1.68"),
        _quoted("SupReME", "supreme", "69.7 29.7 1.26"),
        _quoted("Superres", "superres", "66.2 30.4 1.02"),
        _own("DSen2", "dsen2", "35.85 35.94 0.78 1.07 0.9322 55.54 55.93"),
        _own(
            "S2x",
            "s2x",
            "34.99 36.19 0.75 1.03 0.9336 55.78 56.34",
            RMSE=_by_band(BANDS_20M, "27.48 32.27 35.58 37.46 35.56 33.68"),
            SRE=_by_band(BANDS_20M, "36.26 36.44 36.49 36.62 36.66 36.22"),
        ),
    ),
    Case("L1C", "s2x", "consistency"): (
        _own("bicubic", "bicubic", "34.96 36.70 0.40 0.95 0.9849 56.16 55.61"),
        _own("DSen2", "dsen2", "5.91 52.10 0.08 0.18 0.9899 71.98 72.32"),
        _own(
            "S2x",
            "s2x",
            "4.28 55.11 0.07 0.125 0.9901 74.92 75.42",
            RMSE=_by_band(BANDS_20M, "4.31 4.58 4.77 4.86 4.40 4.09"),
        ),
    ),
    Case("L1C", "s6x", "synthesis"): (
        _own("bicubic", "bicubic", "161.85 19.79 1.78 7.30 0.36 37.68"),
        _quoted("ATPRK", "atprk", "145.1 20.4 1.62"),
        _quoted("SupReME", "supreme", "85.7 24.8 0.98"),
        _quoted("Superres", "superres", "100.2 22.8 1.42"),
        _own("DSen2", "dsen2", "28.11 34.47 0.36 1.38 0.8953 52.50"),
        _own("S6x", "s6x", "26.80 34.98 0.34 1.29 0.8991 52.95 52.27", RMSE=_by_band(BANDS_60M, "27.60 26.18")),
    ),
    Case("L1C", "s6x", "consistency"): (
        _own("bicubic", "bicubic", "14.02 41.04 0.18 0.63 0.9919 58.98"),
        _own("DSen2", "dsen2", "24.69 36.31 0.20 1.03 0.9710 54.15"),
        _own("S6x", "s6x", "22.35 37.41 0.17 0.92 0.9798 55.33"),
    ),
    Case("L2A", "s2x", "synthesis"): (
        _own("bicubic", "bicubic", "149.75 24.51 2.10 3.93 0.8181 41.11"),
        _own("DSen2 with L1C weights", "dsen2_l1c", "47.60 34.27 1.83 1.32 0.91 50.85"),
        _own("DSen2-L2A", "dsen2", "43.00 35.17 1.54 1.19 0.9265 51.76"),
        _own("S2x-L2A", "s2x", "41.45 35.55 1.46 1.14 0.9275 52.11"),
    ),
    Case("L2A", "s2x", "consistency"): (
        _own("bicubic", "bicubic", "41.81 35.83 0.72 1.08 0.9844 52.25"),
        _own("DSen2-L2A", "dsen2", "8.95 50.00 0.28 0.23 0.9819 66.19"),
        _own("S2x-L2A", "s2x", "5.65 53.87 0.28 0.14 0.9821 70.28"),
    ),
    Case("L2A", "s6x", "synthesis"): (),
    Case("L2A", "s6x", "consistency"): (),
}

#: What is odd in the thesis's own numbers.
REMARKS: dict[Case, str] = {
    Case("L1C", "s2x", "synthesis"): "The thesis's SRE total of S2x (36.19) is not the mean of its bands (36.45).",
    Case("L1C", "s2x", "consistency"): (
        "The thesis's RMSE total of S2x (4.28) is below the mean of its bands (4.50), which cannot be."
    ),
    Case("L1C", "s6x", "synthesis"): (
        "The thesis's SRE total is the value of B9 alone; its PSNR of S6x is above its bPSNR, which cannot be with "
        "one peak and averaging."
    ),
    Case("L1C", "s6x", "consistency"): (
        "In the thesis bicubic is best by most scores here: plain up-sampling keeps the measured signal."
    ),
    Case("L2A", "s2x", "consistency"): (
        "The thesis prints bicubic's SSIM and PSNR in each other's column, put right here."
    ),
}

#: RMSE of S2x by the loss it was fine-tuned with; `content` is S2x itself. Printed by the thesis in its tables of
#: adversarial training, one run each on 15 L1C tiles; its relativistic loss may be the misprinted one.
ADVERSARIAL_RMSE: dict[Case, dict[str, str]] = {
    Case("L1C", "s2x", "synthesis"): {
        "content": "34.99",
        "wgan_gp": "39.86",
        "hinge": "56.07",
        "vanilla": "61.28",
        "rsgan": "98.35",
    },
    Case("L1C", "s2x", "consistency"): {
        "content": "4.28",
        "wgan_gp": "6.56",
        "hinge": "35.33",
        "vanilla": "45.94",
        "rsgan": "58.34",
    },
}
