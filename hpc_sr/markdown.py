"""Text that somebody else chose, in Markdown: shown as it is, on one line, never taken for markup."""

from __future__ import annotations

_ESCAPED = str.maketrans(
    {"\\": r"\\", "`": r"\`", "*": r"\*", "[": r"\[", "]": r"\]", "|": r"\|", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
)


def as_text(text: str) -> str:
    """Return a text for a line or a cell of Markdown: no HTML, link, code, emphasis, or end of a line or a cell."""
    return " ".join(text.translate(_ESCAPED).split())
