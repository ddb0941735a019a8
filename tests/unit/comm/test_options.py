"""The `comm` section: what goes together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.comm.options import CommOptions
from hpc_sr.config import parse
from hpc_sr.errors import RecipeError


@given(
    st.fixed_dictionaries(
        {
            "compression": st.sampled_from(["none", "fp16"]),
            "reduction": st.sampled_from(["mean", "adasum"]),
            "cycle_time_ms": st.none() | st.just(2.0),
            "autotune": st.booleans(),
            "static_graph": st.booleans(),
        }
    )
)
def test_any_combination_has_a_backend_or_is_refused(given: dict) -> None:
    horovods = given["reduction"] == "adasum" or given["cycle_time_ms"] is not None or given["autotune"]
    underflows = given["reduction"] == "adasum" and given["compression"] == "fp16"
    if underflows or (horovods and given["static_graph"]):
        with pytest.raises(RecipeError, match=r"comm\."):
            parse(CommOptions, given, "recipe.yaml")
    else:
        assert bool(parse(CommOptions, given, "recipe.yaml").horovods_own) == horovods


@pytest.mark.parametrize("name", ["stall_s", "bucket_mb", "cycle_time_ms"])
def test_times_and_sizes_are_positive(name: str) -> None:
    with pytest.raises(RecipeError, match=name):
        parse(CommOptions, {name: 0}, "recipe.yaml")
