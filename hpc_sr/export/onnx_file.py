"""A captured graph as ONNX.

Opset 18 is what runtimes of the last years read. It has no fused attention: a runtime may write out the map of each
window, positions x positions (after pooling) float32 numbers.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.export import ExportedProgram

from hpc_sr.errors import MissingComponentError, NotExpressibleError
from hpc_sr.export.graphs import Run, first_line
from hpc_sr.tasks import Task

OPSET = 18

_CURE = "pip install 'hpc_sr[onnx]'"


def write_onnx(path: Path, program: ExportedProgram, task: Task, multiple_px: int, card_json: str) -> None:
    """Write a captured graph as ONNX: inputs and outputs named as the task's layers, sizes free.

    The card is in the metadata as `card`. Raises MissingComponentError without the libraries,
    NotExpressibleError if the graph has no counterpart.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 torch's exporter needs it and would tell by an error of its own
    except ImportError as error:
        raise MissingComponentError(f"ONNX needs {error.name}, which is not installed", cure=_CURE) from error
    names, results = [layer.name for layer in task.inputs], output_names(task)
    try:
        with _quiet():
            made = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, input_names=names, output_names=results, verbose=False
            )
    except Exception as error:  # whatever a pass of the exporter stumbles over
        raise NotExpressibleError(
            f"cannot be told in ONNX ({first_line(error)})", cure="export it as torch or safetensors"
        ) from error
    assert made is not None, "dynamo=True returns a program"
    model = made.model_proto
    # Sizes have the names of the compiler's symbols.
    del model.graph.value_info[:]
    strides = [layer.stride for layer in task.inputs]
    for value, stride in zip([*model.graph.input, *model.graph.output], [*strides, *(1 for _ in results)], strict=True):
        unit = multiple_px // stride
        dimensions = value.type.tensor_type.shape.dim
        dimensions[0].dim_param = "batch"
        dimensions[2].dim_param, dimensions[3].dim_param = f"{unit}*rows", f"{unit}*columns"
    onnx.helper.set_model_props(model, {"card": card_json})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def open_onnx(path: Path, task: Task) -> Run:
    """Return the network in an ONNX file, run by onnxruntime on the CPU. Raises MissingComponentError without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingComponentError(f"ONNX needs {error.name}, which is not installed", cure=_CURE) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        feed = {layer.name: values.numpy() for layer, values in zip(task.inputs, inputs, strict=True)}
        results = session.run(output_names(task), feed)
        return tuple(torch.from_numpy(values) for values in results)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from listing optional libraries that are not there, and what will change in later torches."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def output_names(task: Task) -> list[str]:
    """Return the targets' names; that of an input, as an autoencoder has it, is told from it."""
    inputs = {layer.name for layer in task.inputs}
    return [f"{target.name}_estimate" if target.name in inputs else target.name for target in task.targets]
