"""Who is scored on one target of a task: several networks at once, each as if it were alone."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import torch
from made_networks import narrow, trained
from made_store import made_store
from thread_ranks import on_ranks

from data_prep.synthetic import landscape, write_product
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.errors import ImageError, LevelError
from hpc_sr.evaluate.evaluation import evaluate_products, evaluate_store
from hpc_sr.evaluate.protocols.patches import evaluate_patches
from hpc_sr.evaluate.protocols.scenes import Lineup, Scene, consistency_scene, measured, synthesis_scene
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import predict_native
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.safe import BandReader, Product, open_product
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X, S26X, Task

STAGES = {"synthesis": synthesis_scene, "consistency": consistency_scene}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return open_product(write_product(tmp_path_factory.mktemp("product"), landscape(240, 3)))


def network(task: Task, patch_px: int, where: str, family: str = "s2x", seed: int = 0) -> Predictor:
    made = trained(task, patch_px, narrow(family), seed=seed, where=where)
    return Predictor.of(made, torch.device("cpu"), "fp32")


def scored(lineup: Lineup, product: Product, protocol: str, folder: Path) -> dict:
    return evaluate_products(lineup, [product], protocol, STAGES[protocol], SerialComm(), folder)


@pytest.mark.parametrize("protocol", STAGES)
def test_two_networks_of_one_family_are_both_scored_as_if_they_were_alone(
    product: Product, tmp_path: Path, protocol: str
) -> None:
    one, two = (network(S2X, 8, f"runs/{name}", seed=seed) for seed, name in enumerate(("one", "two")))
    both = scored(Lineup(S2X, "wald", ("bicubic",), (one, two)), product, protocol, tmp_path / "both")
    assert list(both["mean"]) == ["bicubic", "s2x one", "s2x two"] and both["compared"] == "s2x one"
    assert both["model"]["family"] == "s2x one"
    totals = []
    for name, alone in (("s2x one", one), ("s2x two", two)):
        own = scored(Lineup(S2X, "wald", ("bicubic",), (alone,)), product, protocol, tmp_path / name)
        assert list(own["mean"]) == ["bicubic", "s2x"]
        assert both["mean"][name] == own["mean"]["s2x"] and both["mean"]["bicubic"] == own["mean"]["bicubic"]
        totals.append(own["mean"]["s2x"]["total"]["rmse"])
    assert totals[0] != totals[1]
    assert both["paired"].keys() == {"bicubic", "s2x two"}


@pytest.mark.parametrize("protocol", STAGES)
def test_a_joint_network_stands_beside_one_of_its_targets(product: Product, tmp_path: Path, protocol: str) -> None:
    joint, single = network(S26X, 12, "runs/joint"), network(S2X, 8, "runs/single")
    target20, target60 = (S26X.only(target) for target in S26X.targets)
    lineup = Lineup(target20, "wald", ("bicubic", "guided"), (joint, single))
    assert (lineup.names, lineup.label(protocol)) == (("bicubic", "guided", "s26x", "s2x"), f"{protocol}_target20")
    found = scored(lineup, product, protocol, tmp_path / "joint")
    alone = scored(Lineup(S2X, "wald", ("bicubic", "guided"), (single,)), product, protocol, tmp_path / "alone")
    assert (found["scale"], found["bands"]) == (alone["scale"], alone["bands"]) == (2, list(S2X.bands))
    assert {name: found["mean"][name] for name in alone["mean"]} == alone["mean"]
    coarse = scored(Lineup(target60, "wald", ("bicubic",), (joint,)), product, protocol, tmp_path / "joint")
    assert (coarse["scale"], coarse["bands"]) == (6, ["B01", "B09"])
    kept = {path.name for path in (tmp_path / "joint").glob("panels_*.npz")}
    assert kept == {f"panels_{protocol}_{target}_{product.name}.npz" for target in ("target20", "target60")}


def test_the_middle_of_a_scene_is_kept_as_measured_and_as_networks_bring_it_to_10_m(
    product: Product, tmp_path: Path
) -> None:
    joint = network(S26X, 12, "runs/joint")
    middle = Area(72, 72, 96, 96)
    with BandReader(product) as reader:
        estimate = predict_native(joint, reader, middle).numpy() / 1e4
        for target, first in zip(S26X.targets, (0, 6), strict=True):
            task = S26X.only(target)
            scored(Lineup(task, "wald", ("bicubic",), (joint,)), product, "consistency", tmp_path)
            with np.load(tmp_path / f"native_{target.name}_{product.name}.npz") as kept:
                assert (list(kept["methods"]), list(kept["bands"])) == (["s26x"], list(target.bands))
                given = measured(reader, target.bands, middle.divided(target.scale)) / 1e4
                np.testing.assert_array_equal(kept["input"], given.astype(np.float32))
                np.testing.assert_allclose(kept["method_0"], estimate[first : first + len(target.bands)], rtol=1e-6)
    scored(Lineup(S2X, "wald", ("bicubic",)), product, "consistency", tmp_path / "none")
    assert not list((tmp_path / "none").glob("native_*")), "methods alone have nothing before and after"


def test_no_two_networks_have_one_name() -> None:
    wheres = ("a/run", "b/run", "c/other")
    networks = tuple(network(S2X, 8, where, seed=seed) for seed, where in enumerate(wheres))
    lineup = Lineup(S2X, "wald", ("bicubic",), (*networks, network(S2X, 8, "a/dsen2", "dsen2")))
    assert lineup.names == ("bicubic", "s2x a/run", "s2x b/run", "s2x other", "dsen2")
    assert list(lineup.named_networks.values()) == list(lineup.networks)


def test_every_network_is_of_the_products_level(product: Product, tmp_path: Path) -> None:
    good = network(S2X, 8, "good")
    other = Predictor.of(trained(S2X, 8, level="L2A", where="other"), torch.device("cpu"), "fp32")
    with pytest.raises(LevelError, match="is L1C, the model was trained on L2A"):
        scored(Lineup(S2X, "wald", ("bicubic",), (good, other)), product, "synthesis", tmp_path)


def test_the_patches_of_a_joint_store_hold_all_targets(tmp_path: Path) -> None:
    store, joint = Store(made_store(tmp_path, S26X, 24, rows=4, held_out=6)), network(S26X, 24, "joint")
    found = evaluate_store(Lineup(S26X, "wald", ("bicubic",), (joint,)), store, "validation", SerialComm())
    assert (found["protocol"], found["task"], found["bands"]) == ("synthesis", "s26x", list(S26X.bands))
    patches = Patches.of(store.split("validation"), S26X, 24)
    told = evaluate_patches(joint.generator, patches, SerialComm(), "fp32")
    assert found["mean"]["s26x"]["total"]["rmse"] == pytest.approx(told["rmse"])
    assert found["mean"]["bicubic"]["total"]["rmse"] == pytest.approx(told["rmse_bicubic"])


def test_a_product_that_ranks_share_does_not_end_the_others(tmp_path: Path) -> None:
    """Five products, two ranks: four are scored by one rank each, and the windows of the fifth are shared out."""
    made = [write_product(tmp_path, landscape(60, k), date=f"2023-06-{k + 11}") for k in range(5)]
    products, first = [open_product(path) for path in made], Lock()

    def stage(product: Product, reader: BandReader, lineup: Lineup) -> Scene:
        scene = synthesis_scene(product, reader, lineup)
        if product is products[4] and first.acquire(blocking=False):  # the rank that is first there fails
            raise ZeroDivisionError("nobody has thought of it")
        if product is products[0]:
            raise ImageError("is torn", where=product.name, cure="fetch it again")
        return scene

    lineup = Lineup(S2X, "wald", ("nearest",))
    found = on_ranks(
        2, lambda comm: evaluate_products(lineup, products, "synthesis", stage, comm, tmp_path / f"{comm.rank}")
    )
    for evaluation in found:
        assert list(evaluation["failed"]) == [products[0].name, products[4].name]
        assert "ZeroDivisionError" in evaluation["failed"][products[4].name]
        assert [scene["scene"] for scene in evaluation["scenes"]] == [one.name for one in products[1:4]]
    again = evaluate_products(lineup, products[1:], "synthesis", stage, SerialComm(), tmp_path / "0")
    assert len(again["scenes"]) == 4, "what failed once is tried again"
