"""The `comm` section of a recipe: which backend, and how gradients are exchanged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_sr.config import Section

Backend = Literal["auto", "serial", "horovod", "ddp"]


class CommOptions(Section):
    """How ranks talk. `auto` follows the launcher, so a recipe need not change with it.

    * `stall_s`: a collective that some ranks do not join within this time ends the run.
    * `bucket_mb`: gradients are exchanged in portions of about so many MiB (1 or more), while the rest is computed.
    * `compression: fp16`: gradients travel as half precision; loss scaling keeps them in its range.
    * `reduction: adasum` (Horovod over MPI): updates of ranks are combined by the angle between them (Maleki et al.
      2021) inside the optimizer's step. `.grad` then stays the rank's own, so nothing may look at it before the step.
    * `cycle_time_ms` (Horovod): how often its thread looks for gradients; its own default is 1.
    * `autotune` (Horovod): it searches sizes of portions and the cycle time by itself in the first steps; the order
      of additions then changes, so two runs do not have the same bits.
    * `static_graph` (ddp): every step uses the same parameters in the same order; not for adversarial training.

    A world of one exchanges nothing and takes any of them.
    """

    backend: Backend = "auto"
    stall_s: Annotated[float, Field(ge=1e-3, le=10**7)] = 600
    bucket_mb: Annotated[float, Field(ge=1, le=10**6)] = 25
    compression: Literal["none", "fp16"] = "none"
    reduction: Literal["mean", "adasum"] = "mean"
    cycle_time_ms: Annotated[float, Field(ge=1e-3, le=10**6)] | None = None
    autotune: bool = False
    static_graph: bool = False

    @model_validator(mode="after")
    def _go_together(self) -> CommOptions:
        if self.reduction == "adasum" and self.compression != "none":
            raise ValueError("comm.reduction=adasum exchanges updates, which underflow as fp16: compression=none")
        if self.static_graph and self.horovods_own:
            raise ValueError(f"comm.static_graph is ddp's, comm.{self.horovods_own[0]} is Horovod's: choose one")
        return self

    @property
    def horovods_own(self) -> tuple[str, ...]:
        """The options given that only Horovod has."""
        given = {
            "reduction": self.reduction == "adasum",
            "cycle_time_ms": self.cycle_time_ms is not None,
            "autotune": self.autotune,
        }
        return tuple(name for name, is_given in given.items() if is_given)
