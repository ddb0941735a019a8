"""A warning for products that are unlike the training ground: what it names, by how much, and when it is silent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from array_images import ArrayImage, repeating
from made_store import made_store

from hpc_sr.cli.looks import looks as tell_looks
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import RecipeError
from hpc_sr.infer.in_memory import sharpen_in_memory
from hpc_sr.infer.method import methods_for
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.models.facts import Looks, Span
from hpc_sr.shards.schema import read_manifest, write_manifest
from hpc_sr.tasks import BANDS_20M, S2X, S6X
from hpc_sr.weights.card import read_card
from hpc_sr.weights.ready import ready_sets, write_ready_set

#: Noise: no band explains another one, the mean reflectance is a little under 1 less the offset of .1.
MEAN = float(np.log2(9000.0))
LIKE = Looks({"B02": Span(MEAN - 1, MEAN + 1, 0.5)}, {"B05": Span(-2.0, -0.5, 0.5)})
DARKER = Looks({"B02": Span(MEAN - 4, MEAN - 3, 0.5), "B8A": Span(MEAN - 3, MEAN - 2, 1.0)}, {"B05": Span(-3, -2, 0.5)})


def knowing(looks: Looks | None, task=S2X) -> Predictor:
    predictor = repeating(task)
    card = predictor.trained.card
    return replace(
        predictor, trained=replace(predictor.trained, card=replace(card, facts=replace(card.facts, looks=looks)))
    )


def test_a_product_unlike_the_training_ground_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    sharpen_in_memory([knowing(DARKER)], ArrayImage(240, 240), InferOptions())
    (told,) = caplog.messages
    assert told.startswith(
        "noise is unlike the ground that repeating for s2x was trained on: reflectance of B02 is 0.9"
    )
    assert "(trained on 0.056 to 0.11)" in told and "reflectance of B8A is 0.88 (" in told
    assert "100% of B05's detail is in no 10 m band (trained on 12% to 25%)" in told and 'method="guided"' in told
    assert told.index("B02") < told.index("B05") < told.index("B8A"), "the worst first"


@pytest.mark.parametrize("looks", [LIKE, None, Looks({}, {"B05": Span(0.5, 1.0, 0.1)})])
def test_what_is_alike_or_not_known_or_better_explained_is_not(looks: Looks | None, caplog) -> None:
    sharpen_in_memory([knowing(looks)], ArrayImage(240, 240), InferOptions())
    sharpen_in_memory(methods_for(ArrayImage(48, 48), "guided"), ArrayImage(48, 48), InferOptions())
    assert not caplog.messages


def test_files_are_told_of_once_by_each_network_and_nodata_is_not_looked_at(tmp_path: Path, caplog) -> None:
    image = ArrayImage(240, 240)
    image.sources = (Path("a b/X.SAFE"),)
    models = [knowing(DARKER), knowing(DARKER, S6X)]
    super_resolve(models, image, tmp_path / "x.tif", InferOptions(window_px=96), SerialComm())
    told = [line for line in caplog.messages if "unlike" in line]
    assert ["repeating for s2x" in line for line in told] == [True, False]
    assert "`hpc-sr infer 'a b/X.SAFE' --method guided`" in told[0] and "B8A" not in told[1]
    caplog.clear()
    for band in image.dn.values():
        band[::5, ::5] = 0
    sharpen_in_memory(models, image, InferOptions())
    assert not [line for line in caplog.messages if "unlike" in line]


def test_looks_do_not_decide_pixels() -> None:
    assert knowing(LIKE).identity == knowing(None).identity


@pytest.mark.parametrize("folder", [folder for cards in ready_sets().values() for folder in cards], ids=str)
def test_ready_made_weights_know_their_ground(folder: Path) -> None:
    card = read_card(folder)
    looks = card.facts.looks
    assert looks is not None and {"B02", "B03", "B04", "B08"} <= looks.levels.keys()
    assert set(looks.unexplained) == ({*BANDS_20M} if card.task == "s2x" else set())
    assert all(
        span.low < span.high and span.margin > 0 for span in (*looks.levels.values(), *looks.unexplained.values())
    )


def test_a_card_is_told_by_a_store_of_its_own_products_alone(tmp_path: Path) -> None:
    folder = next(path for path in write_ready_set("detail_mtf", tmp_path / "mine") if path.name == "L1C_s2x")
    card = folder / "card.json"
    document = json.loads(card.read_text())
    products = [line["product"] for line in document["training"]["data"]["products"]]
    store = made_store(tmp_path / "store", S2X, 48, rows=8, held_out=2)
    told = {"levels": {"B02": [9.0, 9.5, 10.0]}, "unexplained": {"B05": [-3.0, -2.0, -1.0]}}
    lines = tuple(
        {"product": name, "split": "train", "patches": 4, "tile": f"{number}3UUB", "looks": told}
        for number, name in enumerate(products, start=1)
    )
    write_manifest(store, replace(read_manifest(store), products=lines))
    weights = (folder / "model.safetensors").read_bytes()
    tell_looks(folder, store)
    found = read_card(folder).facts.looks
    assert found == Looks({"B02": Span(9.0, 10.0, 0.2)}, {"B05": Span(-3.0, -1.0, 0.4)})
    assert "| B02 | 0.051 to 0.1 |" in (folder / "model_card.md").read_text()
    assert (folder / "model.safetensors").read_bytes() == weights

    write_manifest(store, replace(read_manifest(store), products=lines[1:]))
    with pytest.raises(RecipeError, match="is not what the network was trained on: .*33UUB"):
        tell_looks(folder, store)
    write_manifest(store, replace(read_manifest(store), products=tuple({**line, "looks": None} for line in lines)))
    with pytest.raises(RecipeError, match="does not tell what its ground looks like"):
        tell_looks(folder, store)
