"""Sharing out with one process: the plain loop that the ranks' version must agree with (tests/parallel)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.comm.mpi import SerialWorld


@given(st.lists(st.integers()))
def test_every_number_is_worked_on_once_and_told_as_it_comes(values: list[int]) -> None:
    events: list[tuple[str, int, int]] = []

    def work(index: int) -> int:
        events.append(("work", index, values[index]))
        return values[index]

    results = SerialWorld().share_out(work, len(values), lambda *done: events.append(("done", *done)))

    assert results == values
    assert events == [(kind, index, value) for index, value in enumerate(values) for kind in ("work", "done")]


@pytest.mark.parametrize("failing", ["work", "on_result"])
def test_an_exception_ends_it(failing: str) -> None:
    begun: list[int] = []

    def work(index: int) -> None:
        begun.append(index)
        if failing == "work" and index == 1:
            raise ZeroDivisionError

    def on_result(index: int, result: None) -> None:
        if failing == "on_result" and index == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SerialWorld().share_out(work, 4, on_result)
    assert begun == [0, 1]
