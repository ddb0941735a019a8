"""Weights that fit any bands, written as the network of another task than they were trained for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_networks import as_trained, narrow, network, saved

from hpc_sr.cli.export import export_for
from hpc_sr.errors import RecipeError
from hpc_sr.models.facts import Facts
from hpc_sr.tasks import PRE6X, S6X
from hpc_sr.train.facts import laws_of
from hpc_sr.weights.card import check_for_use
from hpc_sr.weights.trained import load_trained


def test_a_network_taught_by_the_20_m_bands_is_written_for_the_60_m_bands(tmp_path: Path) -> None:
    options = narrow("band")
    taught = network(options, PRE6X, Facts(24, laws=laws_of("mtf", PRE6X, "S2A")))
    run = saved(tmp_path / "run", as_trained(taught, options, degradation="mtf"))
    with pytest.raises(RecipeError, match=r"task pre6x, which only prepares for another one(.|\n)*--task s6x"):
        check_for_use(load_trained(run).card, run)
    found = load_trained(export_for(S6X, run, tmp_path / "out", "safetensors"))
    check_for_use(found.card, run)
    assert (found.card.task, found.card.degradation, found.card.step) == ("s6x", "mtf", 7)
    expected = network(options, S6X, Facts(24, laws=laws_of("mtf", S6X, "S2A")))
    expected.load_state_dict(taught.state_dict())
    inputs = [torch.rand(1, len(x.bands), 48 // x.stride, 48 // x.stride) * 3000 for x in S6X.inputs]
    with torch.inference_mode():
        torch.testing.assert_close(found.generator.estimate(*inputs), expected.estimate(*inputs))


def test_weights_of_certain_bands_are_for_no_other_task(tmp_path: Path) -> None:
    options = narrow("detail")
    of_bands = network(options, PRE6X, Facts(24, laws=laws_of("mtf", PRE6X, "S2A")))
    run = saved(tmp_path / "run", as_trained(of_bands, options))
    with pytest.raises(RecipeError, match="of family detail, whose weights are for the bands of task pre6x alone"):
        export_for(S6X, run, tmp_path / "out", "safetensors")
    assert not (tmp_path / "out").exists()
