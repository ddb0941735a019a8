"""The outer structure of a JPEG2000 file: is it whole, which of its tiles hold the same bytes. Nothing is decoded.

Decoders accept files that were cut or filled up with zeros. Each tile-part tells its own length, so a whole file is a
chain that leads from the first tile-part exactly to the end marker (ISO/IEC 15444-1, annexes A and I).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import BinaryIO

_JP2_SIGNATURE = bytes.fromhex("0000000c6a5020200d0a870a")
#: Boxes, segments of the main header, tile-parts: real files have a few hundred. Tiles are numbered in 16 bits.
_MOST_PIECES, _MOST_TILES = 100_000, 65_535
#: The least that a tile-part takes: its own header and the marker before its packets.
_LEAST_PART_BYTES = 14
_SOC, _SIZ, _SOT, _EOC, _PPM = b"\xff\x4f", b"\xff\x51", b"\xff\x90", b"\xff\xd9", b"\xff\x60"


@dataclass(frozen=True)
class TilePart:
    """A tile-part: the tile's number (row by row), where its content starts in the file, and how long that is."""

    tile: int
    start: int
    length: int


@dataclass(frozen=True)
class Codestream:
    """The size of the image and of a tile in pixels, and the tile-parts in file order."""

    height: int
    width: int
    tile_height: int
    tile_width: int
    parts: tuple[TilePart, ...]

    def tile_boxes(self) -> list[tuple[int, int, int, int]]:
        """Return each tile's (row, column, height, width)."""
        return [
            (row, column, min(self.tile_height, self.height - row), min(self.tile_width, self.width - column))
            for row in range(0, self.height, self.tile_height)
            for column in range(0, self.width, self.tile_width)
        ]


def is_jpeg2000(stream: BinaryIO) -> bool:
    """Tell whether a file says it is a JP2, or a codestream without boxes around it."""
    stream.seek(0)
    return stream.read(len(_JP2_SIGNATURE)).startswith((_JP2_SIGNATURE, _SOC + _SIZ))


def read_codestream(stream: BinaryIO) -> Codestream | None:
    """Return the structure of a JPEG2000 file, or None if it breaks off or does not add up."""
    size = stream.seek(0, 2)
    position = stream.seek(0)
    if stream.read(2) == _SOC:
        return _walk(stream, 0, size)
    for _ in range(_MOST_PIECES):
        if position >= size:
            break
        length, kind, header = _box(stream, position)
        end = position + length if length else size
        if kind == b"jp2c":
            return _walk(stream, position + header, min(end, size)) if end <= size else None
        if length and length < 8:
            return None
        position = end
    return None


def tile_digests(stream: BinaryIO, codestream: Codestream) -> list[bytes]:
    """Return a digest of each tile's content: its coding parameters and its packets, without its number."""
    digests = [hashlib.blake2b(digest_size=16) for _ in codestream.tile_boxes()]
    for part in codestream.parts:
        stream.seek(part.start)
        digests[part.tile].update(stream.read(part.length))
    return [digest.digest() for digest in digests]


def _box(stream: BinaryIO, position: int) -> tuple[int, bytes, int]:
    """Return a box's length (0: to the end of the file), kind and size of its own header."""
    stream.seek(position)
    head = stream.read(16).ljust(16, b"\0")
    length, kind = int.from_bytes(head[:4], "big"), head[4:8]
    return (int.from_bytes(head[8:16], "big"), kind, 16) if length == 1 else (length, kind, 8)


def _walk(stream: BinaryIO, start: int, end: int) -> Codestream | None:
    stream.seek(start)
    if stream.read(2) != _SOC:
        return None
    position, sizes = start + 2, None
    for _ in range(_MOST_PIECES):
        if position + 4 > end:
            break
        stream.seek(position)
        marker, length = stream.read(2), int.from_bytes(stream.read(2), "big")
        if marker == _SOT:
            break
        # Packet headers in the main header (PPM) tie tiles together; no product has them.
        if marker == _PPM or marker[0] != 0xFF or length < 2:
            return None
        if marker == _SIZ:
            sizes = struct.unpack(">HIIIIIIII", stream.read(34))[1:]
        position += 2 + length
    if sizes is None:
        return None
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = sizes
    if any((left, top, tile_left, tile_top)) or not (width and height and tile_width and tile_height):
        return None
    count = -(-width // tile_width) * -(-height // tile_height)
    # What is made room for is bounded by what the file can hold, not by what its header says.
    if count > min(_MOST_TILES, (end - start) // _LEAST_PART_BYTES):
        return None
    parts = []
    for _ in range(_MOST_PIECES):
        if position + 12 > end:
            break
        stream.seek(position)
        marker, _, tile, length = struct.unpack(">2sHHI", stream.read(10))
        if marker != _SOT:
            break
        stop = position + length if length else end - 2
        if stop > end - 2 or stop < position + 12 or tile >= count:
            return None
        parts.append(TilePart(tile, position + 12, stop - position - 12))
        position = stop
    stream.seek(position)
    whole = stream.read(2) == _EOC and {part.tile for part in parts} == set(range(count))
    return Codestream(height, width, tile_height, tile_width, tuple(parts)) if whole else None
