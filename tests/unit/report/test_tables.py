"""Tables of an evaluation: what is best, what does not exist, and that they fit where they are shown."""

from __future__ import annotations

import io
import re

from rich.console import Console

from hpc_sr.report.tables import (
    SCORES,
    band_grids,
    console_table,
    headline,
    markdown_table,
    notes,
    scene_grid,
    total_grid,
)


def test_best_values_are_marked_by_each_scores_own_direction(evaluation):
    rows = dict(total_grid(evaluation()).rows)
    heading = total_grid(evaluation()).heading[1:]
    ours = {name: cell for name, cell in zip(heading, rows["s2x"], strict=True)}
    base = {name: cell for name, cell in zip(heading, rows["bicubic"], strict=True)}
    assert (ours["RMSE ↓"].best, base["RMSE ↓"].best) == (True, False)
    assert (ours["SRE, dB ↑"].best, base["SRE, dB ↑"].best) == (True, False)
    assert (ours["SSIM ↑"].best, base["SSIM ↑"].best) == (True, True), "equal as printed"
    assert (ours["ERGAS ↓"].text, ours["ERGAS ↓"].best) == ("–", False)
    bias = dict(next(grid for grid in band_grids(evaluation()) if grid.title.startswith("bias")).rows)
    assert [cell.best for cell in bias["s2x"]] == [True] * 6, "nearest zero, not lowest"
    worse = dict(total_grid(evaluation(ours=200.0)).rows)
    assert worse["bicubic"][0].best


def test_a_value_that_rounds_to_nothing_has_no_sign(evaluation):
    result = evaluation()
    for method in result["mean"].values():
        method["bands"]["B05"]["bias"] = -0.001
    grid = next(grid for grid in band_grids(result) if grid.title.startswith("bias"))
    assert [cells[0].text for _, cells in grid.rows] == ["0.00", "0.00"]


def test_markdown_has_a_row_for_each_method_and_scene(evaluation):
    text = markdown_table(evaluation(scenes=("a|b", "c")))
    assert "RMSE 31.25 is 0.250 of bicubic's 125.00" in text
    assert "| s2x | **31.25** | **30.25** |" in text
    assert "| s2x | **31.25** | **32.25** | **33.25** | **34.25** | **35.25** | **36.25** |" in text
    assert "| a\\|b | 300 × 302 | 125.00 | **31.25** |" in text
    assert "max 10000" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1


def test_the_console_table_fits_80_columns(evaluation):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_table(evaluation(family="[red]odd[/red]")))
    text = console.export_text()
    for expected in ("[red]odd[/red]", "31.25", "36.25", "25.00", "UIQ ↑", "max 10000"):
        assert expected in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_scores_that_do_not_exist_are_dashes_everywhere(evaluation):
    result = evaluation(ours=0.0)
    for entry in (result, *result["scenes"]):
        for method in (entry.get("mean") or entry["methods"]).values():
            method["total"] = dict.fromkeys(method["total"])
    result["ratio_to_bicubic"] = {"rmse": None}
    assert "RMSE – against bicubic's –" in headline(result)
    assert scene_grid(result).rows[0][1][-1].text == "–"
    markdown_table(result)


def test_scores_that_were_not_asked_for_have_no_column_and_a_reason(evaluation):
    result = evaluation()
    assert not any("NIQE" in heading or "LPIPS" in heading for heading in total_grid(result).heading)
    assert sum("unavailable" in note for note in notes(result)) == 2
    for method, distance in (("bicubic", 6.5), ("s2x", 4.25)):
        result["mean"][method]["total"] |= {"niqe": distance, "lpips": None}
    rows = dict(total_grid(result).rows)
    assert [(cell.text, cell.best) for cell in rows["s2x"][-2:]] == [("4.250", True), ("–", False)]
    assert not any("unavailable" in note for note in notes(result))


def test_every_score_of_an_evaluation_has_its_column(evaluation):
    result = evaluation()
    names = [score.key for score in SCORES]
    for method in result["mean"].values():
        method["total"] = {name: 1.0 for name in names}
    assert total_grid(result).heading[1:] == [score.heading for score in SCORES]
    assert len(set(names)) == len(names) == len({score.heading for score in SCORES})
