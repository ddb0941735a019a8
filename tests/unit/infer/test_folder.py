"""Many sources into one folder: those that fail are told once, the others are done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_prep.synthetic import landscape, write_product
from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.errors import ImageError, OutputError
from hpc_sr.infer.folder import named_in, product_name, write_each
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.runs import by_method, infer_products


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


def test_an_image_is_named_after_the_product_that_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_product(tmp_path, landscape(24, 1))
    name = made.stem
    (tmp_path / "out").mkdir()
    renamed = made.rename(tmp_path / "mine")
    assert product_name(renamed) == product_name(renamed / "MTD_MSIL1C.xml") == name
    monkeypatch.chdir(renamed)
    assert product_name(Path(".")) == product_name(Path("MTD_MSIL1C.xml")) == name
    monkeypatch.undo()
    copy = shutil.copytree(renamed, tmp_path / "copy")
    with pytest.raises(OutputError, match=f"mine and .*copy would be written as {name}"):
        named_in(tmp_path / "out", [(product_name(path), path) for path in (renamed, copy)])
    # One that cannot be opened stands in nobody's way: what is wrong with it is told when its turn comes.
    (copy / "MTD_MSIL1C.xml").unlink()
    named = named_in(tmp_path / "not_yet" / "out", [(product_name(path), path) for path in (renamed, copy)])
    assert list(named.values()) == [renamed, copy]


def test_several_products_do_not_make_a_folder_that_is_called_like_a_file(tmp_path: Path) -> None:
    out, products = tmp_path / "x.tif", [tmp_path / "a.SAFE", tmp_path / "b.SAFE"]
    with pytest.raises(OutputError, match="the name of one image, there are 2 products"):
        infer_products(by_method("nearest"), products, out, InferOptions(), SerialComm())
    assert not out.exists()
