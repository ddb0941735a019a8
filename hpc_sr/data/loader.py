"""Batches for one rank: its share of the global stream, read ahead by a thread.

A thread suffices: reading is numpy copying from mapped pages, which releases the interpreter's lock, and nothing is
forked under MPI. The global batch at stream position p holds the samples p .. p + global_batch_size; rank r takes
every world_size-th of them from r on, so the union over ranks is the same for any number of ranks.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import torch

from hpc_sr.data.augment import dihedral
from hpc_sr.data.dataset import Patches
from hpc_sr.data.on_device import PatchesOnDevice
from hpc_sr.data.order import SampleStream
from hpc_sr.errors import ShapeError
from hpc_sr.tasks import Units


@dataclass(frozen=True)
class Batch:
    """Layers by name, (B, C, H, W) int16 in stored units; each sample's index, dihedral code and place in the stream.

    `draws` are what a sample's random numbers are made of (models/draws.py), the same on any number of ranks.
    `samples` counts the samples of all ranks up to and including this batch.
    """

    layers: dict[str, torch.Tensor]
    indices: torch.Tensor
    codes: torch.Tensor
    draws: torch.Tensor
    places: torch.Tensor
    samples: int

    def to(self, device: torch.device) -> Batch:
        """Return the batch on the device; asynchronous from pinned memory."""
        return self._each(lambda values: values.to(device, non_blocking=True))

    def in_network_units(self, units: Units, augment: bool) -> Batch:
        """Return the batch with float32 layers in network units, each sample turned by its code if asked for."""
        layers = self.layers
        if augment:
            layers = {name: dihedral(values, self.codes) for name, values in layers.items()}
        return replace(self, layers={name: units.to_network(values.float()) for name, values in layers.items()})

    def in_stream_order(self) -> Batch:
        """Return the batch as the stream has it, not as it is read.

        Its k-th part of n is then, over all ranks, the k-th part of the global batch, on any number of ranks.
        """
        order = self.places.argsort()
        return self._each(lambda values: values[order])

    def split(self, parts: int) -> list[Batch]:
        """Return the batch in so many equal parts, in order; `samples` stays that of the whole.

        Raises ShapeError if they cannot be equal: the mean of their means would not be that of the batch.
        """
        if parts == 1:
            return [self]
        if parts < 1 or len(self.codes) % parts:
            raise ShapeError(
                f"a batch of {len(self.codes)} cannot be split into {parts} equal parts",
                where="Batch.split",
                cure="give a number of parts that divides it",
            )
        size = len(self.codes) // parts
        return [self._each(itemgetter(slice(k * size, (k + 1) * size))) for k in range(parts)]

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return Batch(
            {name: change(values) for name, values in self.layers.items()},
            change(self.indices),
            change(self.codes),
            change(self.draws),
            change(self.places),
            self.samples,
        )


def arriving_on(device: torch.device, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches on the device; to a GPU the next one travels while the present one is worked on."""
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            travelling = batch.to(device), stream.record_event()
        if ahead is not None:
            yield _arrived(*ahead, device)
        ahead = travelling


def _arrived(batch: Batch, there: torch.cuda.Event, device: torch.device) -> Batch:
    """Make the device's work wait for the batch, and keep its memory from being reused before that work is done."""
    present = torch.cuda.current_stream(device)
    present.wait_event(there)
    for tensor in (*batch.layers.values(), batch.indices, batch.codes, batch.draws, batch.places):
        tensor.record_stream(present)
    return batch


class Loader:
    """Endless batches of a training split."""

    def __init__(
        self,
        patches: Patches | PatchesOnDevice,
        *,
        rank: int,
        world_size: int,
        batch_size_per_rank: int,
        seed: int,
        pin_memory: bool = False,
        read_ahead: int = 4,
    ):
        self._patches, self._rank, self._world_size = patches, rank, world_size
        self._global_batch_size = batch_size_per_rank * world_size
        self._seed, self._pin_memory, self._read_ahead = seed, pin_memory, read_ahead

    def batches(self, start: int) -> Generator[Batch, None, None]:
        """Yield batches from stream position `start` (samples of all ranks) on; closing the generator ends it."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(self._read_ahead)
        stopped = threading.Event()
        reader = threading.Thread(target=self._read, args=(start, ready, stopped), daemon=True, name="loader")
        reader.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()
            reader.join()

    def _read(self, position: int, ready: queue.Queue[Batch | BaseException], stopped: threading.Event) -> None:
        stream = SampleStream(self._patches.rows_per_shard, self._seed)
        item: Batch | BaseException
        while not stopped.is_set():
            try:
                item = self._batch(stream, position)
            except Exception as error:  # handed to the consumer, which raises it
                item = error
            position += self._global_batch_size
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue

    def _batch(self, stream: SampleStream, position: int) -> Batch:
        taken = stream.take(position, self._global_batch_size)
        mine = [values[self._rank :: self._world_size] for values in taken]
        ascending = np.argsort(mine[0], kind="stable")
        indices, codes, draws = (torch.from_numpy(values[ascending]) for values in mine)
        layers = {name: torch.as_tensor(values) for name, values in self._patches.take(indices.numpy()).items()}
        places = torch.from_numpy(position + self._rank + self._world_size * ascending)
        batch = Batch(layers, indices, codes, draws, places, samples=position + self._global_batch_size)
        return batch._each(_pinned) if self._pin_memory else batch


def _pinned(values: torch.Tensor) -> torch.Tensor:
    return values.pin_memory() if values.device.type == "cpu" else values
