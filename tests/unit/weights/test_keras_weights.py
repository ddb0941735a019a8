"""Keras weights of DSen2: the generator computes what an independent forward pass over the file's kernels does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from hpc_sr.cli.import_keras import import_keras
from hpc_sr.errors import ArchitectureError, CheckpointError, NotFiniteError, OutputError, RecipeError
from hpc_sr.models.options import DSen2Options
from hpc_sr.sentinel2.degrade import DEGRADATIONS
from hpc_sr.tasks import S2X, S6X, Task
from hpc_sr.weights.card import read_card
from hpc_sr.weights.keras import PUBLISHED_10M, import_dsen2, read_keras_weights
from hpc_sr.weights.trained import load_trained

GDAL_ORDER = (2, 1, 0, 3)  # B4, B3, B2, B8 of B2, B3, B4, B8

Layer = tuple[str, dict[str, np.ndarray]]


def dsen2_layers(channels_in: int, width: int, blocks: int, bands: int, first: int = 1) -> list[Layer]:
    """Return random convolutions with Keras' names, counted from `first` as in a session that made others before."""
    rng = np.random.default_rng(3)
    channels = [channels_in, *[width] * (2 * blocks + 1), bands]
    return [
        (
            f"conv2d_{first + index}",
            {
                "kernel": (rng.normal(size=(3, 3, into, out)) / np.sqrt(5 * into)).astype(np.float32),
                "bias": rng.normal(scale=0.1, size=out).astype(np.float32),
            },
        )
        for index, (into, out) in enumerate(zip(channels[:-1], channels[1:], strict=True))
    ]


def write_keras(path: Path, layers: list[Layer], as_bytes: bool = True, whole_model: bool = False) -> Path:
    """Write what Keras' save_weights writes; layers without weights are listed too. `whole_model` is model.save."""

    def coded(names: list[str]) -> np.ndarray | list[str]:
        return np.array(names, "S") if as_bytes and names else names

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["keras_version"] = "2.1.3"
        listed = [("input_1", {}), ("input_2", {}), ("concatenate_1", {})]
        for name, weights in layers:
            listed += [(name, weights), (name.replace("conv2d", "activation"), {})]
        root.attrs["layer_names"] = coded([name for name, _ in listed])
        for layer, weights in listed:
            group = root.create_group(layer)
            names = [f"{layer}/{part}:0" for part in weights]
            group.attrs["weight_names"] = coded(names)
            for name, values in zip(names, weights.values(), strict=True):
                group[name] = values
    return path


def upsampled(image_HWC: np.ndarray, scale: int) -> np.ndarray:
    """Return the image `scale` times finer: numpy's linear interpolation at the pixel centres, rows then columns."""
    for axis in (0, 1):
        coarse = np.arange(image_HWC.shape[axis]) + 0.5
        fine = (np.arange(scale * image_HWC.shape[axis]) + 0.5) / scale
        image_HWC = np.apply_along_axis(
            lambda line, fine=fine, coarse=coarse: np.interp(fine, coarse, line), axis, image_HWC
        )
    return image_HWC


def convolved(image_HWC: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """Return Keras' Conv2D(padding="same"), straight from its definition over the kernel (3, 3, in, out)."""
    height, width = image_HWC.shape[:2]
    padded = np.pad(image_HWC, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((height, width, weights["bias"].size)) + weights["bias"]
    for row in range(3):
        for column in range(3):
            out += padded[row : row + height, column : column + width] @ weights["kernel"][row, column].astype(float)
    return out


def forward(layers: list[Layer], inputs_HWC: list[np.ndarray], strides: list[int]) -> np.ndarray:
    """Return DSen2's output in stored units, from the paper's description; inputs as they were trained with."""
    fine = [upsampled(x.astype(float) / 2000, stride) for x, stride in zip(inputs_HWC, strides, strict=True)]
    first, *inner, last = (weights for _, weights in layers)
    x = np.maximum(convolved(np.concatenate(fine, axis=2), first), 0)
    for one, two in zip(inner[::2], inner[1::2], strict=True):
        x = x + 0.1 * convolved(np.maximum(convolved(x, one), 0), two)
    return 2000 * (convolved(x, last) + fine[-1])


def crop(shared_data: Path, task: Task, size_px: int) -> list[np.ndarray]:
    """Return real pixels of a task's inputs (H, W, C), bands in our order."""
    scene = np.load(shared_data / "scenes" / "l1c_usa.npz")
    row, column = 60, 120
    cuts = ((scene[f"d{layer.gsd_m}"], layer.stride) for layer in task.inputs)
    return [d[row // s : (row + size_px) // s, column // s : (column + size_px) // s] for d, s in cuts]


def output(folder: Path, inputs_HWC: list[np.ndarray]) -> np.ndarray:
    tensors = [torch.from_numpy(x.astype(np.float32).transpose(2, 0, 1))[None] for x in inputs_HWC]
    with torch.inference_mode():
        (estimate,) = load_trained(folder).generator.estimate(*tensors)
    return estimate[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize(("task", "width", "blocks"), [(S2X, 16, 2), (S2X, 32, 1), (S6X, 16, 3)], ids=str)
def test_the_generator_computes_what_the_files_kernels_say(shared_data, tmp_path, task, width, blocks):
    bands = len(task.target.bands)
    layers = dsen2_layers(sum(len(layer.bands) for layer in task.inputs), width, blocks, bands)
    card = import_dsen2(write_keras(tmp_path / "w.hdf5", layers), tmp_path / "out")
    ours = crop(shared_data, task, 36)
    theirs = [ours[0][..., GDAL_ORDER], *ours[1:]]
    expected = forward(layers, theirs, [layer.stride for layer in task.inputs])
    found = output(tmp_path / "out", ours)
    assert found.shape == (36, 36, bands)
    learnt = expected - upsampled(ours[-1].astype(float), task.scale)
    assert np.abs(learnt).mean() > 100
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert (card.task, card.level, card.step, card.samples) == (task.name, "L1C", 0, 0)
    assert card.patch_px == {"s2x": 32, "s6x": 96}[task.name]
    assert card.degradation == "wald" and card.degradation in DEGRADATIONS
    assert card.model == DSen2Options(family="dsen2", width=width, blocks=blocks, residual_scale=0.1)
    assert card == load_trained(tmp_path / "out").card
    assert card.parameters == sum(values.size for _, weights in layers for values in weights.values())


def test_another_order_of_the_10_m_bands_can_be_told(shared_data, tmp_path):
    layers = dsen2_layers(10, 16, 1, 6)
    file = write_keras(tmp_path / "w.hdf5", layers)
    ours = crop(shared_data, S2X, 24)
    import_dsen2(file, tmp_path / "natural", bands_10m=("B02", "B03", "B04", "B08"))
    import_dsen2(file, tmp_path / "nir_first", bands_10m=("B08", "B02", "B03", "B04"))
    np.testing.assert_allclose(output(tmp_path / "natural", ours), forward(layers, ours, [1, 2]), atol=0.05)
    theirs = [ours[0][..., (3, 0, 1, 2)], ours[1]]
    np.testing.assert_allclose(output(tmp_path / "nir_first", ours), forward(layers, theirs, [1, 2]), atol=0.05)


def test_the_published_order_of_the_10_m_bands_has_red_first(shared_data, tmp_path):
    """GDAL's order, B04 B03 B02 B08, is what the networks were trained with: by default the first kernel follows it."""
    assert PUBLISHED_10M == ("B04", "B03", "B02", "B08")
    layers = dsen2_layers(10, 16, 1, 6)
    import_dsen2(write_keras(tmp_path / "w.hdf5", layers), tmp_path / "published")
    ours = crop(shared_data, S2X, 24)
    theirs = [ours[0][..., (2, 1, 0, 3)], ours[1]]
    np.testing.assert_allclose(output(tmp_path / "published", ours), forward(layers, theirs, [1, 2]), atol=0.05)


@pytest.mark.parametrize("scene", ["l1c_malmo_T33UUB", "l1c_usa", "l1c_australia", "l1c_iceland"])
def test_scenes_in_our_order_have_blue_first(shared_data, scene):
    """The aerosol band follows blue best: a scene whose channels are in the published order is told by it."""
    arrays = np.load(shared_data / "scenes" / f"{scene}.npz")
    height, width, aerosol = *arrays["d60"].shape[:2], arrays["d60"][..., 0]
    coarse = arrays["d10"].reshape(height, 6, width, 6, 4).mean((1, 3))

    def bluest(channels: np.ndarray) -> int:
        return int(np.argmax([np.corrcoef(channels[..., k].ravel(), aerosol.ravel())[0, 1] for k in range(3)]))

    assert bluest(coarse) == 0
    assert bluest(coarse[..., (2, 1, 0, 3)]) == 2


@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "str"])
@pytest.mark.parametrize("whole_model", [True, False], ids=["model", "weights"])
def test_names_as_bytes_or_text_and_a_saved_model_read_alike(tmp_path, as_bytes, whole_model):
    layers = dsen2_layers(10, 16, 1, 6)
    weights = read_keras_weights(write_keras(tmp_path / "w.hdf5", layers, as_bytes, whole_model))
    assert list(weights) == [f"{name}/{name}/{part}" for name, parts in layers for part in ("kernel", "bias")]
    for name, parts in layers:
        np.testing.assert_array_equal(weights[f"{name}/{name}/kernel"], parts["kernel"])


def test_layers_count_in_the_files_order_not_by_their_numbers(tmp_path):
    """In a session that made other networks before, names go from 98 to 103: as text, 100 comes before 98."""
    layers = dsen2_layers(10, 16, 2, 6, first=98)
    import_dsen2(write_keras(tmp_path / "w.hdf5", layers), tmp_path / "out")
    tensors = load_trained(tmp_path / "out").generator.state_dict()
    for name, (_, weights) in zip(("trunk.0.first", "trunk.0.second", "trunk.1.first"), layers[1:4], strict=True):
        np.testing.assert_array_equal(tensors[f"{name}.weight"], weights["kernel"].transpose(3, 2, 0, 1))
        np.testing.assert_array_equal(tensors[f"{name}.bias"], weights["bias"])


def test_layers_listed_in_no_order_are_taken_by_number(tmp_path):
    layers = dsen2_layers(10, 16, 2, 6, first=8)
    import_dsen2(write_keras(tmp_path / "a.hdf5", layers), tmp_path / "a")
    import_dsen2(write_keras(tmp_path / "b.hdf5", [layers[5], *layers[1:5][::-1], layers[0]]), tmp_path / "b")
    one, other = (load_trained(tmp_path / name).generator.state_dict() for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_shuffled_kernels_give_another_network(shared_data, tmp_path):
    layers = dsen2_layers(10, 16, 2, 6)
    swapped = [*layers[:2], layers[3], layers[2], *layers[4:]]
    import_dsen2(write_keras(tmp_path / "w.hdf5", swapped), tmp_path / "out")
    ours = crop(shared_data, S2X, 24)
    expected = forward(layers, [ours[0][..., GDAL_ORDER], ours[1]], [1, 2])
    assert np.abs(output(tmp_path / "out", ours) - expected).max() > 1


@pytest.mark.parametrize(
    ("channels_in", "width", "blocks", "bands", "parameters"), [(10, 128, 6, 6, 1_789_574), (12, 128, 6, 2, 1_787_266)]
)
def test_the_published_sizes_have_the_published_parameters(tmp_path, channels_in, width, blocks, bands, parameters):
    layers = dsen2_layers(channels_in, width, blocks, bands)
    assert import_dsen2(write_keras(tmp_path / "w.hdf5", layers), tmp_path / "out").parameters == parameters


def replaced(layers: list[Layer], index: int, **parts: np.ndarray) -> list[Layer]:
    return [(name, weights | parts if at == index else weights) for at, (name, weights) in enumerate(layers)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers[:-2] + layers[-1:], "5 convolutions"),
        (lambda layers: replaced(layers, 5, kernel=np.zeros((5, 5, 16, 6), np.float32)), r"\(5, 5, 16, 6\)"),
        (lambda layers: replaced(layers, 0, kernel=np.zeros((3, 3, 7, 16), np.float32)), "7 input bands"),
        (lambda layers: replaced(layers, 2, kernel=np.zeros((3, 3, 16, 32), np.float32)), r"16, 32\) inside"),
        (lambda layers: replaced(layers, 5, kernel=np.zeros((3, 3, 16, 2), np.float32)), r"last kernel .*16, 2\)"),
        (lambda layers: replaced(layers, 1, bias=np.zeros(8, np.float32)), r"bias of shape \(8,\)"),
        (lambda layers: replaced(layers, 1, gamma=np.zeros(16, np.float32)), "conv2d_2/conv2d_2 holds bias, gamma"),
        (lambda layers: [], "0 convolutions"),
    ],
)
def test_another_network_is_refused_by_what_differs(tmp_path, change, message):
    file = write_keras(tmp_path / "w.hdf5", change(dsen2_layers(10, 16, 2, 6)))
    with pytest.raises(ArchitectureError, match=message) as caught:
        import_dsen2(file, tmp_path / "out")
    assert caught.value.where == file
    assert not (tmp_path / "out").exists()


def test_a_weight_that_is_no_number_is_refused(tmp_path):
    bias = np.full(16, np.nan, np.float32)
    file = write_keras(tmp_path / "w.hdf5", replaced(dsen2_layers(10, 16, 2, 6), 3, bias=bias))
    with pytest.raises(NotFiniteError, match="conv2d_4"):
        import_dsen2(file, tmp_path / "out")


def test_what_is_no_keras_file_is_refused(tmp_path):
    (tmp_path / "text.hdf5").write_text("not HDF5")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_keras_weights(tmp_path / "text.hdf5")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_keras_weights(tmp_path / "absent.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="layer_names"):
        read_keras_weights(tmp_path / "other.hdf5")


def test_a_torn_file_and_an_announced_weight_that_is_not_there_are_refused(tmp_path):
    file = write_keras(tmp_path / "w.hdf5", dsen2_layers(10, 16, 1, 6))
    whole = file.read_bytes()
    (tmp_path / "torn.hdf5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        import_dsen2(tmp_path / "torn.hdf5", tmp_path / "out")
    with h5py.File(file, "r+") as opened:
        del opened["conv2d_2/conv2d_2/bias:0"]
    with pytest.raises(CheckpointError, match="bias"):
        import_dsen2(file, tmp_path / "out")


def test_the_folder_is_whole_or_absent(tmp_path, monkeypatch):
    file = write_keras(tmp_path / "w.hdf5", dsen2_layers(10, 16, 1, 6))

    def full_disk(folder: Path, *_: object) -> None:
        (folder / "card.json").write_text("{")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hpc_sr.weights.folder.save_generator", full_disk)
        with pytest.raises(OutputError, match="No space"):
            import_dsen2(file, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["w.hdf5"]
    import_dsen2(file, tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        import_dsen2(file, tmp_path / "out")
    assert load_trained(tmp_path / "out").card.family == "dsen2"


@pytest.mark.parametrize("order", [("B02", "B03", "B04"), ("B04", "B04", "B02", "B08"), ("B4", "B3", "B2", "B8")])
def test_an_order_that_is_none_is_refused(tmp_path, order):
    with pytest.raises(RecipeError, match="no order"):
        import_dsen2(tmp_path / "w.hdf5", tmp_path / "out", bands_10m=order)


def test_the_verb_writes_the_folder_and_says_what_it_is(tmp_path):
    app = Typer()
    app.command()(import_keras)
    file = write_keras(tmp_path / "w.hdf5", dsen2_layers(12, 16, 1, 2))
    said = CliRunner().invoke(app, [str(file), str(tmp_path / "out"), "--level", "L2A"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "dsen2 for s6x, 16 channels, 1 blocks" in said.output
    assert read_card(tmp_path / "out").level == "L2A"
    import_dsen2(file, tmp_path / "same")
    other = [str(file), str(tmp_path / "other"), "--bands-10m", "B02,B03,B04,B08"]
    assert CliRunner().invoke(app, other, catch_exceptions=False).exit_code == 0
    told, same, changed = (load_trained(tmp_path / name).generator.first.weight for name in ("out", "same", "other"))
    assert torch.equal(told, same)
    assert torch.equal(told[:, [2, 1, 0, 3]], changed[:, :4])
