"""Progress of a few large pieces: what a log without a terminal shows."""

from __future__ import annotations

import re
import time

import pytest

from hpc_sr.logs import Progress, setup_logging


def told(capsys: pytest.CaptureFixture[str], sizes: list[int], pause_s: float = 0.0, shown: bool = True) -> list[str]:
    setup_logging()
    with Progress(sum(sizes), len(sizes), "products", shown) as progress:
        for number, size in enumerate(sizes):
            time.sleep(pause_s)
            progress.advance(size, f"product {number}")
    return [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]


def test_a_line_a_piece_with_an_estimate_by_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, [600, 300, 100])
    assert [line.split(" (")[0] for line in lines] == ["1/3 products", "2/3 products", "3/3 products"]
    assert re.fullmatch(r"1/3 products \(60 %\), about \d+ s left: product 0", lines[0])
    assert re.fullmatch(r"2/3 products \(90 %\), about \d+ s left: product 1", lines[1])
    assert lines[2] == "3/3 products (100 %): product 2"


def test_the_estimate_is_what_the_rest_takes_at_the_same_pace(capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, [1, 999_999], pause_s=0.03)[0]
    hours = re.search(r"about (\d+) h left", first)
    assert hours is not None and int(hours[1]) + 0.5 >= 0.03 * 999_999 / 3600  # 8.3 h, more on a busy machine


@pytest.mark.parametrize("sizes", [[], [0, 0], [0, 5]])
def test_pieces_of_no_bytes_are_counted(capsys: pytest.CaptureFixture[str], sizes: list[int]) -> None:
    assert len(told(capsys, sizes)) == len(sizes)


def test_quiet_where_it_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [1, 2], shown=False) == []
