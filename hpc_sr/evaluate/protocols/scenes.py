"""One image under a protocol: the reference, and the estimate that every method makes from the same input layers.

synthesis    Wald's protocol: all bands are degraded by the target's scale; the estimate from them is compared with
             the bands as measured
consistency  the estimate from the native bands is degraded and compared with the coarse bands as measured
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hpc_sr.evaluate.methods import Field, Method, baseline_method, by_tiles
from hpc_sr.evaluate.protocols.land_cover import classes_on
from hpc_sr.infer.plan import cores_of
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.super_resolve import predict_native, read_native
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.degrade import degrade, kernel, support_px
from hpc_sr.sentinel2.pairs import synthesis_pair
from hpc_sr.sentinel2.safe import BandReader, Product
from hpc_sr.tasks import REFLECTANCE_ONE, Layer, Task

#: Pixels a side that are scored at a time: whole blocks of NIQE (96) and of power spectra (64).
CORE_PX = 384

#: How far from what was measured nodata is filled for methods without training: farther than any of them looks.
_FILLED_PX = 64


@dataclass(frozen=True)
class Lineup:
    """Who is scored on one target of a task under a degradation: methods without training, then the networks.

    A network may estimate more targets than that one, and sees the inputs of its own task, which are the same.
    """

    task: Task
    degradation: str
    baselines: tuple[str, ...]
    networks: tuple[Predictor, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The methods in the order of tables."""
        return (*self.baselines, *self.named_networks)

    @property
    def named_networks(self) -> dict[str, Predictor]:
        """The networks by family; by run as well where two are of one, by its whole path where runs are named alike."""
        families = Counter(network.card.family for network in self.networks)
        runs = Counter((network.card.family, Path(network.trained.where).name) for network in self.networks)
        found = {}
        for network in self.networks:
            family, where = network.card.family, network.trained.where
            run = Path(where).name if runs[family, Path(where).name] == 1 else where
            found[family if families[family] == 1 else f"{family} {run}"] = network
        return found

    def label(self, protocol: str) -> str:
        """Return what an evaluation is called: the protocol, and the target where a task has several."""
        name = self.task.target.name
        return protocol if name == "target" else f"{protocol}_{name}"

    def methods(self, field: Field, predict: Callable[[Predictor, Area], torch.Tensor]) -> dict[str, Method]:
        """Return every method on the layers of an image; areas are to be asked for row by row.

        `predict` is how a network answers there: it is asked for the windows of its own choice, each once.
        """
        found = {name: baseline_method(name, field) for name in self.baselines}
        for name, network in self.named_networks.items():
            tiles = cores_of([network], field.height, field.width)
            found[name] = by_tiles(partial(self.predicted, predict, network), tiles)
        return found

    def predicted(
        self, predict: Callable[[Predictor, Area], torch.Tensor], network: Predictor, area: Area
    ) -> torch.Tensor:
        """Return the target's bands of what a network estimates."""
        bands = network.generator.task.bands
        first = bands.index(self.task.target.bands[0])
        return predict(network, area)[first : first + len(self.task.target.bands)]


@dataclass(frozen=True)
class Scene:
    """One image under a protocol: its size, its reference with a mask of what is measured, the methods.

    `classes` are the codes of the scene classification on the reference's grid, None where there is none.
    """

    name: str
    provenance: dict[str, str]
    height: int
    width: int
    reference: Callable[[Area], tuple[torch.Tensor, torch.Tensor]]
    methods: dict[str, Method]
    classes: np.ndarray | None
    #: Layers by name that a picture of an area shows besides the methods.
    pictures: Callable[[Area], dict[str, np.ndarray]]
    #: The parts that alone are scored, the first of which is pictured; none: all of it.
    blocks: tuple[Area, ...] = ()


def synthesis_scene(product: Product, reader: BandReader, lineup: Lineup) -> Scene:
    """Return a product under the synthesis protocol."""
    task = lineup.task
    pair = synthesis_pair(product, task, lineup.degradation)
    height, width = pair.shape
    valid = ~pair.unmeasured

    def read(layer: Layer, inside: Area) -> np.ndarray:
        return pair.layers[layer.name][(slice(None), *inside.slices)].astype(np.float32)

    def predict(network: Predictor, area: Area) -> torch.Tensor:
        return network.predict(read, area, height, width)

    def reference(area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(read(task.target, area)), torch.from_numpy(valid[area.slices])

    def pictures(area: Area) -> dict[str, np.ndarray]:
        return {
            "guide": read(task.inputs[0], area),
            "truth": read(task.target, area),
            "input": read(task.target.coarse, area.divided(task.target.coarse.stride)),
        }

    field = Field(task, height, width, read, lineup.degradation, product.satellite)
    classes = scene_classes(reader, task.grid_gsd_m, pair.shape)
    methods = lineup.methods(field, predict)
    return Scene(product.name, product.provenance(), height, width, reference, methods, classes, pictures)


def consistency_scene(product: Product, reader: BandReader, lineup: Lineup) -> Scene:
    """Return a product under the consistency protocol: the target grid is the coarse bands' own."""
    task, native = lineup.task, native_field(reader, lineup)
    grid, scale = product.grids[task.target.gsd_m], task.scale
    law = kernel(lineup.degradation, scale, task.target.bands, product.satellite)
    beyond_px = -(-support_px(law) // scale)

    def coarse(area: Area) -> np.ndarray:
        return measured(reader, task.target.bands, area)

    def reference(area: Area) -> tuple[torch.Tensor, torch.Tensor]:
        values = coarse(area)
        return torch.from_numpy(np.nan_to_num(values)), torch.from_numpy(np.isfinite(values).all(0))

    def seen_coarse(method: Method) -> Method:
        def degraded(area: Area) -> torch.Tensor:
            # Grown only as far as the image goes: there the degradation's own border rule is the whole image's.
            around = area.grown(beyond_px).within(grid.height, grid.width)
            estimate = degrade(method(around.times(scale)).cpu().numpy(), law)
            return torch.from_numpy(estimate[(slice(None), *area.relative_to(around).slices)])

        return degraded

    def pictures(area: Area) -> dict[str, np.ndarray]:
        measured = coarse(area)
        return {"input": measured, "truth": measured}

    methods = lineup.methods(native, native_prediction(reader))
    return Scene(
        product.name,
        product.provenance(),
        grid.height,
        grid.width,
        reference,
        {name: seen_coarse(method) for name, method in methods.items()},
        scene_classes(reader, task.target.gsd_m, (grid.height, grid.width)),
        pictures,
    )


#: What makes a product's scene under each protocol that needs no other image.
STAGES = {"synthesis": synthesis_scene, "consistency": consistency_scene}


def native_field(reader: BandReader, lineup: Lineup) -> Field:
    """Return a product's bands as they were measured, for methods that bring them to 10 m."""
    grid = reader.product.grids[10]

    def read(layer: Layer, area: Area) -> np.ndarray:
        return read_native(reader, layer, area, _FILLED_PX)

    return Field(lineup.task, grid.height, grid.width, read, lineup.degradation, reader.product.satellite)


def native_prediction(reader: BandReader) -> Callable[[Predictor, Area], torch.Tensor]:
    """Return how a network brings a product's bands to 10 m."""

    return lambda network, area: predict_native(network, reader, area)


def measured(reader: BandReader, bands: tuple[str, ...], area: Area) -> np.ndarray:
    """Return bands of one grid in stored units, (C, h, w) float32; NaN where there is no measurement."""
    window = (area.row, area.column, area.height, area.width)
    return np.stack([reader.reflectance(band, window)[0] for band in bands]) * REFLECTANCE_ONE


def scene_classes(reader: BandReader, gsd_m: int, shape: tuple[int, int]) -> np.ndarray | None:
    """Return the classification of level 2A on a grid of the product, None of level 1C."""
    codes = reader.scene_classes()
    return None if codes is None else classes_on(codes, gsd_m, shape)
