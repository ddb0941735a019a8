"""Lines of metrics: good ones survive bad ones before them, a resumed run, and whatever a kill has left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.errors import HpcSrError, OutputError
from hpc_sr.logs import JsonLines, read_json_lines

BAD = [
    b"{",
    b"",
    b"5",
    b"null",
    b"[1]",
    b"\xff\xfe",
    b"\0" * 40,
    b"[" * 50_000,
    b"9" * 5000,
    b'{"step": 3} {"step": 4}',
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: ascii(bad[:12]))
def test_a_bad_line_in_the_middle_is_told_and_costs_itself_alone(
    tmp_path: Path, log_lines: list[str], bad: bytes
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bad + b'\n{"step": 2}\n{"step": 3}\n')
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert len(log_lines) == 1 and str(path) in log_lines[0] and "line 2 " in log_lines[0]
    lines = JsonLines(path, resume_step=2)
    lines.write(step=3, again=True)
    lines.close()
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_a_torn_last_line_is_what_kills_leave(tmp_path: Path, log_lines: list[str]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2')
    assert read_json_lines(path) == [{"step": 1}] and log_lines == []
    assert read_json_lines(tmp_path / "absent") == []


def test_lines_without_a_number_of_a_step_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    given_lines = [{"step": None}, {"step": "9"}, {"note": 1}, {"step": 1.5}, {"loss": float("inf"), "step": 1}]
    path.write_text("".join(json.dumps(line) + "\n" for line in given_lines))
    JsonLines(path, resume_step=2).close()
    assert read_json_lines(path) == given_lines


@given(
    lines=st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3), max_size=6),
    noise=st.lists(st.tuples(st.integers(0, 6), st.binary(max_size=20)), max_size=3),
)
def test_no_good_line_is_ever_lost(tmp_path_factory, lines: list[dict], noise: list[tuple[int, bytes]]) -> None:
    path = tmp_path_factory.mktemp("lines") / "it.jsonl"
    written = [json.dumps(line).encode() for line in lines]
    for place, content in noise:
        written.insert(place, content.replace(b"\n", b"").replace(b"{", b""))
    path.write_bytes(b"".join(line + b"\n" for line in written))
    assert read_json_lines(path) == lines


@pytest.mark.parametrize("kind", ["folder", "fifo", "device"])
def test_what_is_no_file_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "metrics.jsonl"
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero")}[kind]()
    for read in (read_json_lines, JsonLines):
        with pytest.raises(HpcSrError, match="(?s)metrics.jsonl.*cure"):
            read(path)


def test_a_full_disk_and_a_folder_that_is_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        JsonLines(tmp_path / "file" / "metrics.jsonl")
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.close()
    with Path("/dev/full").open("a", encoding="utf-8") as lines._file:
        with pytest.raises(OutputError, match="(?s)No space left.*free disk space"):
            lines.write(step=1)
        with pytest.raises(OutputError):
            lines.close()
