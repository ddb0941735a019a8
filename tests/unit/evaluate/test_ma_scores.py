"""Scores of Ma et al. from a file: what is read, what is missing, and the index that they and NIQE make."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_sr.errors import ImageError
from hpc_sr.evaluate.protocols.ma_scores import check_ma_scores, perceptual_index, read_ma_scores


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_scores_are_read_by_method_and_picture(tmp_path: Path) -> None:
    file = written(tmp_path / "ma.csv", "picture,score,method,seconds", "baby,8.5,srgan,3", '"a, b",-1e0,bicubic,')
    scores = read_ma_scores(file)
    assert scores == {("srgan", "baby"): 8.5, ("bicubic", "a, b"): -1.0}
    check_ma_scores(scores, ["srgan"], ["baby"], file)


def test_the_index_falls_as_either_score_gets_better() -> None:
    assert perceptual_index(8.5, 3.5) == 2.5
    assert perceptual_index(9.0, 3.5) < 2.5 < perceptual_index(8.5, 4.0)
    assert perceptual_index(None, 3.5) is None and perceptual_index(8.5, None) is None


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["method,score", "a,1"], "has no column picture"),
        ([""], "has no column method, picture, score"),
        (["method,picture,score", "a,x,good"], "has 'good' as score of a, x"),
        (["method,picture,score", "a,x,nan"], "has 'nan' as score of a, x"),
        (["method,picture,score", "a,x"], "has None as score of a, x"),
        (["method,picture,score", "a,x,1", "a,x,2"], "has two scores of a, x"),
    ],
)
def test_files_that_hold_no_scores_are_refused(tmp_path: Path, lines: list[str], told: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_ma_scores(written(tmp_path / "ma.csv", *lines))
    assert told in str(caught.value) and str(caught.value.where).endswith("ma.csv") and caught.value.cure


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00method")
    for name in ("none.csv", "bytes.csv"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_ma_scores(tmp_path / name)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    scores = {("a", "x"): 1.0, ("b", "y"): 2.0}
    with pytest.raises(ImageError, match="no score of 2 of 4 pictures by method: a, y; b, x\n") as caught:
        check_ma_scores(scores, ["a", "b"], ["x", "y"], tmp_path)
    assert "a run's folder" in str(caught.value.cure)
    with pytest.raises(ImageError, match="no score of 9 of 10 .*: a, 0; a, 2; a, 3; a, 4; a, 5; \\.\\.\\.\n"):
        check_ma_scores({("a", "1"): 1.0}, ["a"], list(map(str, range(10))), tmp_path)
