"""Every network for single pictures trains in the shared trainer, and goes on where it was, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_store import made_recipe, made_store, train_lines

from hpc_sr.tasks import task_by_name

FAMILIES = {
    "srcnn": {"width": 8, "hidden": 4, "colours": "y"},
    "fsrcnn": {"width": 8, "narrow": 4, "maps": 1},
    "srresnet": {"width": 8, "blocks": 1},
    "rrdb": {"width": 8, "growth": 4, "blocks": 1},
    "efdn": {"width": 8},
    "imdn": {"width": 16, "blocks": 1},
    "rfdn": {"width": 8, "blocks": 1},
    "dbpn": {"width": 8, "features": 8, "stages": 2},
    "hsenet": {"width": 8, "modules": 1},
    "transenet": {"width": 8, "blocks": 1, "embedding": 8, "layers": 1},
    "degan": {"width": 16, "blocks": 1, "unet_width": 16, "base": "bicubic"},
    "msfm": {"width": 8},
    "eegan": {"width": 8, "blocks": 1, "edge_blocks": 1},
    "swinir": {"width": 8, "stages": 1, "layers": 2, "heads": 2, "window_px": 4},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("store"), task_by_name("sisr_x4"), 64, rows=16, held_out=4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_network_learns_and_resumes_to_the_bit(family: str, store: Path, tmp_path: Path) -> None:
    """SRResNet's running statistics are among what must come back, in what learns and in what is averaged."""
    model, sections = {"family": family, **FAMILIES[family]}, {"train": {"ema_samples": 32}}

    def recipe(name: str, samples: int):
        return made_recipe(tmp_path / name, store, model, samples, **sections)

    lines = train_lines(recipe("unbroken", 48))
    train_lines(recipe("broken", 24))
    again = train_lines(recipe("broken", 48))
    assert [line["loss"] for line in again] == [line["loss"] for line in lines] and len(lines) == 6
    assert min(line["loss"] for line in lines[1:]) < lines[0]["loss"]
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "step_00000006" / "generator.pt", weights_only=True)
        for name in ("unbroken", "broken")
    ]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
