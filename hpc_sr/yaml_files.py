"""YAML files and values become plain mappings, within limits: no file of it can hang, swell or surprise.

YAML 1.2 numbers (`1e-4`) are numbers here. A mapping may lie over that of another file, which its key `base` names.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from hpc_sr.disk import read_file
from hpc_sr.errors import RecipeError

#: A recipe that lists every product of a continent has a tenth of it.
_MOST_BYTES = 4 << 20
#: Values and letters in a file, those that an alias repeats counted each time, and how deep values lie in each other.
_MOST_VALUES, _MOST_LETTERS, _MOST_DEPTH = 200_000, 4 * _MOST_BYTES, 30
_MOST_DIGITS = 400


class _StrictLoader(yaml.SafeLoader):
    """YAML with 1.2 floats, keys that are words, and none of them given twice."""


# PyYAML follows YAML 1.1, where `1e-4` is a string because it has no dot.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping_of_words(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        problem = None
        if isinstance(key, dict):
            problem = "{{...}} is a place to fill in: write what belongs there"
        elif not isinstance(key, str):
            problem = f"the key {_short(key)} is no word"
        elif key in mapping:
            problem = f"the key {key!r} is given twice"
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _short_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > _MOST_DIGITS:
        problem = f"an integer of {len(node.value):,} digits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    return loader.construct_yaml_int(node)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_of_words)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _short_integer)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, laid over the one in the file that its key `base` names.

    `base` is a path beside the file, or absolute, and may have a base itself. Sections are merged key by key, all
    other values replaced; a key set to null takes the base's away. Raises RecipeError if a file is absent, too large,
    not YAML, not a mapping, or its own base.
    """
    merged: dict[str, Any] = {}
    for _, mapping in reversed(with_bases(path)):
        merged = _laid_over(merged, mapping) if merged else mapping
    return merged


def with_bases(path: str | Path) -> list[tuple[str | Path, dict[str, Any]]]:
    """Return the file, its base, that one's base and so on, each with its own mapping."""
    found: list[tuple[str | Path, dict[str, Any]]] = []
    following: str | Path | None = path
    while following is not None:
        path = following
        mapping = _read_mapping(path)
        if any(os.path.samefile(path, earlier) for earlier, _ in found):
            told = " -> ".join(str(earlier) for earlier, _ in found)
            raise RecipeError(f"is its own base ({told} -> {path})", where=path, cure="take one `base` out")
        base = mapping.pop("base", None)
        if base is not None and not isinstance(base, str):
            raise RecipeError(f"base = {_short(base)} is no path", where=path, cure="name a file beside this one")
        found.append((path, mapping))
        following = None if base is None else Path(path).parent / base
    return found


def _laid_over(base: dict[str, Any], mapping: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in mapping.items():
        below = merged.pop(key, None)
        if value is not None:
            merged[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _read_mapping(path: str | Path) -> dict[str, Any]:
    text = read_file(path, RecipeError, "give the path of a YAML recipe", _MOST_BYTES)
    try:
        data = read_value(text.decode("utf-8"))
    except ValueError as error:
        raise RecipeError(f"is not YAML: {error}", where=path, cure="mend the line that is named") from error
    if not isinstance(data, dict):
        raise RecipeError(f"holds a {type(data).__name__}, not a mapping", where=path, cure="write `key: value` lines")
    return data


def as_yaml(mapping: dict[str, Any]) -> str:
    """Return a mapping as YAML that loads to the same mapping."""
    return yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True)


def read_value(text: str) -> Any:
    """Return what a YAML text says. Raises ValueError if it is none, or goes beyond the limits."""
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except RecursionError as error:
        raise ValueError(f"values lie in each other more than {_MOST_DEPTH} deep") from error
    # PyYAML takes `2020-13-45` for a date, `!!int x` for a number, and fails on them as Python does.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(str(error)) from error
    check_bounded(value)
    return value


def check_bounded(value: Any) -> None:
    """Raise ValueError if there are too many values, or too deep ones, what aliases repeat counted each time."""
    values = letters = 0
    left = [(value, 0)]
    while left:
        value, depth = left.pop()
        values, letters = values + 1, letters + (len(value) if isinstance(value, (str, bytes)) else 0)
        if depth > _MOST_DEPTH:
            raise ValueError(f"values lie in each other more than {_MOST_DEPTH} deep")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else ()
        if values + len(left) + len(inner) > _MOST_VALUES or letters > _MOST_LETTERS:
            raise ValueError(f"it swells to more than {_MOST_VALUES:,} values or {_MOST_LETTERS:,} letters")
        left += [(each, depth + 1) for each in inner]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
