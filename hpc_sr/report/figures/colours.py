"""One colour for each method, the same in every figure; people with any kind of colour vision tell them apart.

Any two of the eleven colours differ by 14 or more (CIEDE2000), with normal vision and with each of the three kinds of
dichromacy (Machado et al. 2009).
"""

from __future__ import annotations

from hpc_sr.report.figures.course import BASELINE, OURS

_KNOWN = {
    "nearest": "#b4bac0",
    "bilinear": "#767676",
    "bicubic": BASELINE,
    "guided": "#f5b04f",
    "atprk": "#3a1fa0",
    "supreme": "#35b0f0",
}
_FURTHER = ("#894eff", "#7a2a00", "#769d76", "#33262a")

#: Methods that need no training; all others are networks or somebody else's.
CLASSICAL = tuple(_KNOWN)


def method_colours(methods: list[str], networks: list[str]) -> dict[str, str]:
    """Return {method: colour}. Classical methods keep theirs, the first of the `networks` is always OURS.

    Other methods get the colours that are left, in their order, over again where there are not enough.
    """
    first = [name for name in networks if name in methods][:1]
    fixed = {method: _KNOWN[method] for method in methods if method in _KNOWN} | dict.fromkeys(first, OURS)
    left = [colour for colour in (*_FURTHER, *reversed(_KNOWN.values())) if colour not in fixed.values()]
    others = [method for method in methods if method not in fixed]
    colours = fixed | {method: left[index % len(left)] for index, method in enumerate(others)}
    return {method: colours[method] for method in methods}
