"""Whatever is read from outside is a regular file of bounded size, or a typed error at once; names are names."""

from __future__ import annotations

import io
import json
import os
import socket
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.config import plain_file, plain_name
from hpc_sr.disk import read_arrays, read_file, read_json, telling
from hpc_sr.errors import OutputError, StoreError


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def make_socket(path: Path) -> Path:
    os.chdir(path.parent)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    return path


def make_sparse(path: Path) -> Path:
    path.touch()
    os.truncate(path, 1 << 40)
    return path


def make_loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


NO_FILES: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: path,
    "fifo": make_fifo,
    "socket": make_socket,
    "folder": lambda path: path.mkdir() or path,
    "endless device": lambda path: "/dev/zero",
    "terminal": lambda path: "/dev/tty",
    "larger than any memory": make_sparse,
    "link to itself": make_loop,
    "NUL in its name": lambda path: f"{path}\0",
    "long name": lambda path: path / ("x" * 300),
    "long path": lambda path: "/".join(["x" * 200] * 30),
    "under a file": lambda path: path.write_text("") or path / "below",
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("read", [read_json, lambda *given: read_arrays(given[0], None, *given[1:])])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, read: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    path = NO_FILES[kind](tmp_path / "it")
    with pytest.raises(StoreError) as caught:
        read(path, StoreError, "mend it")
    assert caught.value.where == path and caught.value.cure == "mend it"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"1", b"null", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' * 100_000, b"1" * 5000, b"{'a': 1}"],
)
def test_what_is_no_object_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "it.json").write_bytes(text)
    with pytest.raises(StoreError, match="it.json"):
        read_json(tmp_path / "it.json", StoreError, "mend it")


def test_a_file_of_the_size_allowed_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"x" * 100)
    assert read_file(path, StoreError, "", 100) == b"x" * 100
    with pytest.raises(StoreError, match="100 bytes, more than 99"):
        read_file(path, StoreError, "", 99)


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(header: str) -> bytes:
    padded = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def single(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


NO_ARRAYS = {
    "empty": b"",
    "text": b"these are no arrays",
    "cut": npz(a=np.arange(1000))[:-200],
    "without the name": npz(b=np.arange(3)),
    "a pickle": b"\x80\x04N.",
    "objects": npz(a=np.array([{}, None], object)),
    "a single array": single(np.arange(3)),
    "swelling": npz(a=np.zeros(1 << 22, np.uint8)),
    "announcing more than there is": zipped(
        a=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 10000000)}")
    ),
    "of a negative shape": zipped(a=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-5, 3)}")),
    "of an unknown type": zipped(a=npy("{'descr': 'what', 'fortran_order': False, 'shape': (3,)}")),
    "with code for a header": zipped(a=npy("{'descr': __import__('os').abort(), 'shape': (3,)}")),
    "no array in it": zipped(a=b"nothing"),
    "an empty array in it": zipped(a=b""),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_what_holds_no_arrays_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "it.npz").write_bytes(NO_ARRAYS[kind])
    with pytest.raises(StoreError, match="it.npz"):
        read_arrays(tmp_path / "it.npz", ("a",), StoreError, "mend it", most_bytes=1 << 20)


@given(damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_arrays_are_refused_or_read(tmp_path_factory, damage: list[tuple[float, int]]) -> None:
    path = tmp_path_factory.mktemp("npz") / "it.npz"
    content = bytearray(npz(a=np.arange(50), b=np.eye(3)))
    for place, value in damage:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    with suppress(StoreError):
        assert set(read_arrays(path, ("a",), StoreError, "mend it")) == {"a"}


def test_all_arrays_or_those_asked_for(tmp_path: Path) -> None:
    (tmp_path / "it.npz").write_bytes(npz(a=np.arange(3), b=np.eye(2)))
    assert set(read_arrays(tmp_path / "it.npz", None, StoreError, "")) == {"a", "b"}
    assert read_arrays(tmp_path / "it.npz", ("b",), StoreError, "")["b"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/b", "/etc", "../a", "a\0b", "a\nb", "a\x1b[2J", "a\u2028b", "\udcff", "x" * 256]
)
def test_what_is_no_plain_name_is_told(name: str) -> None:
    with pytest.raises(ValueError, match="is no plain name"):
        plain_name(name)


@pytest.mark.parametrize("name", ["a", "...", ".a", "-a", "S2A_MSIL1C.SAFE", "Screenshot 9.41\u202fAM", "日本", "a b"])
def test_names_of_files_are_plain(name: str) -> None:
    assert plain_name(name) == name and plain_file(f"shards/{name}") == f"shards/{name}"


@given(st.text())
def test_a_plain_name_is_one_file_of_its_folder(tmp_path_factory, name: str) -> None:
    try:
        plain_name(name)
    except ValueError:
        return
    folder = tmp_path_factory.mktemp("names")
    (folder / name).write_text("")
    assert os.listdir(folder) == [name] and json.loads(json.dumps(name)) == name


@pytest.mark.parametrize("file", ["a", "/a", "shards/", "shards/..", "../a", "a/b/c", "./a", "shards//a", "shards/\0"])
def test_a_file_beside_its_description_lies_one_folder_down(file: str) -> None:
    with pytest.raises(ValueError):
        plain_file(file)


@pytest.mark.parametrize(
    ("number", "cure"), [(28, "free disk space"), (122, "free disk space"), (13, "right to"), (30, "right to"),
                         (5, "file system"), (116, "file system"), (36, "another path")]
)  # fmt: skip
def test_what_the_system_refuses_is_told_with_a_cure_that_fits(number: int, cure: str) -> None:
    with pytest.raises(OutputError, match=f"(?s)it: cannot be written.*cure: .*{cure}"), telling("it"):
        raise OSError(number, os.strerror(number), "it")
