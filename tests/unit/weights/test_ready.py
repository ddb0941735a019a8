"""Ready-made weights: every network of a set loads, is what its folder says, is small, and comes with its papers."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_store import made_store

from hpc_sr.cli.scores import Request, score
from hpc_sr.comm.communicator import SerialComm
from hpc_sr.errors import OutputError, RecipeError
from hpc_sr.tasks import S2X, task_by_name
from hpc_sr.weights.ready import READY, USUAL, ready_for, ready_sets, write_ready_set
from hpc_sr.weights.trained import load_trained

NETWORKS = [(name, folder) for name, networks in ready_sets().items() for folder in networks]
_MOST_BYTES = 8 * 2**20


@pytest.mark.parametrize(("name", "folder"), NETWORKS, ids=lambda each: getattr(each, "name", each))
def test_a_network_is_what_its_folder_says(name: str, folder: Path) -> None:
    card = load_trained(folder).card
    assert f"{card.level}_{card.task}" == folder.name and USUAL[card.degradation] == name
    assert sum(path.stat().st_size for path in folder.iterdir()) < _MOST_BYTES
    assert card.bands == {band for layer in task_by_name(card.task).inputs for band in layer.bands}
    told = (folder / "model_card.md").read_text(encoding="utf-8")
    assert card.level in told and "## Training" in told
    about = (READY / name / "README.md").read_text(encoding="utf-8")
    assert "Contains modified Copernicus Sentinel data" in about and "**Limits.**" in about


def test_networks_are_chosen_by_level_and_bands(tmp_path: Path) -> None:
    every = tuple(f"B{number:02}" for number in range(1, 13)) + ("B8A",)
    for level in ("L1C", "L2A"):
        assert [folder.name for folder in ready_for("detail_mtf", level, every)] == [f"{level}_s2x"]
        assert ready_for("detail_mtf", level, every[:-1]) == []
    assert ready_for("detail_mtf", "", every) == []
    with pytest.raises(RecipeError, match="no ready-made weights are called 'detail'"):
        ready_for("detail", "L1C", every)
    folders = write_ready_set("detail_mtf", tmp_path / "mine")
    assert [folder.name for folder in folders] == ["L1C_s2x", "L2A_s2x"] and load_trained(
        folders[0]
    ).card.level == "L1C"
    with pytest.raises(OutputError):
        write_ready_set("detail_mtf", tmp_path / "mine")


def test_scores_of_ready_made_weights_do_not_go_into_the_package(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", S2X, 48, rows=8, held_out=2)
    score([READY / "detail_wald" / "L1C_s2x"], "s2x", "wald", tmp_path / "mine", Request(store=store), SerialComm())
    assert (tmp_path / "mine" / "detail_wald" / "L1C_s2x" / "evaluate" / "synthesis.json").exists()
    assert not list(READY.rglob("evaluate"))
    (own,) = [path for path in write_ready_set("detail_wald", tmp_path / "own") if path.name == "L1C_s2x"]
    score([own], "s2x", "wald", tmp_path / "not", Request(store=store), SerialComm())
    assert (own / "evaluate" / "synthesis.json").exists() and not (tmp_path / "not").exists()
