"""Decoding ahead of the network: bands in strips of whole JPEG2000 tiles, each decoded once, in threads of their own.

Memory: of each band the strips that windows in flight touch and the next one. Windows that come in rows, top down,
touch two; a 10 m strip of a full tile is 22.5 MB, a 20 m strip 7 MB: about 400 MB for twelve bands.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from types import TracebackType

import numpy as np

from hpc_sr.infer.images import Image, OpenBand
from hpc_sr.infer.windows import Area
from hpc_sr.sentinel2.bands import band


class Strips:
    """The DN of an image's bands within `limits` (10 m pixels, on multiples of 60 m). Use as a context manager.

    `dn` may be called from several threads. `decoding_s` adds up the seconds of all decoding threads.
    """

    def __init__(self, image: Image, limits: Area, threads: int):
        self._image, self._limits = image, limits
        self._pool = ThreadPoolExecutor(threads, "decode")
        self._lock = Lock()
        self._open: dict[str, OpenBand] = {}
        self._one_at_a_time: dict[str, Lock] = {}
        self._strips: dict[tuple[str, int], Future[np.ndarray]] = {}
        self.decoding_s = 0.0

    def __enter__(self) -> Strips:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        for opened in self._open.values():
            opened.close()

    def ask(self, name: str, area: Area) -> None:
        """Have an area of a band decoded, without waiting for it: bands that are asked for come side by side."""
        rows = self._band(name).strip_rows
        for index in range(area.row // rows, -(-(area.row + area.height) // rows)):
            self._strip(name, index)

    def dn(self, name: str, area: Area) -> np.ndarray:
        """Return the DN (H, W) of an area of the band's own grid. Raises what reading the band raises."""
        rows, inside = self._band(name).strip_rows, self._extent(name)
        assert area.within(inside.row + inside.height, inside.column + inside.width) == area, (name, area, inside)
        parts = []
        for index in range(area.row // rows, -(-(area.row + area.height) // rows)):
            first, last = max(area.row, index * rows), min(area.row + area.height, (index + 1) * rows)
            top = max(index * rows, inside.row)
            strip = self._strip(name, index).result()
            left = area.column - inside.column
            parts.append(strip[first - top : last - top, left : left + area.width])
        if (index + 1) * rows < inside.row + inside.height:
            self._strip(name, index + 1)  # decoded while the windows of this one are predicted
        return np.concatenate(parts)

    def forget_above(self, row_10m: int) -> None:
        """Drop strips that end above a row: no window to come looks at them."""
        with self._lock:
            for name, index in list(self._strips):
                stride = band(name).gsd_m // 10
                if (index + 1) * self._open[name].strip_rows * stride <= row_10m:
                    del self._strips[name, index]

    def _strip(self, name: str, index: int) -> Future[np.ndarray]:
        with self._lock:
            if (name, index) not in self._strips:
                self._strips[name, index] = self._pool.submit(self._decode, name, index)
            return self._strips[name, index]

    def _decode(self, name: str, index: int) -> np.ndarray:
        opened, inside = self._open[name], self._extent(name)
        rows = Area(index * opened.strip_rows, inside.column, opened.strip_rows, inside.width)
        top, bottom = max(rows.row, inside.row), min(rows.row + rows.height, inside.row + inside.height)
        with self._one_at_a_time[name]:
            began = time.perf_counter()
            dn = opened.read(Area(top, inside.column, bottom - top, inside.width))
            took_s = time.perf_counter() - began
        with self._lock:
            self.decoding_s += took_s
        return dn

    def _band(self, name: str) -> OpenBand:
        with self._lock:
            if name not in self._open:
                self._open[name], self._one_at_a_time[name] = self._image.open(name), Lock()
            return self._open[name]

    def _extent(self, name: str) -> Area:
        """Return the limits on the band's own grid."""
        gsd_m = band(name).gsd_m
        grid = self._image.grids[gsd_m]
        return self._limits.aligned(gsd_m // 10).divided(gsd_m // 10).within(grid.height, grid.width)
