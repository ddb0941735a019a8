"""Which pixels a pixel depends on, layer by layer back from the result: of networks whose grids make it uneven.

A span is the first and the last of the pixels along an axis. Each function returns the span of a layer's input that a
span of its output depends on.
"""

from __future__ import annotations

from collections.abc import Callable

Span = tuple[int, int]


def around(span: Span, px: int) -> Span:
    """Return the input of a kernel that looks so far on either side."""
    return span[0] - px, span[1] + px


def coarser(span: Span, factor: int) -> Span:
    """Return the input of a pixel shuffle, or of whatever makes pixels of the one that they lie in."""
    return span[0] // factor, span[1] // factor


def before_subpixel(span: Span, factors: tuple[int, ...]) -> Span:
    """Return the input of sub-pixel convolutions of 3 pixels, one for each factor."""
    for factor in reversed(factors):
        span = around(coarser(span, factor), 1)
    return span


def within_windows(span: Span, size: int, shift: int = 0) -> Span:
    """Return the input of what mixes all of a window of `size`; the windows begin at multiples of it less `shift`."""
    first, last = ((place + shift) // size * size - shift for place in span)
    return first, last + size - 1


def pooled(span: Span, size: int) -> Span:
    """Return the input of a pooling of `size` x `size` pixels."""
    return size * span[0], size * span[1] + size - 1


def strided(span: Span, kernel: int, stride: int, padding: int) -> Span:
    """Return the input of a strided convolution."""
    return stride * span[0] - padding, stride * span[1] - padding + kernel - 1


def transposed(span: Span, kernel: int, stride: int, padding: int) -> Span:
    """Return the input of a transposed convolution."""
    return -((kernel - 1 - span[0] - padding) // stride), (span[1] + padding) // stride


def both(span: Span, other: Span) -> Span:
    """Return all that lies in either, and between them."""
    return min(span[0], other[0]), max(span[1], other[1])


def farthest_px(seen: Callable[[Span], Span], scale: int, period_px: int) -> int:
    """Return how many target pixels lie at most between an output pixel and one that it depends on.

    `seen` returns the span of the given picture for one of the result. Where a pixel lies among `period_px` decides it.
    """
    spans = [(place, *seen((place, place))) for place in range(period_px)]
    return max(max(place - (first * scale + scale - 1), last * scale - place) for place, first, last in spans)
