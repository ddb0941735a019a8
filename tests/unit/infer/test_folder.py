"""Many sources into one folder: those that fail are told once, the others are done."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.errors import ImageError, OutputError
from hpc_sr.infer.folder import write_each


def test_the_first_failure_is_told_with_its_place_and_one_cure(tmp_path: Path) -> None:
    done = []

    def write(name: str, path: Path, ranks: Comm) -> Path:
        if name == "odd":
            raise ZeroDivisionError("nobody has thought of it")
        if name != "good":
            raise ImageError(f"is {name}", where=path, cure="draw it anew")
        done.append(name)
        return path

    named = {name: tmp_path / f"{name}.png" for name in ("torn", "odd", "good", "dark")}
    with pytest.raises(OutputError) as error:
        write_each(named, write, tmp_path, "pictures", SerialComm())
    told = str(error.value)
    assert done == ["good"] and f"3 of 4 pictures failed; the first: {named['torn']}: is torn" in told
    assert told.count("cure:") == 1 and "draw it anew" not in told
