"""Masks with one thing spoilt each: a mask that cannot be read is never taken for one that marks nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from spoiling import RASTER, Case, content, cut, edit, features, raster, refused

from hpc_sr.errors import MetadataError, MissingFileError, RasterError

_OPEN = "300000 6200000 300600 6200000 300600 6199000"
CASES = (
    {
        f"{file} {what}": Case(f"{file}.jp2", spoil, error, said, level=level)
        for file, level in (
            ("MSK_QUALIT_B05", "L1C"),
            ("MSK_DETFOO_B02", "L1C"),
            ("MSK_CLASSI_B00", "L1C"),
            ("*_SCL_20m", "L2A"),
        )
        for what, (spoil, error, said) in RASTER.items()
        if what in ("missing", "empty", "text", "cut at a half", "zeros at its end", "of another size", "one pixel off")
    }
    | {
        f"{file} of {n} layers": Case(
            f"{file}.jp2", raster(lambda p, k, n=n: (p[:n], k)), RasterError, f"has {n} layers"
        )
        for file, n in (("MSK_QUALIT_B05", 7), ("MSK_QUALIT_B02", 3), ("MSK_CLASSI_B00", 2))
    }
    | {
        f"{name} {what}": Case(f"{name}.gml", spoil, error, said, baseline="02.08")
        for name in ("MSK_CLOUDS_B00", "MSK_SATURA_B02", "MSK_DEFECT_B11")
        for what, spoil, error, said in (
            ("missing", Path.unlink, MissingFileError, "missing"),
            ("empty", content(b""), MetadataError, "parsed"),
            ("cut", cut(0.5), MetadataError, "parsed"),
            ("with a document type", edit("<eop:Mask ", "<!DOCTYPE a><eop:Mask "), MetadataError, "document type"),
            ("unclosed", features(_OPEN), MetadataError, "not closed"),
            ("in words", features("here and there"), MetadataError, "polygon"),
            ("of nothing", features(""), MetadataError, "polygon"),
            ("of halves", features("1 2 3 4 5 6 1"), MetadataError, "polygon"),
            ("in no dimension", features("1 2 1 3 2 3 1 2", dimension="0"), MetadataError, "polygon"),
            ("of nan", features("nan nan 1 3 2 3 nan nan"), MetadataError, "polygon"),
            ("of infinities", features("inf 1 1 3 2 3 inf 1"), MetadataError, "polygon"),
        )
    }
)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_mask_is_refused_with_its_own_error(
    products: dict[tuple[str, str], Path], tmp_path: Path, use: Callable[[Path], object], name: str
) -> None:
    refused(CASES[name], products, tmp_path, use)
