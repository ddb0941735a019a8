"""Scaling: efficiency by its definition, one setting a folder, and files that are whole or named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_points import content
from support import run_cli

from hpc_sr.errors import OutputError, RunDirectoryError
from hpc_sr.report.scaling import markdown_table, read_points, write_scaling


def write(folder: Path, *contents: dict) -> Path:
    folder.mkdir(exist_ok=True)
    for k, one in enumerate(contents):
        (folder / f"{k}.json").write_text(json.dumps(one))
    return folder


@settings(max_examples=25, deadline=None)
@given(
    per_rank=st.floats(0.1, 1e6), shares=st.lists(st.floats(0.05, 1.5), min_size=1, max_size=5), first=st.integers(1, 3)
)
def test_efficiency_is_the_speed_of_a_rank_over_that_in_the_smallest_world(tmp_path_factory, per_rank, shares, first):
    folder = tmp_path_factory.mktemp("points")
    worlds = [first * 2**k for k in range(len(shares) + 1)]
    speeds = [n * per_rank * share for n, share in zip(worlds, [1.0, *shares], strict=True)]
    write(folder, *reversed([content("ddp", n, speed) for n, speed in zip(worlds, speeds, strict=True)]))
    points = read_points(folder)
    assert [point.ranks for point in points] == worlds
    assert [point.efficiency for point in points] == pytest.approx([1.0, *shares])


def test_a_backend_without_a_world_of_one_is_compared_with_the_serial_one(tmp_path):
    serial, two, one = content("serial", 1, 100), content("horovod", 2, 150), content("ddp", 1, 50)
    points = read_points(write(tmp_path / "p", serial, two, one, content("ddp", 4, 180)))
    found = {(point.backend, point.ranks): point.efficiency for point in points}
    assert found == {("serial", 1): 1.0, ("horovod", 2): 0.75, ("ddp", 1): 1.0, ("ddp", 4): 0.9}


def test_the_files_hold_every_point_and_what_was_measured(tmp_path):
    folder = write(tmp_path / "p", content("ddp", 1, 1000), content("ddp", 2, 1900), content("horovod", 2, 1800))
    (folder / "other.json").write_text('{"bench": "loader"}')
    points = read_points(folder)
    table, figure = write_scaling(folder, points)
    text = table.read_text()
    for row in ("| ddp | 2 | 1 | 256 | 1,900 |", "| horovod | 2 |", "0.950", "8.5 %", "1.5 %", "2.00 GiB", "0123abc"):
        assert row in text, row
    assert text.count("\n| ") == 5, "a heading, a rule and three points"
    assert "other" not in text
    assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    first = figure.read_bytes()
    write_scaling(folder, points)
    assert figure.read_bytes() == first
    assert read_points(folder) == points, "what was written is no point"


def test_a_single_point_makes_a_figure_too(tmp_path):
    folder = write(tmp_path / "p", content("serial", 1, 10))
    assert all(path.stat().st_size for path in write_scaling(folder, read_points(folder)))


def test_a_fixed_global_batch_is_named(tmp_path):
    folder = write(tmp_path / "p", content("ddp", 4, 10, global_batch_size=2048))
    assert "global batch 2,048" in markdown_table(read_points(folder))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no point"),
        ({"a.json": '{"bench": "step"}'}, "no point"),
        ({"a.json": '{"bench"'}, "a.json"),
        ({"a.json": "[1]"}, "a.json: holds a list"),
        ({"a.json": '{"bench": "scaling", "schema": 7}'}, "schema 7"),
        (
            {"a.json": json.dumps(content("ddp", 1, 1)), "b.json": json.dumps(content("ddp", 2, 1, precision="fp32"))},
            "precision is 'bf16' in a.json, 'fp32' in b.json",
        ),
    ],
)
def test_a_folder_that_is_no_curve_is_an_error_that_names_file_and_cure(tmp_path, files, told):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunDirectoryError) as caught:
        read_points(tmp_path)
    assert told in str(caught.value)
    assert caught.value.cure


def test_files_that_cannot_be_written_are_an_error(tmp_path):
    folder = write(tmp_path / "p", content("ddp", 1, 1))
    (folder / "scaling.png").mkdir()
    with pytest.raises(OutputError):
        write_scaling(folder, read_points(folder))


def test_the_verb_prints_the_table_and_where_it_is(tmp_path, capsys):
    folder = write(tmp_path / "p", content("ddp", 1, 1000), content("ddp", 2, 1900))
    assert not run_cli("scaling", folder)
    out = capsys.readouterr().out
    assert "1,900" in out and "0.950" in out and str(folder / "scaling.png") in out
    assert run_cli("scaling", tmp_path / "nowhere") == 2
