"""The thesis's tables: published numbers as printed, and ours beside them."""

from __future__ import annotations

import os
import statistics

import pytest

from hpc_sr.errors import OutputError
from hpc_sr.report.rendering import UNDEFINED
from hpc_sr.report.thesis.published import TABLES, Case
from hpc_sr.report.thesis.tables import thesis_tables, write_thesis_tables

#: The ratios to bicubic's RMSE that the design gives, independently of the tables.
RATIOS = {
    Case("L1C", "s2x", "synthesis"): {"s2x": 0.278, "dsen2": 0.285, "atprk": 0.92, "supreme": 0.55, "superres": 0.53},
    Case("L1C", "s6x", "synthesis"): {"s6x": 0.166, "dsen2": 0.174, "atprk": 0.90, "supreme": 0.53, "superres": 0.62},
    Case("L2A", "s2x", "synthesis"): {"s2x": 0.277},
}


def titled(grids, title):
    return next(grid for grid in grids if grid.title == title)


def row_of(grid, name):
    """Return {heading: (published, ours)} of a row."""
    cells = dict(grid.rows)[name]
    return {text: (cell.published, cell.text) for text, cell in zip(grid.heading[1:], cells, strict=True)}


@pytest.mark.parametrize("case", [case for case in TABLES if TABLES[case]], ids=str)
def test_the_published_numbers_agree_with_each_other(case):
    rows = TABLES[case]
    numbers = [{name: float(text) for name, text in row.scores.items()} for row in rows]
    by_rmse = sorted(range(len(rows)), key=lambda i: numbers[i]["RMSE"])
    assert by_rmse == sorted(range(len(rows)), key=lambda i: -numbers[i]["SRE"]), "no row in another's place"
    peaks = [one["RMSE"] * 10 ** (one["PSNR"] / 20) for one in numbers if "PSNR" in one]
    assert max(peaks) < 1.1 * min(peaks), "one peak a table"
    assert all(0 < one["SSIM"] < 1 for one in numbers if "SSIM" in one), "no swapped columns"
    base = next(one["RMSE"] for row, one in zip(rows, numbers, strict=True) if row.family == "bicubic")
    ratios = {row.family: one["RMSE"] / base for row, one in zip(rows, numbers, strict=True)}
    for family, expected in RATIOS.get(case, {}).items():
        assert ratios[family] == pytest.approx(expected, abs=0.0051 if expected > 0.3 else 0.00051)
    for row in rows:
        if "RMSE" in row.bands:
            values = [float(text) for text in row.bands["RMSE"].values()]
            total = float(row.scores["RMSE"])
            assert statistics.fmean(values) == pytest.approx(total, rel=0.06), "4.28 is 5 % off its bands"


def test_quoted_rows_are_marked_and_have_their_source():
    grid = titled(thesis_tables([]), "L1C, 20 m, synthesis: all bands")
    assert [name for name, _ in grid.rows if "†" in name] == ["ATPRK †", "SupReME †", "Superres †"]
    assert any(note.startswith("†") and "Lanaras" in note for note in grid.notes)
    assert row_of(grid, "Superres †")["SSIM ↑"] == (UNDEFINED, UNDEFINED)
    assert not any("†" in note for note in titled(thesis_tables([]), "L1C, 20 m, consistency: all bands").notes)


def test_without_runs_all_tables_stay_and_say_what_is_missing():
    grids = thesis_tables([])
    assert len(grids) == 8 * 3 and len({grid.title for grid in grids}) == len(grids)
    assert {cell.text for grid in grids for _, cells in grid.rows for cell in cells} == {UNDEFINED}
    assert all(grid.rows for grid in grids)
    last = titled(grids, "L2A, 60 m, consistency: all bands")
    assert last.notes[0] == "Ours: no L2A run of task s6x under consistency was given."
    assert [name for name, _ in last.rows] == ["bicubic", "S6x"]
    s2x = row_of(titled(grids, "L1C, 20 m, synthesis: all bands"), "S2x")
    assert [s2x[text][0] for text in ("RMSE ↓", "RMSE / bicubic ↓", "SRE, dB ↑")] == ["34.99", "0.278", "36.19"]


def test_ours_stands_beside_what_was_published(thesis_runs):
    grids = thesis_tables(thesis_runs)
    fine = titled(grids, "L1C, 20 m, synthesis: all bands")
    assert [name for name, _ in fine.rows] == [
        "bicubic",
        "ATPRK †",
        "SupReME †",
        "Superres †",
        "guided",
        "DSen2: second",
        "S2x: first",
    ]
    s2x = row_of(fine, "S2x: first")
    assert s2x["RMSE ↓"] == ("34.99", "31.25") and s2x["RMSE / bicubic ↓"] == ("0.278", "0.250")
    assert (s2x["SSIM ↑"], s2x["PSNR, dB ↑"]) == (("0.9336", "0.8750"), ("55.78", "51.25"))
    assert s2x["bPSNR, dB ↑"] == ("56.34", "51.75"), "with the peak of PSNR"
    assert s2x["ERGAS ↓"] == ("1.03", "1.562"), "half the relative error in per cent"
    assert row_of(fine, "DSen2: second")["RMSE / bicubic ↓"] == ("0.285", "0.320")
    assert row_of(fine, "guided")["RMSE ↓"] == (UNDEFINED, "110.00")
    best = [cells[0].best for _, cells in fine.rows]
    assert best == [name == "S2x: first" for name, _ in fine.rows]
    coarse = row_of(titled(grids, "L1C, 60 m, synthesis: all bands"), "S6x: coarse")
    assert coarse["ERGAS ↓"] == ("1.29", "1.562"), "half at x6 too"
    assert row_of(titled(grids, "L2A, 20 m, synthesis: all bands"), f"S2x: {thesis_runs[4][0]}")["RMSE ↓"] == (
        "41.45",
        "44.00",
    )
    assert not any("was given" in note for note in fine.notes) and "first, second" in fine.notes[0]


def test_bands_have_published_values_only_where_they_are_known(thesis_runs):
    grids = thesis_tables(thesis_runs)
    known = row_of(titled(grids, "L1C, 20 m, synthesis: RMSE by band"), "S2x: first")
    assert list(known) == ["B05", "B06", "B07", "B8A", "B11", "B12"]
    assert known["B8A"] == ("37.46", "34.25") and known["B05"] == ("27.48", "31.25")
    assert row_of(titled(grids, "L1C, 60 m, synthesis: RMSE by band"), "S6x: coarse")["B09"] == ("26.18", "32.25")
    unknown = titled(grids, "L2A, 20 m, synthesis: SRE by band")
    assert {cell.published for _, cells in unknown.rows for cell in cells} == {None}
    assert "No published values by band are known." in unknown.notes
    ratios = row_of(titled(grids, "L1C, 20 m, synthesis: RMSE / bicubic by band, ours alone"), "DSen2: second")
    assert ratios["B12"] == (None, f"{45 / 130:.3f}")


def test_a_method_without_training_has_one_row_unless_the_scenes_differ(full_evaluation, thesis_runs):
    other = full_evaluation(others=("bicubic",), scenes=("three",), ours=20.0)
    other["mean"]["bicubic"]["total"] |= {"rmse": 100.0}
    grid = titled(thesis_tables([*thesis_runs, ("third", other)]), "L1C, 20 m, synthesis: all bands")
    assert [name for name, _ in grid.rows][:2] == ["bicubic", "bicubic, third"]
    assert row_of(grid, "S2x: third")["RMSE / bicubic ↓"] == ("0.278", "0.200"), "to its own bicubic"
    assert any("different scenes" in note for note in grid.notes)
    assert not any("different scenes" in note for grid in thesis_tables(thesis_runs) for note in grid.notes)


def test_long_names_of_scenes_give_way_to_their_number(full_evaluation):
    one = [("run", full_evaluation(scenes=("S2A_MSIL1C_20230615T101031_" * 3,)))]
    many = [("run", full_evaluation(scenes=tuple(f"a_rather_long_name_of_scene_{i}" for i in range(5))))]
    assert thesis_tables(one)[0].notes[0] == "Ours: run on 1 scene."
    assert thesis_tables(many)[0].notes[0] == "Ours: run on 5 scenes."


def test_other_conditions_than_the_thesiss_are_said(full_evaluation, thesis_runs):
    thesis_runs[0][1]["degradation"] = "mtf"
    notes = titled(thesis_tables(thesis_runs), "L1C, 20 m, synthesis: all bands").notes
    assert "first: evaluated with the degradation mtf, the thesis with wald." in notes
    assert not any("second: evaluated" in note for note in notes)
    baselines = [("classical", full_evaluation(family=None, others=("bicubic", "supreme")))]
    grid = titled(thesis_tables(baselines), "L1C, 20 m, synthesis: all bands")
    assert "No network of task s2x was given." in grid.notes
    assert row_of(grid, "SupReME †")["RMSE ↓"] == ("69.7", "110.00")
    assert row_of(grid, "S2x")["RMSE ↓"] == ("34.99", UNDEFINED)


def test_what_belongs_in_no_table_is_listed(thesis_runs):
    last = thesis_tables(thesis_runs)[-1]
    assert [(name, [cell.text for cell in cells]) for name, cells in last.rows] == [("foreign", ["–", "–", "truth"])]


def test_scores_that_do_not_exist_are_dashes(thesis_runs):
    for _, one in thesis_runs:
        for mean in one["mean"].values():
            mean["total"] = dict.fromkeys(("rmse", "sre"))
            mean["bands"] = {}
    grids = thesis_tables(thesis_runs)
    assert {cell.text for grid in grids[:-1] for _, cells in grid.rows for cell in cells} == {UNDEFINED}


def test_files_are_written_whole_or_not_at_all(thesis_runs, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "tables"
    paths = write_thesis_tables(thesis_runs, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["thesis.csv", "thesis.html", "thesis.md", "thesis.tex"]
    assert sorted(paths) == sorted(folder.iterdir())
    assert paths[0].read_text(encoding="utf-8").startswith("# Tables of the thesis")
    before = {path: path.read_bytes() for path in paths}

    calls = []

    def full_disk(number):
        calls.append(number)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        write_thesis_tables([], folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_is_a_file_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="cannot be written"):
        write_thesis_tables([], tmp_path / "file")
