"""Tables of an evaluation: what is best, what does not exist, and that they fit where they are shown."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hpc_sr.report.tables import (
    SCORES,
    band_grids,
    class_grid,
    console_table,
    headline,
    markdown_table,
    notes,
    paired_grid,
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
    assert "| s2x | **31.25 (29.75–33.75)** | **30.25** |" in text
    assert "| s2x | **31.25** | **32.25** | **33.25** | **34.25** | **35.25** | **36.25** |" in text
    assert "| a\\|b | 300 × 302 | 4 096 | 125.00 | **31.25** |" in text
    assert "max 10000" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1


FOUR = ("bicubic", "guided", "[b]odd")
SEVEN = ("nearest", "bilinear", *FOUR, "supreme")


@pytest.mark.parametrize("others", [("bicubic",), FOUR, SEVEN], ids=len)
def test_the_console_table_fits_80_columns_and_cuts_no_number(evaluation, others):
    result = evaluation(others=others)
    for method in result["mean"].values():
        method["total"]["psnr_image_max"] = 51.125
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_table(result))
    text = console.export_text()
    for expected in (*others, "s2x", "31.25", "36.25", "25.00", "29.75–33.75", "UIQ ↑", "51.12", "max 10000"):
        assert expected in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_console_table_of_one_scene_has_no_section_of_intervals(evaluation):
    console = Console(width=80, record=True, file=io.StringIO())
    for scenes in (("one",), ("one", "two")):
        console.print(console_table(evaluation(scenes=scenes)))
        assert ("95 % interval" in console.export_text()) == (len(scenes) > 1)


def test_intervals_stand_beside_means_where_there_are_several_scenes(evaluation):
    totals = total_grid(evaluation())
    shown = dict(zip(totals.heading[1:], dict(totals.rows)["bicubic"], strict=True))
    assert shown["RMSE ↓"].text == "125.00 (123.50–127.50)"
    assert shown["SRE, dB ↑"].text == "47.50 (46.00–50.00)"
    assert shown["SAM, ° ↓"].text == "1.250 (-0.250 to 3.750)", "no dash beside a minus"
    assert shown["SSIM ↑"].text == "0.9000"
    assert any("bootstrap" in note for note in notes(evaluation()))
    one = evaluation(scenes=("one",))
    assert "(" not in "".join(cell.text for _, cells in total_grid(one).rows for cell in cells)
    assert not any("bootstrap" in note for note in notes(one))


def test_without_a_network_the_headline_names_the_best_method(evaluation):
    result = evaluation(family=None, others=("bicubic", "guided", "atprk"))
    assert headline(result) == (
        "best of 3 methods is atprk: RMSE 95.00 is 0.760 of bicubic's 125.00 (mean over 2 scenes)"
    )
    assert "No network took part." in notes(result)
    foreign = evaluation(family=None, others=("theirs",), scenes=("one",), task=None, level="")
    assert headline(foreign) == "theirs: RMSE 125.00 (1 scene)"
    assert notes(foreign)[0] == "Protocol synthesis, degradation wald, scale 2."
    markdown_table(foreign)


def test_conditions_and_what_was_not_scored_are_told(evaluation):
    result = evaluation(scenes=("one", "two", "hole"))
    assert ", precision bf16." in notes(result)[0]
    result["trained_on"] = ["two"]
    *_, hole = result["scenes"]
    hole["methods"] = {name: {**scores, "pixels": 0} for name, scores in hole["methods"].items()}
    assert any(note == "Left out of the means, as no pixel could be scored: hole." for note in notes(result))
    assert any(note.startswith("Seen in training") and note.endswith(": two.") for note in notes(result))
    assert "(mean over 2 scenes)" in headline(result)
    for scene in result["scenes"]:
        scene["methods"] = {name: {**scores, "pixels": 0} for name, scores in scene["methods"].items()}
    assert headline(result) == "No pixel could be scored"


def test_scenes_show_the_compared_methods_ratio_and_fewer_scores_of_many_methods(evaluation):
    few, many = scene_grid(evaluation()), scene_grid(evaluation(others=SEVEN))
    scores = ["RMSE bicubic", "RMSE s2x", "SRE bicubic", "SRE s2x", "RMSE s2x / bicubic"]
    assert few.heading[1:] == ["size, px", "scored, px", *scores]
    assert [text for text in many.heading if text.startswith("SRE")] == []
    assert [row[-1].text for _, row in few.rows] == ["0.250", "0.250"]
    for grid in (few, many):
        assert {len(cells) for _, cells in grid.rows} == {len(grid.heading) - 1}


def test_land_cover_is_shown_where_it_is_known(evaluation):
    assert class_grid(evaluation(level="L1C")) is None
    result = evaluation(level="L2A")
    del result["mean"]["bicubic"]["classes"]["water"]
    grid = class_grid(result)
    rows = dict(grid.rows)
    assert list(rows) == ["vegetation: bicubic", "vegetation: s2x", "water: s2x"]
    assert [cell.text for cell in rows["vegetation: s2x"]] == ["15.62", "58.44", "0.156", "0.250", "2"]
    assert [cell.best for cell in rows["vegetation: s2x"]][:3] == [True] * 3
    assert [cell.text for cell in rows["water: s2x"]][3] == "–", "no bicubic, no ratio"


def test_differences_beyond_the_choice_of_scenes_are_marked(evaluation):
    result = evaluation(others=("bicubic", "guided"))
    result["paired"]["guided"]["rmse"]["interval"] = [-3.0, 0.5]
    grid = paired_grid(result)
    assert grid.title.startswith("s2x compared with each other method")
    rows = dict(grid.rows)
    assert [cell.text for cell in rows["s2x − bicubic"][:2]] == ["-93.75 (-95.75 to -92.75)", "2 of 2"]
    assert (rows["s2x − bicubic"][0].best, rows["s2x − guided"][0].best) == (True, False)
    one = paired_grid(evaluation(scenes=("one",)))
    assert one.rows[0][1][0].text == "-93.75" and not one.rows[0][1][0].best
    result["paired"] = {}
    assert paired_grid(result) is None


def test_scores_that_do_not_exist_are_dashes_everywhere(evaluation):
    result = evaluation(ours=0.0)
    for entry in (result, *result["scenes"]):
        for method in (entry.get("mean") or entry["methods"]).values():
            method["total"] = dict.fromkeys(method["total"])
    result["ratio_to_bicubic"] = {"s2x": {"rmse": None}}
    result["intervals"] = {method: dict.fromkeys(("rmse", "sre")) for method in result["mean"]}
    result["paired"] = {"bicubic": {"rmse": None, "sre": None}}
    assert "RMSE – against bicubic's –" in headline(result)
    assert scene_grid(result).rows[0][1][-1].text == "–"
    assert paired_grid(result) is None
    markdown_table(result)


def test_scores_that_were_not_asked_for_have_no_column_and_a_reason(evaluation):
    result = evaluation()
    assert not any("NIQE" in heading or "LPIPS" in heading for heading in total_grid(result).heading)
    assert sum("unavailable" in note for note in notes(result)) == 2
    for method, distance in (("bicubic", 6.5), ("s2x", 4.25)):
        result["mean"][method]["total"] |= {"niqe": distance, "lpips": None}
    rows = dict(total_grid(result).rows)
    assert [(cell.text, cell.best) for cell in rows["s2x"][-3:-1]] == [("4.250", True), ("–", False)]
    assert not any("unavailable" in note for note in notes(result))


def test_every_score_of_an_evaluation_has_its_column(evaluation):
    result = evaluation()
    names = [score.key for score in SCORES]
    for method in result["mean"].values():
        method["total"] = {name: 1.0 for name in names}
    assert total_grid(result).heading[1:] == [*(score.heading for score in SCORES), "s a scene"]
    assert len(set(names)) == len(names) == len({score.heading for score in SCORES})
