"""The comparison: what is comparable stands in one table, each run once, by names that nobody else has."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hpc_sr.errors import OutputError, RunDirectoryError
from hpc_sr.report.comparison import write_comparison
from hpc_sr.report.figures.course import OURS
from hpc_sr.report.html import write_report
from hpc_sr.report.merging import common_panels, merge_comparable, named_runs
from hpc_sr.report.rendering import Cell, Grid
from hpc_sr.report.run_directory import read_run
from hpc_sr.report.sections import in_parts


class Page(HTMLParser):
    """Gathers text, targets, and the rows of tables with marked cells in stars."""

    def __init__(self, path: Path):
        super().__init__()
        self.words, self.targets, self.rows, self.row, self.images = [], [], [], [], 0
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.targets += [value for name, value in attrs if name in ("src", "href")]
        self.images += tag == "img"
        if tag == "tr":
            self.row = []
            self.rows.append(self.row)
        elif tag in ("td", "th"):
            self.row.append("")
        elif tag == "strong":
            self.row[-1] += "*"

    def handle_data(self, data):
        self.words.append(data)
        if self.row:
            self.row[-1] += data.strip()


def merged(*folders: Path):
    return merge_comparable(named_runs([read_run(folder) for folder in folders]))


def test_runs_on_the_same_scenes_share_a_table_with_the_best_marked(evaluated, tmp_path):
    folders = [evaluated(name, ours=ours) for name, ours in (("worse", 50.0), ("better", 25.0))]
    page = Page(write_comparison(folders, tmp_path / "page.html"))
    assert "These 2 runs were evaluated under the same conditions" in page.text
    start = next(index for index, row in enumerate(page.rows) if "RMSE / bicubic" in row[1])
    totals = {row[0]: row[1:3] for row in page.rows[start + 1 : start + 4]}
    assert {name: cells[0] for name, cells in totals.items()} == {
        "bicubic": "1.000",
        "worse": "0.400",
        "better": "*0.200",
    }
    assert totals["better"][1].startswith("*25.00")
    assert "1 821 031" in page.text.replace("\u202f", " ")


@pytest.mark.parametrize(
    "other",
    [
        {"scenes": ("one", "three")},
        {"scenes": ("one",)},
        {"level": "L2A"},
        {"protocol": "truth"},
        {"task": "s6x"},
        {"bands": ["B05", "B06"]},
    ],
)
def test_runs_that_were_not_evaluated_alike_have_tables_of_their_own(evaluated, other):
    groups = merged(evaluated("first"), evaluated("second", **other))
    assert [list(group.evaluation["mean"]) for group in groups] == [["bicubic", "first"], ["bicubic", "second"]]


def test_joint_runs_are_compared_target_by_target_with_their_pictures(joint, evaluated, tmp_path):
    folders = [joint("one"), joint("two", ours=25.0), evaluated("alone")]
    groups = merged(*folders)
    assert [(list(group.runs), group.evaluation["bands"][0]) for group in groups] == [
        (["one", "two"], "B05"),
        (["one", "two"], "B01"),
        (["alone"], "B05"),
    ]
    for group in groups:
        scene, panels = common_panels(group)
        assert scene == "one" and list(panels["methods"]) == ["bicubic", *group.runs]
        assert panels["truth"].shape[0] == len(group.evaluation["bands"])
    text = Page(write_comparison(folders, tmp_path / "page.html")).text
    assert "synthesis, target20: s26x" in text and "synthesis, target60: s26x" in text
    assert "synthesis, target20: 2 scenes, synthesis, target60: 2 scenes" in text
    assert "No picture panels" not in text


def test_a_run_that_stands_alone_is_said_to(evaluated, tmp_path):
    folders = [evaluated("first"), evaluated("second", scenes=("three",))]
    page = Page(write_comparison(folders, tmp_path / "page.html"))
    for name in ("first", "second"):
        assert f"{name} stands alone here" in page.text


def test_every_number_of_every_run_is_kept(evaluated):
    one = evaluated("one", ours=40.0, others=("nearest", "bicubic"), level="L2A")
    two = evaluated("two", ours=20.0, others=("bicubic", "guided"), level="L2A", family="dsen2")
    (group,) = merged(one, two)
    assert list(group.evaluation["mean"]) == ["nearest", "bicubic", "guided", "one", "two"]
    assert group.networks == ["one", "two"]
    assert group.evaluation["mean"]["bicubic"]["total"]["rmse"] == 110.0, "the first run's"
    for name, folder, family in (("one", one, "s2x"), ("two", two, "dsen2")):
        own = json.loads((folder / "evaluate" / "synthesis.json").read_text())
        for part in ("mean", "intervals", "ratio_to_bicubic"):
            assert group.evaluation[part][name] == own[part][family]
        for scene, before in zip(group.evaluation["scenes"], own["scenes"], strict=True):
            for part in ("methods", "spectra", "seconds"):
                assert scene[part][name] == before[part][family]


def test_scenes_in_another_order_are_the_same_scenes(evaluated):
    one, two = evaluated("one"), evaluated("two", scenes=("two", "one"))
    path = two / "evaluate" / "synthesis.json"
    told = json.loads(path.read_text())
    told["scenes"][0]["methods"]["s2x"]["total"]["rmse"] = 20.0
    path.write_text(json.dumps(told))
    (group,) = merged(one, two)
    assert group.scenes == ["one", "two"]
    errors = [scene["methods"]["two"]["total"]["rmse"] for scene in group.evaluation["scenes"]]
    assert errors == [31.25, 20.0]


def test_methods_of_somebody_else_are_told_apart_by_their_folder(evaluated):
    given = {"family": None, "others": ("mine", "bicubic")}
    (group,) = merged(evaluated("one", **given), evaluated("two", **given))
    assert list(group.evaluation["mean"]) == ["bicubic", "one: mine", "two: mine"]
    assert group.networks == []


def test_names_are_unique_and_no_run_is_taken_for_a_classical_method(evaluated, tmp_path):
    folders = [evaluated(name) for name in ("a/run", "b/run", "c/bicubic", "alone")]
    runs = named_runs([read_run(folder) for folder in [*folders, folders[0]]])
    assert list(runs) == ["a/run", "b/run", "c/bicubic", "alone", "a/run (2)"]
    assert "c/bicubic" in Page(write_comparison(folders, tmp_path / "page.html")).text


def test_the_pictures_of_a_common_scene_stand_side_by_side(evaluated, panels, tmp_path):
    one, two = evaluated("one"), evaluated("two", family="dsen2")
    other_ground = evaluated("three", panels=panels(seed=9))
    (group,) = merged(one, other_ground, two)
    scene, shown = common_panels(group)
    assert scene == "one"
    assert shown["methods"].tolist() == ["bicubic", "one", "two"], "not those of other pixels"
    own = read_run(two).panels["synthesis", "one"]
    np.testing.assert_array_equal(shown["method_2"], own["method_1"])
    page = Page(write_comparison([one, two], tmp_path / "page.html"))
    figures, spectra, pictures_and_scale, estimates, pixels = 2, 3, 3 + 1, 2 * 3, 1
    assert page.images == figures + spectra + pictures_and_scale + estimates + pixels
    assert "Without a picture" not in page.text
    page = Page(write_comparison([one, two, other_ground], tmp_path / "page.html"))
    assert "Without a picture of the same pixels: three." in page.text


def test_names_lead_to_the_reports_that_there_are(evaluated, run_dir, tmp_path):
    odd = evaluated("with space & #")
    for folder in (run_dir, odd):
        write_report(folder)
    page = Page(write_comparison([run_dir, odd, evaluated("bare")], tmp_path / "pages" / "page.html"))
    links = {target for target in page.targets if not target.startswith(("data:", "#"))}
    assert links == {"../first_run/report.html", "../with%20space%20%26%20%23/report.html"}


def test_learning_curves_are_overlaid_where_the_validation_is_the_same(run_dir, tmp_path):
    alike, other = tmp_path / "alike", tmp_path / "other"
    for folder, bicubic in ((alike, "125.001"), (other, "99.0")):
        shutil.copytree(run_dir, folder)
        text = (folder / "metrics.jsonl").read_text()
        (folder / "metrics.jsonl").write_text(text.replace('"rmse_bicubic": 125.0', f'"rmse_bicubic": {bicubic}'))
    page = Page(write_comparison([run_dir, alike, other], tmp_path / "page.html"))
    assert "Validation RMSE by samples, bicubic 125 " in page.text
    assert "Validation RMSE by samples, bicubic 99 " in page.text
    assert page.text.count("Validation RMSE by samples") == 2


def test_a_run_that_is_not_evaluated_is_in_the_list(run_dir, evaluated, tmp_path):
    shutil.rmtree(run_dir / "evaluate")
    page = Page(write_comparison([run_dir, evaluated("other")], tmp_path / "page.html"))
    assert "Not evaluated yet: first_run" in page.text
    assert ["first_run", "–", "–", "1\u202f000"] in [row[:4] for row in page.rows]


def test_the_page_is_self_contained_and_the_same_every_time(evaluated, tmp_path):
    folders = [evaluated("<b>one"), evaluated("two")]
    first = write_comparison(folders, tmp_path / "page.html").read_bytes()
    assert write_comparison(folders, tmp_path / "page.html").read_bytes() == first
    text = first.decode()
    assert not re.search(r"url\(|@import|<script|<link|<b>one", text)
    anchors = [target[1:] for target in Page(tmp_path / "page.html").targets if target[0] == "#"]
    assert all(text.count(f'id="{anchor}"') == 1 for anchor in anchors)


def test_the_first_network_has_the_colour_of_the_network(evaluated):
    from hpc_sr.report.figures.colours import method_colours

    (group,) = merged(evaluated("one"), evaluated("two"))
    assert method_colours(list(group.evaluation["mean"]), group.networks)["one"] == OURS


@pytest.mark.parametrize("columns", [1, 9, 10, 19, 27])
def test_a_wide_table_is_cut_into_parts_that_hold_every_cell_once(columns):
    cells = [Cell(str(number)) for number in range(columns)]
    heading = [f"score {number}" for number in range(columns)]
    parts = in_parts(Grid("All", ["method", *heading], [("one", cells), ("two", cells)], notes=("said once",)))
    widths = [len(part.heading) - 1 for part in parts]
    assert max(widths) <= 9
    assert max(widths) - min(widths) <= 1
    assert [text for part in parts for text in part.heading[1:]] == heading
    for row in (0, 1):
        assert [cell for part in parts for cell in part.rows[row][1]] == cells
    assert [note for part in parts for note in part.notes] == ["said once"]


def test_a_folder_that_is_no_run_is_an_error_and_nothing_is_written(evaluated, tmp_path):
    with pytest.raises(RunDirectoryError, match="absent"):
        write_comparison([evaluated("one"), tmp_path / "absent"], tmp_path / "page.html")
    with pytest.raises(RunDirectoryError, match="no run"):
        write_comparison([], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputError, match="folder.html"):
        write_comparison([evaluated("one")], tmp_path / "folder.html")
