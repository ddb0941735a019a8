"""The model of scaling: its limits, monotone behaviour, links that are found again, and the report of a folder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_points import content
from support import run_cli

from hpc_sr.errors import RunDirectoryError
from hpc_sr.report.prediction import forecast, markdown_of
from hpc_sr.report.scaling import read_points
from hpc_sr.report.scaling_model import (
    CLUSTERS,
    QUANTILES,
    Cluster,
    Links,
    Load,
    fit_links,
    most_ranks,
    predict,
    ring_s,
)

STEADY = Load((0.01,) * len(QUANTILES), 7e6, 25e6, 128)
SLOW, FREE = Links(1e-5, 1e9), Links(0.0, math.inf)


def cluster(links: Links, ranks_per_node: int = 4) -> Cluster:
    return Cluster("made up", ranks_per_node, links, links)


def test_without_jitter_and_exchange_ranks_cost_nothing() -> None:
    for ranks in (1, 2, 64, 1024):
        one = predict(STEADY, cluster(FREE), ranks)
        assert one.efficiency == pytest.approx(1.0) and (one.waiting, one.exposed) == pytest.approx((0, 0))
        assert one.samples_per_s == pytest.approx(ranks * 12_800)


def test_one_bucket_is_exposed_whole_and_many_hide_behind_the_backward_pass() -> None:
    """By hand: a single bucket is ready when the step's computing ends; of ten only the last one is not hidden."""
    exchange_s = ring_s(7e6, 2, SLOW)
    assert exchange_s == pytest.approx(2 * (1e-5 + 3.5e-3))
    whole = predict(STEADY, cluster(SLOW), 2)
    assert whole.efficiency == pytest.approx(0.01 / (0.01 + exchange_s))
    tenth_s = ring_s(7e5, 2, SLOW)
    # Ready every 0.667 ms from 0.00400 s on, 0.72 ms each: from the first on they follow each other.
    begins_s = 0.01 * (1 - 2 / 3 * 0.9)
    assert tenth_s > 0.01 * 2 / 3 / 10
    parts = predict(replace(STEADY, bucket_bytes=7e5), cluster(SLOW), 2)
    assert parts.efficiency == pytest.approx(0.01 / (begins_s + 10 * tenth_s))
    assert parts.exposed == pytest.approx((begins_s + 10 * tenth_s - 0.01) / (begins_s + 10 * tenth_s))


def test_the_slowest_of_many_ranks_keeps_the_others_waiting() -> None:
    """Of times between a and b, uniform, the largest of n is a + (b - a) n / (n + 1) on average."""
    load = replace(STEADY, step_s=tuple(0.01 + 0.001 * q for q in np.asarray(QUANTILES) / 100))
    for ranks in (1, 4, 256):
        one = predict(load, cluster(FREE), ranks)
        assert one.efficiency == pytest.approx(0.0105 / (0.01 + 0.001 * ranks / (ranks + 1)), rel=3e-3)
        assert one.efficiency_range[0] <= one.efficiency <= one.efficiency_range[1]
    # Portions of an update even each other out.
    assert (
        predict(replace(load, portions=8), cluster(FREE), 256).waiting < 0.7 * predict(load, cluster(FREE), 256).waiting
    )


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-7, 1e-3), st.floats(1e6, 1e12), st.integers(1, 8))
def test_better_links_and_fewer_bytes_never_cost(latency_s: float, bytes_per_s: float, per_node: int) -> None:
    links = Links(latency_s, bytes_per_s)
    ours, faster = cluster(links, per_node), cluster(Links(latency_s, 2 * bytes_per_s), per_node)
    for ranks in (1, 2, 24):
        usual = predict(STEADY, ours, ranks).efficiency
        assert 0 < usual <= 1 + 1e-9
        assert predict(STEADY, faster, ranks).efficiency >= usual - 1e-12
        assert predict(replace(STEADY, size_bytes=3.5e6), ours, ranks).efficiency >= usual - 1e-12
        assert predict(replace(STEADY, portions=4), ours, ranks).efficiency >= usual - 1e-12


def test_links_are_found_again_and_never_negative() -> None:
    true, noise = Links(2e-5, 3e9), np.random.default_rng(0)
    sizes = [(n, 4.0**k) for n in (2, 4, 8) for k in range(6, 13)]
    found = fit_links([(n, s, ring_s(s, n, true) * noise.uniform(0.97, 1.03)) for n, s in sizes])
    assert found.latency_s == pytest.approx(2e-5, rel=0.1) and found.bytes_per_s == pytest.approx(3e9, rel=0.1)
    assert fit_links([(2, 4096.0, 1e-3), (2, 4e6, 0.9e-3)]).bytes_per_s == math.inf
    assert fit_links([(2, 4096.0, 1e-6), (2, 4e6, 1.1e-3)]).latency_s == 0.0


def test_the_end_of_good_efficiency_is_the_first_fall() -> None:
    one = predict(STEADY, cluster(FREE), 1)
    told = [replace(one, ranks=n, efficiency=e) for n, e in ((1, 1.0), (2, 0.95), (4, 0.89), (8, 0.91))]
    assert (most_ranks(told, 0.9), most_ranks(told[2:], 0.9)) == (2, 0)


def point(ranks: int, nodes: int, links: Links, step_s: float = 0.01) -> dict:
    """Return a measured point of a machine that obeys the model."""
    took_s = step_s + ring_s(4 * 1_821_031, ranks, links) * (ranks > 1)
    made = content("serial" if ranks == 1 else "ddp", ranks, 128 * ranks / took_s)
    sizes = [4.0**k for k in range(6, 13)]
    exchange = [{"bytes": s, "seconds": ring_s(s, ranks, links)} for s in sizes] if ranks > 1 else []
    more = {"step_s": [step_s] * len(QUANTILES), "exchange": exchange, "nodes": nodes, "bucket_bytes": 25 * 2**20}
    return made | more | {"gradient_bytes": 4 * 1_821_031, "batch_size_per_rank": 128, "accumulation_steps": 1}


def folder_of(folder: Path, *points: dict) -> Path:
    for number, one in enumerate(points):
        (folder / f"{number}.json").write_text(json.dumps(one))
    return folder


def test_a_folder_predicts_what_it_did_not_measure(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, point(1, 1, SLOW), point(2, 1, SLOW), point(4, 1, SLOW))
    told = forecast(read_points(folder), 16)
    assert [check.point.ranks for check in told.checks] == [2, 4]
    assert all(abs(check.error) < 1e-3 for check in told.checks), "each from the other's links"
    assert [one.ranks for one in told.curves[0].predictions] == [1, 2, 4, 8, 16]
    fp16 = told.curves[1].predictions[2]
    assert fp16.efficiency > told.curves[0].predictions[2].efficiency
    text = markdown_of(told)
    assert "between nodes nothing was: those inside a node" in text and "| ddp | 4 |" in text
    assert run_cli("scaling", folder, "--predict-to", 1024, "--links", "juwels_booster") == 0
    assert "HDR200" in (folder / "predicted.md").read_text() and "| 1024 |" in (folder / "predicted.md").read_text()
    assert (folder / "predicted.png").read_bytes()[:4] == b"\x89PNG"
    assert {"predicted.md", "scaling.md"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ([point(2, 1, SLOW)], "holds no point of one rank"),
        ([point(1, 1, SLOW)], "tells no time of an exchange"),
        ([{k: v for k, v in point(1, 1, SLOW).items() if k != "step_s"}, point(2, 1, SLOW)], "tells no 'step_s'"),
    ],
)
def test_what_cannot_be_predicted_from_is_named(tmp_path: Path, points: list[dict], told: str) -> None:
    with pytest.raises(RunDirectoryError, match=told):
        forecast(read_points(folder_of(tmp_path, *points)), 8)


def test_links_without_a_prediction_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("scaling", folder_of(tmp_path, point(1, 1, SLOW)), "--links", "juwels") == 2
    assert "--predict-to" in capsys.readouterr().err
    assert set(CLUSTERS) == {"juwels", "juwels_booster"}, "as --links says"
