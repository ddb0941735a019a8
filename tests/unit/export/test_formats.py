"""Every file computes what the network computes, on real pixels and for any size; what does not is never written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors
import torch
from made_networks import trained

from hpc_sr.errors import ExportError, MissingComponentError, NotExpressibleError, OutputError
from hpc_sr.export import folder as exporting
from hpc_sr.export.folder import FORMATS, TOLERANCE, Export, check_same, probes_of, write_export
from hpc_sr.markdown import as_text
from hpc_sr.models.dsen2 import DSen2
from hpc_sr.models.generator import Outputs
from hpc_sr.models.options import parse_model
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.trained import load_trained

#: Each family, scale and number of targets. Windows smaller than the published ones: the same graph, fewer positions.
NETWORKS = [("s2x", "s2x", 16), ("s2x", "s26x", 12), ("dsen2", "s6x", 12)]

Make, Cut = Callable[..., Export], Callable[..., tuple[torch.Tensor, ...]]


def eager(model: Export, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return what the network makes of stored units, written out here."""
    with torch.inference_mode():
        return tuple(target * 2000.0 for target in model.generator(*(x / 2000.0 for x in inputs)).targets)


@pytest.mark.parametrize(("family", "task", "patch_px"), NETWORKS)
def test_every_file_computes_what_the_network_computes(
    family: str, task: str, patch_px: int, small_model: Make, real_inputs: Cut, tmp_path: Path
) -> None:
    model = small_model(family, task, patch_px)
    out = write_export(model, tmp_path / "out", tuple(FORMATS))
    graph = torch.export.load(out / "model.pt2").module()
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    task = model.generator.task
    names = [layer.name for layer in task.inputs]
    assert [value.name for value in session.get_inputs()] == names
    assert [value.name for value in session.get_outputs()] == [target.name for target in task.targets]
    again = load_trained(out)
    assert again.card == model.card
    unit = model.generator.multiple_px
    for seed in range(4):
        rows, columns = np.random.default_rng(seed).integers(2, 5, 2) * unit
        inputs = real_inputs(model, 1 + seed % 2, rows, columns, corner_px=60 * seed)
        wanted = eager(model, inputs)
        upsampled = model.generator.upsample(inputs)
        for target, found in zip(task.targets, wanted, strict=True):
            assert found.shape[1:] == (len(target.bands), rows, columns)
            # Detail of hundreds of units is there to get wrong.
            assert (found - upsampled[task.inputs.index(target.coarse)]).abs().max() > 50
        with torch.inference_mode():
            estimate = model.generator.estimate(*inputs)
            assert all(map(torch.equal, again.generator.estimate(*inputs), estimate))
        run = graph(*inputs)  # one target is a tensor, several are a tuple
        told = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
        torch.testing.assert_close(estimate, wanted, rtol=0, atol=1e-2)
        torch.testing.assert_close((run,) if len(wanted) == 1 else tuple(run), wanted, rtol=0, atol=1e-2)
        for found, target in zip(told, wanted, strict=True):
            np.testing.assert_allclose(found, target.numpy(), rtol=0, atol=0.05)


def test_a_network_that_needs_a_least_size_is_written_for_sizes_from_there_on(tmp_path: Path) -> None:
    """EFDN, which pools its whole map. `write_export` compares each file with the network."""
    options = parse_model({"family": "efdn", "width": 8}, "a test")
    made = trained(task_by_name("sisr_x2"), 32, options, units="8 bit", degradation="bicubic", level="")
    history = {"name": "small", "training": {"recipe": {}, "environment": {}, "data": None}, "scores": {}}
    captured = torch.__version__ >= (2, 13)  # before, torch.export wants sizes that its pooling divides
    out = write_export(Export(made, history, probes_of(made)), tmp_path / "out", tuple(FORMATS) if captured else None)
    card = json.loads((out / "card.json").read_text())
    written = set(FORMATS.values()) if captured else {FORMATS["safetensors"]}
    assert card["sizes"]["smallest_px"] == 42 and set(card["files"]) == written


def test_the_card_is_in_every_file_and_no_path_of_this_machine(small_model: Make, tmp_path: Path) -> None:
    model = small_model("s2x", "s2x", 16)
    out = write_export(model, tmp_path / "out", None)
    card = json.loads((out / "card.json").read_text())
    assert list(card["files"]) == list(FORMATS.values()) and card["not_written"] == {}
    with safetensors.safe_open(out / "model.safetensors", "pt") as file:
        told = [json.loads(file.metadata()["card"])]
    extra = {"card.json": ""}
    torch.export.load(out / "model.pt2", extra_files=extra)
    graph = onnx.load(out / "model.onnx")
    told += [json.loads(extra["card.json"]), json.loads({p.key: p.value for p in graph.metadata_props}["card"])]
    for inside in told:
        assert inside == {key: card[key] for key in inside}
        assert {"version", "task", "facts", "inputs", "sizes", "degradation_law"} <= inside.keys()
    (output,) = card["outputs"]
    assert (output["bands"], card["sizes"]["smallest_px"], card["sizes"]["halo_px"]) == (
        ["B05", "B06", "B07", "B8A", "B11", "B12"],
        32,
        model.generator.halo_px,
    )
    assert graph.opset_import[0].version == card["files"]["model.onnx"]["opset"]
    sizes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.graph.input]
    assert sizes == [["batch", 4, "16*rows", "16*columns"], ["batch", 6, "8*rows", "8*columns"]]
    assert list(graph.graph.value_info) == []  # sizes between the layers would have other names
    here = str(Path(__file__).resolve().parents[3]).encode()
    for file in out.iterdir():
        assert here not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == (out / "card.json").stat().st_mode & 0o777


def test_a_file_that_computes_something_else_is_an_error_and_no_folder(
    small_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model("dsen2", "s2x", 16)
    correct = exporting.write_safetensors

    def spoilt(path: Path, generator: torch.nn.Module, card_json: str) -> None:
        with torch.no_grad():
            generator.head.bias[3] += 1e-3  # 2 units of reflectance x 10 000
        correct(path, generator, card_json)

    monkeypatch.setattr(exporting, "write_safetensors", spoilt)
    with pytest.raises(ExportError, match=r"model.safetensors: differs .* by 2 "):
        write_export(model, tmp_path / "out", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("off", "accepted"), [(0.0, True), (0.9, True), (1.1, False), (float("nan"), False)])
def test_half_a_dn_is_accepted_and_nothing_more(off: float, accepted: bool) -> None:
    probes = [(torch.zeros(1, 1, 4, 4),), (torch.zeros(2, 1, 4, 4),)]
    wanted = [(x + 100.0, x - 100.0) for (x,) in probes]

    def run(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        right, made = inputs[0] + 100.0, inputs[0] - 100.0
        if len(made) == 1:  # the first probe only, and the last of its targets
            made[0, 0, 2, 3] -= off * TOLERANCE
        return right, made

    if accepted:
        assert check_same(run, probes, wanted, "torch") == pytest.approx(off * TOLERANCE, abs=1e-4)
    else:
        with pytest.raises(ExportError, match="accepted is 0.5"):
            check_same(run, probes, wanted, "torch")


class _LooksAtItsInput(DSen2):
    """DSen2, but a branch depends on the pixels: no graph can hold it."""

    def forward(self, *inputs_BCHW: torch.Tensor) -> Outputs:
        factor = 0.0 if float(inputs_BCHW[0].sum()) < -1e9 else 1.0
        return Outputs(tuple(target * factor for target in super().forward(*inputs_BCHW).targets))


def test_what_no_graph_can_hold_is_left_out_unless_asked_for(
    small_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(exporting.logger, "warning", lambda text, *values: warned.append(text % values))
    model = small_model("dsen2", "s2x", 16)
    model.generator.__class__ = _LooksAtItsInput
    out = write_export(model, tmp_path / "out", None)
    assert {file.name for file in out.iterdir()} == {"model.safetensors", "card.json", "model_card.md"}
    left_out = json.loads((out / "card.json").read_text())["not_written"]
    assert left_out.keys() == {"torch", "onnx"}
    assert all(as_text(why) in (out / "model_card.md").read_text() for why in left_out.values())
    assert [line.split(":")[0] for line in warned] == ["torch is left out", "onnx is left out"]
    for name in ("torch", "onnx"):
        with pytest.raises(NotExpressibleError, match="cannot capture"):
            write_export(model, tmp_path / name, ("safetensors", name))
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_without_its_libraries_onnx_is_left_out_unless_asked_for(
    library: str, small_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    model = small_model("dsen2", "s2x", 16)
    out = write_export(model, tmp_path / "out", None)
    assert not (out / "model.onnx").exists() and (out / "model.pt2").exists()
    assert library in json.loads((out / "card.json").read_text())["not_written"]["onnx"]
    with pytest.raises(MissingComponentError, match=f"{library}.*not installed"):
        write_export(model, tmp_path / "asked", ("onnx",))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_that_is_there_is_never_replaced(small_model: Make, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        write_export(small_model("dsen2", "s2x", 16), tmp_path / "out", ("safetensors",))
    assert list((tmp_path / "out").iterdir()) == []


def test_probes_are_several_windows_of_bright_and_dark_ground(small_model: Make) -> None:
    model = small_model("s2x", "s6x", 12)
    sizes = {tuple(x.shape) for probe in probes_of(model.trained) for x in probe[:1]}
    assert sizes == {(1, 4, 24, 36), (2, 4, 24, 24)}
    for probe in model.probes:
        assert probe[0].min() < 0 and probe[0].max() > 10_000 and probe[0].std() > 500
        for layer, values in zip(model.generator.task.inputs, probe, strict=True):
            assert values.shape[1] == len(layer.bands)
            # One ground: the 20 m and the 60 m layers are means of what the 10 m layer sees, up to gain and offset.
            coarse = torch.nn.functional.avg_pool2d(probe[0][:, :1], layer.stride).flatten()
            assert np.corrcoef(coarse, values[:, 0].flatten())[0, 1] > 0.8
