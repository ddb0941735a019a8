"""Masks with one thing spoilt each: a mask that cannot be read is never taken for one that marks nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spoiling import RASTER, Case, content, cut, edit, features, raster, refused

from hpc_sr.errors import MetadataError, MissingFileError, RasterError

_OPEN = "300000 6200000 300600 6200000 300600 6199000"
_POSITIONLESS = (
    '<eop:maskMembers><eop:MaskFeature gml:id="OPAQUE.0"><eop:maskType>OPAQUE</eop:maskType><eop:extentOf>'
    '<gml:Polygon gml:id="a"/></eop:extentOf></eop:MaskFeature></eop:maskMembers>'
)
#: What one file tells of all, and what is asked of each.
_OF_EACH_RASTER, _OF_EACH_VECTOR = ("missing", "of another size", "one pixel off"), ("missing", "unclosed")
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
        if what in _OF_EACH_RASTER
        or (file == "MSK_QUALIT_B05" and what in ("empty", "text", "cut at a half", "zeros at its end"))
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
            ("off the earth", features("0 0 0 1e300 1e300 1e300 0 0"), MetadataError, "polygon"),
            ("of no type", features("0 0 0 1 1 1 0 0", kind=""), MetadataError, "type ''"),
            ("of no positions", edit("<eop:maskMembers/>", _POSITIONLESS), MetadataError, "no positions"),
        )
        if what in _OF_EACH_VECTOR or name == "MSK_CLOUDS_B00"
    }
)


_UNNUMBERED = edit(r'gml:id="detector_footprint-B05-06-0"', 'gml:id="footprint"')
CASES |= {
    "a footprint of no detector": Case(
        "MSK_DETFOO_B05.gml", _UNNUMBERED, MetadataError, "detector 0", baseline="02.08"
    ),
    "a footprint of detector 77": Case(
        "MSK_DETFOO_B05.gml", edit("B05-06-0", "B05-77-0"), MetadataError, "detector 77", baseline="02.08"
    ),
    "classes that are none": Case(
        "*_SCL_20m.jp2", raster(lambda p, k: (p + np.uint8(100), k)), RasterError, "has a class 1", level="L2A"
    ),
    "flags that are no whole numbers": Case(
        "MSK_QUALIT_B05.jp2", raster(lambda p, k: (p * np.float32(np.nan), k)), RasterError, "holds float32, not uint8"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_mask_is_refused_with_its_own_error(
    products: dict[tuple[str, str], Path], tmp_path: Path, use: Callable[[Path], object], name: str
) -> None:
    refused(CASES[name], products, tmp_path, use)
