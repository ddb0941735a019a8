"""Means, intervals and comparisons over scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from hpc_sr.evaluate.metrics.measure import finish, measure
from hpc_sr.evaluate.summary import summarise

RNG = np.random.default_rng(3)


def scenes_of(**rmse_by_method: list[float]) -> list[dict]:
    """Return scenes whose methods have these RMSEs, and an SRE that falls as they rise."""

    def scores(value: float) -> dict:
        total = {"rmse": value, "rmse_band_mean": value, "sre": 50 - value}
        return {"total": total, "bands": {"B05": total}, "classes": {}, "pixels": 9}

    return [
        {"methods": {method: scores(value) for method, value in zip(rmse_by_method, values, strict=True)}}
        for values in zip(*rmse_by_method.values(), strict=True)
    ]


def test_an_interval_is_that_of_an_independent_bootstrap() -> None:
    values = RNG.gamma(4, 10, 12)
    found = summarise(scenes_of(bicubic=list(values), ours=list(values / 2)), "ours")
    expected = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", random_state=np.random.default_rng(9)
    ).confidence_interval
    assert found["intervals"]["bicubic"]["rmse"] == pytest.approx(list(expected), rel=0.02)
    assert found["mean"]["bicubic"]["total"]["rmse"] == pytest.approx(values.mean())
    assert found["ratio_to_bicubic"]["ours"]["rmse"] == pytest.approx(0.5)


def test_a_comparison_is_paired() -> None:
    """Scenes differ by far more than the methods do; drawn in pairs the small difference is certain."""
    hard = RNG.uniform(10, 500, 20)
    paired = summarise(scenes_of(bicubic=list(hard + 2), ours=list(hard + RNG.normal(0, 0.5, 20))), "ours")
    rmse, sre = (paired["paired"]["bicubic"][key] for key in ("rmse", "sre"))
    assert rmse["difference"] == pytest.approx(-2, abs=0.5)
    assert rmse["interval"][1] < -1.5 and rmse["better"] == rmse["scenes"] == 20
    assert sre["better"] == 20 and sre["difference"] == pytest.approx(-rmse["difference"])
    low, high = paired["intervals"]["ours"]["rmse"]
    assert low < hard.mean() + 2 < high


def test_scenes_without_a_scored_pixel_are_left_out_of_all_means() -> None:
    scenes = scenes_of(bicubic=[3.0, 4.0, 8.0], ours=[1.0, 2.0, 6.0])
    expected = summarise(scenes[:2], "ours")
    for scores in scenes[2]["methods"].values():
        scores.update(total=dict.fromkeys(scores["total"]), bands={"B05": dict.fromkeys(scores["total"])}, pixels=0)
    assert summarise(scenes, "ours") == expected
    assert summarise(scenes[2:], "ours")["mean"]["ours"]["total"]["rmse"] is None


def test_one_scene_has_no_interval_and_what_is_undefined_once_has_no_mean() -> None:
    one = summarise(scenes_of(bicubic=[3.0], ours=[1.0]), "ours")
    assert one["intervals"]["ours"]["rmse"] is None and one["paired"]["bicubic"]["rmse"]["interval"] is None
    scenes = scenes_of(bicubic=[3.0, 4.0], ours=[0.0, 1.0])
    scenes[0]["methods"]["ours"]["total"]["sre"] = None
    found = summarise(scenes, "ours")
    assert found["mean"]["ours"]["total"]["sre"] is None and found["intervals"]["ours"]["sre"] is None
    assert found["paired"]["bicubic"]["sre"] is None and found["paired"]["bicubic"]["rmse"] is not None


def test_without_bicubic_there_is_no_ratio_and_without_a_choice_no_comparison() -> None:
    found = summarise(scenes_of(ours=[1.0, 2.0], theirs=[2.0, 3.0]), None)
    assert found["ratio_to_bicubic"] == {} and found["paired"] == {}


def test_classes_are_averaged_over_the_scenes_that_have_them() -> None:
    scenes = scenes_of(ours=[1.0, 2.0, 3.0])
    for scene, rmse in zip(scenes[:2], (4.0, 8.0), strict=True):
        scene["methods"]["ours"]["classes"] = {"water": {"total": {"rmse": rmse}, "bands": {}, "pixels": 5}}
    assert summarise(scenes, None)["mean"]["ours"]["classes"] == {"water": {"total": {"rmse": 6.0}, "scenes": 2}}


def test_every_score_can_be_compared() -> None:
    """A worse estimate is worse by every score, so each has the right direction."""
    reference = torch.from_numpy(RNG.uniform(500, 3000, (2, 40, 40)))
    noise = torch.from_numpy(RNG.normal(0, 100, reference.shape))
    bands = ("B05", "B06")

    def scene(share: float) -> dict:
        return finish(measure(reference, reference + share * noise), bands, 2) | {"classes": {}}

    found = summarise([{"methods": {"ours": scene(0.1), "theirs": scene(1.0)}}], "ours")["paired"]["theirs"]
    assert {key for key, compared in found.items() if compared["better"] != 1} == set()
