"""How far an output pixel looks, in target pixels: what tiling asks of a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """How far an output pixel looks, in three steps from the output back to the inputs.

    It depends on features up to `after_px` from it. With attention, these depend on all features of the attention
    windows that they lie in, `window_px` a side (None: no attention). Features depend on inputs up to `before_px`
    farther.
    """

    before_px: int
    after_px: int
    window_px: int | None = None

    def over(self, base_px: int, projection_px: int = 0) -> Reach:
        """Return the reach of a network that is added to a base, the sum then back-projected.

        The base looks at inputs up to `base_px` from its pixel; the projection at the sum up to `projection_px`.
        """
        beyond_px = max(self.before_px, base_px - self.after_px)
        return Reach(beyond_px, self.after_px + projection_px, self.window_px)

    def halo_px(self, multiple_px: int) -> int:
        """Return, in whole multiples, how far from an output pixel an input can matter."""
        # One pixel into the next window makes all of that window matter.
        farthest_px = self.before_px + self.after_px + (self.window_px or 0)
        return -(-farthest_px // multiple_px) * multiple_px
