"""The tables and the page of adversarial training: published numbers, frequencies, and what is given back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hpc_sr.report.adversarial import adversarial_tables, band_spectrum, write_adversarial

#: RMSE by run, as trained and back-projected, in synthesis and in consistency.
RMSE = {
    "content": {"synthesis": (40.0, 39.0), "consistency": (5.0, 0.0)},
    "fine": {"synthesis": (60.0, 45.0), "consistency": (20.0, 0.0)},
    "other": {"synthesis": (38.0, 39.0), "consistency": (6.0, 0.0)},
}
LOSSES = {"content": "content", "fine": "hinge", "other": "lsgan"}


@pytest.fixture
def folder(tmp_path: Path, evaluation) -> Path:
    """A folder of two evaluations of three runs, with NIQE and the pictures of a worst place."""
    (tmp_path / "evaluate").mkdir()
    for protocol in ("synthesis", "consistency"):
        made = evaluation(protocol=protocol, scenes=("one",))
        template = made["mean"].pop("s2x")
        (scene,) = made["scenes"]
        for run, rmse in RMSE.items():
            for name, value in zip((f"s2x {run}", f"s2x {run}, back-projected"), rmse[protocol], strict=True):
                total = template["total"] | {"rmse": value, "niqe": 10 - value / 10}
                made["mean"][name] = template | {"total": total}
                scene["spectra"][name] = scene["spectra"]["s2x"]
                scene["methods"][name] = scene["methods"]["s2x"]
        del scene["spectra"]["s2x"], scene["methods"]["s2x"]
        (tmp_path / "evaluate" / f"{protocol}.json").write_text(json.dumps(made))
    names = [name for name in made["mean"] if name != "bicubic"]
    pixels = np.random.default_rng(0).random((2, 6, 48, 48), np.float32)
    np.savez(
        tmp_path / "evaluate" / "worst_synthesis_one.npz",
        bands=made["bands"],
        methods=names,
        rows=[0, 48],
        columns=[96, 0],
        truth=pixels,
        estimates=np.stack([pixels] * len(names), axis=1),
    )
    return tmp_path


def rows(folder: Path, title: str) -> dict[str, list]:
    grid = next(grid for grid in adversarial_tables(folder, LOSSES) if grid.title == title)
    return {name: cells for name, cells in grid.rows}


def test_the_thesiss_numbers_stand_beside_the_runs_of_their_loss(folder: Path) -> None:
    found = rows(folder, "Synthesis: fidelity")
    assert list(found) == [
        "bicubic",
        *("content", "fine (hinge)", "other (lsgan)"),
        *("content, back-projected", "fine (hinge), back-projected", "other (lsgan), back-projected"),
    ]
    printed = {name: (cells[0].published, cells[0].text) for name, cells in found.items()}
    assert printed["content"] == ("34.99", "40.00") and printed["fine (hinge)"] == ("56.07", "60.00")
    assert printed["fine (hinge), back-projected"] == ("–", "45.00") and printed["other (lsgan)"][0] == "–"
    assert found["fine (hinge)"][1].text == "0.480" and found["other (lsgan)"][0].best
    assert rows(folder, "Consistency: fidelity")["fine (hinge)"][0].published == "35.33"


def test_what_is_given_back_is_a_share_of_what_was_lost(folder: Path) -> None:
    found = {
        n: [c.text for c in cells] for n, cells in rows(folder, "Synthesis: what back-projection gives back").items()
    }
    assert found["fine (hinge)"][:6] == ["60.00", "45.00", "20.00", "75", "20.00", "0.00"]
    assert found["content"][:4] == ["40.00", "39.00", "–", "–"], "the run that others are measured by"
    assert found["other (lsgan)"][:4] == ["38.00", "39.00", "-2.00", "–"], "nothing was lost"


def test_bands_of_frequency_are_sums_before_they_are_ratios() -> None:
    """Where the reference has no power to speak of, a ratio of its own would drown all others."""
    frequency = [ring / 64 for ring in range(1, 33)]
    ours, theirs = np.full(32, 4.0), np.full(32, 1.0)
    ours[0], theirs[0], coherence = 1e-9, 2.0, np.full(32, 0.5)
    curves = {"power_reference": ours, "power_estimate": theirs, "coherence": coherence, "frequency": frequency}
    bands = band_spectrum({"scenes": [{"spectra": {"s2x": {"B05": curves}}}]}, "s2x")
    assert bands is not None and len(bands) == 4
    power, coherent = bands[0]
    assert power == pytest.approx((7 * 1 + 2) / (7 * 4)) and coherent < 0.5
    assert bands[3] == pytest.approx((0.25, 0.5))
    assert band_spectrum({"scenes": [{"spectra": {}}]}, "s2x") is None


def test_the_page_shows_figures_and_the_worst_places(folder: Path) -> None:
    paths = write_adversarial(folder, LOSSES)
    assert {path.name for path in paths} == {f"adversarial.{kind}" for kind in ("md", "csv", "tex", "html")}
    page = (folder / "adversarial.html").read_text()
    assert page.count("data:image/png") == 2 * (1 + 6) and "row 48, column 0" in page
    assert "Distortion against naturalness" in page and "as trained" in page and "back-projected" in page
    assert "| 56.07 |" in (folder / "adversarial.md").read_text()
