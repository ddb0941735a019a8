"""A Sentinel-2 product as a source of patches: what it says of itself, its pairs, the ground it must leave alone."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from data_prep.options import PrepareOptions
from data_prep.sources import Source
from hpc_sr.errors import RecipeError
from hpc_sr.sentinel2.bands import MTF_SOURCE, mtf_nyquist
from hpc_sr.sentinel2.degrade import kernel, support_px
from hpc_sr.sentinel2.ground import Ground, ground_of, grown, overlap
from hpc_sr.sentinel2.pairs import Pair, synthesis_pair
from hpc_sr.sentinel2.safe import Product
from hpc_sr.tasks import Task


@dataclass(frozen=True)
class TileSource(ABC):
    """One tile of a product (data_prep.sources.Source). `held_out` is ground of other splits that reaches into it.

    A `part` of a product has a name of its own, and patches within one of its `blocks` only if it has any. `phase` is
    where its pair begins, in rows and columns of the target grid.
    """

    product: Product
    task: Task
    held_out: tuple[Ground, ...] = field(default=(), kw_only=True)
    part: str = field(default="", kw_only=True)
    blocks: tuple[Ground, ...] = field(default=(), kw_only=True)
    phase: tuple[int, int] = field(default=(0, 0), kw_only=True)

    @property
    def name(self) -> str:
        return f"{self.product.name}.{self.part}" if self.part else self.product.name

    @property
    def tile(self) -> str:
        return self.product.tile

    @property
    def date(self) -> str:
        return self.product.sensing_time[:10]

    @property
    def level(self) -> str:
        return self.product.level

    @property
    def size_bytes(self) -> int:
        return sum(self._sizes().values())

    def facts(self) -> dict[str, Any]:
        product = self.product
        return {
            **product.provenance(),
            "offset": product.radiometric_offset,
            "sizes": self._sizes(),
            "special": [product.quantification_value, product.nodata_dn, product.saturated_dn],
            "held_out": [[g.crs, *g.bounds_m] for g in self.held_out],
            **({"blocks": [[g.crs, *g.bounds_m] for g in self.blocks]} if self.blocks else {}),
        }

    def about(self) -> dict[str, Any]:
        if not self.part:
            return dict(self.product.provenance())
        told = {**self.product.provenance(), "product": self.name, "part_of": self.product.name}
        if not self.blocks:
            return told
        bounds_m = [list(ground.bounds_m) for ground in self.blocks]
        return {**told, "blocks": {"crs": self.blocks[0].crs, "bounds_m": bounds_m}}

    def avoiding(self, others: list[TileSource]) -> Self:
        """Return this source, knowing where the others reach into its own ground: neighbouring tiles share 10 km."""
        mine = ground_of(self.product.grids[10])
        grounds = sorted({ground_of(other.product.grids[10]) for other in others}, key=lambda g: (g.crs, g.bounds_m))
        return replace(self, held_out=tuple(g for g in grounds if overlap(mine, g) is not None))

    @abstractmethod
    def pair(self, training: bool) -> Pair: ...

    @abstractmethod
    def _sizes(self) -> dict[str, int]:
        """Return the bytes of the files that are read, by band."""

    def _mask_of(self, grounds: Iterable[Ground], shape: tuple[int, int]) -> np.ndarray:
        """Return the pixels of the pair's target grid that one of the grounds touches."""
        top_px, left_px = self.phase
        mask = np.zeros((top_px + shape[0], left_px + shape[1]), bool)
        grid = self.product.grids[self.task.grid_gsd_m]
        mine = ground_of(self.product.grids[10])
        for ground in grounds:
            shared = overlap(mine, ground)
            assert shared is not None
            left, bottom, right, top = shared
            rows = slice(int((grid.uly_m - top) // grid.gsd_m), int(-(-(grid.uly_m - bottom) // grid.gsd_m)))
            columns = slice(int((left - grid.ulx_m) // grid.gsd_m), int(-(-(right - grid.ulx_m) // grid.gsd_m)))
            mask[rows, columns] = True
        return mask[top_px:, left_px:]


@dataclass(frozen=True)
class ProductSource(TileSource):
    """A tile whose bands are the truth, and whose degraded bands are what is seen of them."""

    options: PrepareOptions

    def pair(self, training: bool) -> Pair:
        """Return layers and marks; for training with jittered MTF, if asked for, and the held-out ground marked."""
        options = self.options
        shift = self._mtf_shift() if training else {}
        limits = options.refuse.limits()
        law, registration_px = options.degradation, options.registration_px
        pair = synthesis_pair(self.product, self.task, law, limits, registration_px, shift, self.phase)
        if options.degradation == "mtf":
            satellite = self.product.satellite
            mtf = {band: round(mtf_nyquist(band, satellite) + shift.get(band, 0.0), 4) for band in self._sizes()}
            pair.found.update(mtf_nyquist=mtf, mtf_source=MTF_SOURCE)
        if (training or self.part) and self.held_out:
            pair.marks["held_out"] = self._mask_of(self.held_out, pair.shape)
        if self.blocks:
            seen_m = self.reach_px() * self.task.grid_gsd_m
            pair.marks["outside_its_blocks"] = ~self._mask_of((grown(b, -seen_m) for b in self.blocks), pair.shape)
        return pair

    def in_phases(self) -> list[ProductSource]:
        """Return the product once for each phase that is asked for; the first begins where the product does."""
        scale, count = self.task.scale, self.options.phases
        if count > scale**2:
            raise RecipeError(
                f"{count} phases are more than the {scale**2} of scale {scale}",
                where="prepare.phases",
                cure=f"ask for {scale**2} or fewer",
            )
        numbers = [number * scale**2 // count for number in range(count)]
        phases = [divmod(number, scale) for number in numbers]
        return [self, *(replace(self, phase=phase, part=f"phase_{phase[0]}_{phase[1]}") for phase in phases[1:])]

    def reach_px(self) -> int:
        """Return how far around a patch its degradation looks, in pixels of the target grid, at most."""
        task, options = self.task, self.options
        reach_px = 0
        for layer in task.layers:
            if (scale := task.training_scale(layer)) > 1:
                shift = dict.fromkeys(layer.bands, -options.mtf_jitter)  # the least sharp looks farthest
                law = kernel(options.degradation, scale, layer.bands, self.product.satellite, shift)
                reach_px = max(reach_px, -(-support_px(law) * layer.stride // scale))
        return reach_px

    def _sizes(self) -> dict[str, int]:
        bands = {band for layer in self.task.layers for band in layer.bands}
        return {band: self.product.source.size(self.product.files[band]) for band in sorted(bands)}

    def _mtf_shift(self) -> dict[str, float]:
        """Return what is added to each band's MTF: drawn by the seed and the product's name."""
        jitter = self.options.mtf_jitter
        if not jitter:
            return {}
        seed = [self.options.seed, *hashlib.sha256(f"mtf {self.name}".encode()).digest()]
        bands = self._sizes()
        return dict(zip(bands, np.random.default_rng(seed).uniform(-jitter, jitter, len(bands)).round(4), strict=True))


def in_phases(assigned: Sequence[tuple[Source, str]]) -> list[tuple[Source, str]]:
    """Return sources and their splits, a product to train on once for each phase. Raises RecipeError."""
    found: list[tuple[Source, str]] = []
    for source, split in assigned:
        if split == "train" and isinstance(source, ProductSource):
            found += [(phase, split) for phase in source.in_phases()]
        else:
            found.append((source, split))
    return found
