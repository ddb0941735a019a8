"""Everything that can go wrong by somebody's input, one class a kind.

Every error names the file (or key) it is about, the value that was found and the cure, because the person who
reads it sees the last lines of a job log and nothing else. `assert` is kept for this package's own invariants.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class HpcSrError(Exception):
    """The root of all errors that a user can cause and cure.

    `problem` says what was found, with the value; `where` is the file, key or object concerned; `cure` is what to do.
    """

    #: What a process ends with by this error: the same command would fail again.
    exit_code = 2

    def __init__(self, problem: str, *, where: str | Path | None = None, cure: str | None = None):
        self.problem, self.where, self.cure = problem, where, cure
        super().__init__(problem)

    @property
    def finding(self) -> str:
        """Place and problem, without the cure."""
        return self.problem if self.where is None else f"{self.where}: {self.problem}"

    def __str__(self) -> str:
        return f"{self.finding}\n  cure: {self.cure}" if self.cure else self.finding

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.problem, self.where, self.cure)


def _rebuild(kind: type[HpcSrError], problem: str, where: str | Path | None, cure: str | None) -> HpcSrError:
    """Make the error again in another process: ranks send errors to rank 0 as pickles."""
    return kind(problem, where=where, cure=cure)


class RecipeError(HpcSrError):
    """A recipe has an unknown key, a wrong type, or values that contradict each other."""


class ProductError(HpcSrError):
    """A Sentinel-2 product cannot be used."""


class MissingFileError(ProductError):
    """A file that the product's metadata announce is not there."""


class MetadataError(ProductError):
    """A metadata file cannot be parsed or lacks a value that must not be guessed."""


class UnknownSatelliteError(ProductError):
    """The spacecraft is none of those whose bands and MTF are known."""


class UnknownBandError(ProductError):
    """No such band, or the product's level does not have it."""


class RasterError(ProductError):
    """A band file cannot be decoded, is truncated, or does not lie on the grid that the metadata state."""


class ArchiveError(ProductError):
    """A zip cannot be read, or holds what no product does: paths out of it, or far more than its size tells."""


class RepeatedError(ProductError):
    """An acquisition is there twice, under two baselines."""


class RegistrationError(ProductError):
    """The grids of a product do not lie on the same ground."""


class ImageError(HpcSrError):
    """An image cannot be read, or does not fit the others it belongs to."""


class LeakageError(HpcSrError):
    """The same ground, or image, would be in two splits."""


class ShapeError(HpcSrError):
    """An array's size does not fit the operation."""


class StoreError(HpcSrError):
    """A patch store cannot be written or used."""


class ManifestError(StoreError):
    """The manifest of a store is absent, of an unknown version, or does not describe the files beside it."""


class ChecksumError(StoreError):
    """A file's content is not what its recorded checksum says."""


class MixedLevelsError(StoreError):
    """L1C and L2A products meet in one store."""


class NotFiniteError(HpcSrError):
    """Values that are meant to be numbers are NaN or infinite."""


class RunDirectoryError(HpcSrError):
    """A run directory lacks a file that a report or an evaluation needs, or holds one that cannot be read."""


class DegradationError(HpcSrError):
    """Data or weights made with one degradation meet a request for another."""


class LevelError(HpcSrError):
    """A model of one processing level meets a product of the other."""


class CheckpointError(HpcSrError):
    """A checkpoint is absent, torn or unreadable."""


class ArchitectureError(CheckpointError):
    """A checkpoint belongs to another network than the recipe describes."""


class ExportError(HpcSrError):
    """An exported file computes something else than the network it was made of."""


class NotExpressibleError(HpcSrError):
    """A file format cannot hold a network."""


class OutputError(HpcSrError):
    """An output path cannot be written."""


class RegionError(HpcSrError):
    """A region is none, or lies outside the image it is asked of."""


class LaunchError(HpcSrError):
    """The launcher's environment and the communication backend do not fit together."""


class LostRankError(HpcSrError):
    """Other ranks do not come, or have gone."""

    #: The same command may succeed.
    exit_code = 1


class MissingComponentError(HpcSrError):
    """An optional component that this command needs is not installed."""


class TrainingError(HpcSrError):
    """Training cannot go on: the loss is not finite, or the ranks disagree."""
