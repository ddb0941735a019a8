"""YAML becomes frozen, typed, strict sections.

Defaults first, then the file that `base` names, then the file, then `key=value` overrides. An unknown key is an error
that names the nearest spelling; a value of the wrong type is an error that names the key. YAML 1.2 numbers (`1e-4`)
are numbers here.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hpc_sr.errors import RecipeError


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


T = TypeVar("T", bound=Section)


class _StrictLoader(yaml.SafeLoader):
    """YAML with 1.2 floats and no silently repeated keys."""


# PyYAML follows YAML 1.1, where `1e-4` is a string because it has no dot.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _mapping_without_repeats(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
    if repeated:
        raise yaml.constructor.ConstructorError(None, None, f"the key {repeated[0]!r} is given twice", node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_repeats)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, laid over the one in the file that its key `base` names.

    `base` is a path beside the file, or absolute, and may have a base itself. Sections are merged key by key, all
    other values replaced; a key set to null takes the base's away. Raises RecipeError if a file is absent, not YAML,
    not a mapping, or its own base.
    """
    merged: dict[str, Any] = {}
    for _, mapping in reversed(_with_bases(path)):
        merged = _laid_over(merged, mapping) if merged else mapping
    return merged


def _with_bases(path: str | Path) -> list[tuple[str | Path, dict[str, Any]]]:
    """Return the file, its base, that one's base and so on, each with its own mapping."""
    found: list[tuple[str | Path, dict[str, Any]]] = []
    following: str | Path | None = path
    while following is not None:
        path = following
        if any(Path(path).resolve() == Path(earlier).resolve() for earlier, _ in found):
            told = " -> ".join(str(earlier) for earlier, _ in found)
            raise RecipeError(f"is its own base ({told} -> {path})", where=path, cure="take one `base` out")
        mapping = _read_yaml(path)
        base = mapping.pop("base", None)
        if base is not None and not isinstance(base, str):
            raise RecipeError(f"base = {base!r} is no path", where=path, cure="name a file beside this one")
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


def _read_yaml(path: str | Path) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read ({error})", where=path, cure="give the path of a YAML recipe") from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise RecipeError(f"is not YAML: {error}", where=path, cure="mend the line that is named") from error
    if not isinstance(data, dict):
        raise RecipeError(f"holds a {type(data).__name__}, not a mapping", where=path, cure="write `key: value` lines")
    return data


def override(data: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Return `data` with each `dotted.key=value` put in; values are read as YAML."""
    result = json.loads(json.dumps(data, default=str))
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{assignment!r} is not an override", cure="write key=value, for example train.seed=7")
        try:
            value = yaml.load(text, Loader=_StrictLoader)
        except yaml.YAMLError as error:
            raise RecipeError(f"the value {text!r} is not YAML", where=key, cure="quote it") from error
        place = result
        *parents, leaf = key.strip().split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise RecipeError(f"{parent!r} is a value, not a section", where=key, cure="drop the last part")
        place[leaf] = value
    return result


def parse(kind: type[T], data: dict[str, Any], where: str | Path) -> T:
    """Return `data` as a `kind`. Types are strict: "1" is no number, 1.5 is no integer.

    Raises RecipeError with the key, the value and the nearest spelling or the accepted type.
    """
    try:
        # As JSON, strict mode still turns lists into tuples; a date, which YAML makes of 2020-01-01, turns to text.
        return kind.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        location, section = _place_of(kind, first["loc"])
        raise _as_recipe_error(section, location, first, _standing_in(where, location, first["input"])) from None


def _as_recipe_error(section: type[Section], location: list[str], error: dict, where: str | Path) -> RecipeError:
    key = ".".join(location)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        told, tag = error["ctx"], error["ctx"]["discriminator"].strip("'")
        known = told.get("expected_tags") or ", ".join(repr(name) for name in _members(section, location[-1]))
        if "tag" not in told:
            return RecipeError(f"the key '{key}.{tag}' is missing", where=where, cure=f"give one of {known}")
        near = difflib.get_close_matches(told["tag"], re.findall(r"'([^']+)'", known), n=1, cutoff=0.5)
        cure = f"did you mean {near[0]!r}?" if near else f"choose one of {known}"
        return RecipeError(f"{key}.{tag} = {told['tag']!r} is not known", where=where, cure=cure)
    if error["type"] == "extra_forbidden":
        known = list(section.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        cure = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(sorted(known))}"
        return RecipeError(f"unknown key {key!r} (value {error['input']!r})", where=where, cure=cure)
    if error["type"] == "missing":
        return RecipeError(f"the key {key!r} is missing", where=where, cure=f"add {key!r}")
    message = error["msg"].removeprefix("Value error, ")
    return RecipeError(f"{key or 'recipe'} = {error['input']!r}: {message}", where=where, cure="change this value")


def _standing_in(where: str | Path, location: list[str], found: Any) -> str | Path:
    """Return the file that the value in error comes from, one of the bases perhaps; `where` if it was an override."""
    if not Path(where).is_file():
        return where
    for path, mapping in _with_bases(where):
        value: Any = mapping
        for part in location:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and value == found:
            return path
    return where


def _place_of(kind: type[Section], location: tuple[str | int, ...]) -> tuple[list[str], type[Section]]:
    """Return the keys that lead to an error, and the section that the last of them was looked up in.

    A section that is chosen by one of its keys has the choice in the location, which is no key of the file.
    """
    keys: list[str] = []
    section, inside, members = kind, kind, dict[str, type[Section]]()
    for part in map(str, location):
        if part in members:
            inside, members = members[part], {}
            continue
        keys.append(part)
        section = inside
        members = _members(section, part)
        field = section.model_fields.get(part)
        annotations = (field.annotation, *getattr(field.annotation, "__args__", ())) if field else ()
        inside = next((a for a in annotations if _is_section(a)), section)
    return keys, section


def _members(section: type[Section], key: str) -> dict[str, type[Section]]:
    """Return the sections that a key chooses from, by the name that chooses them; nothing if it does not choose."""
    field = section.model_fields.get(key)
    if field is None:
        return {}
    annotations, found = [field.annotation, *field.metadata], {}
    while annotations:
        annotation = annotations.pop()
        annotations += getattr(annotation, "__args__", ())
        if _is_section(annotation):
            for option in annotation.model_fields.values():
                for name in getattr(option.annotation, "__args__", ()) if option.is_required() else ():
                    if isinstance(name, str):
                        found[name] = annotation
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
