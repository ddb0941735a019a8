"""Mappings become frozen, typed, strict sections, of numbers and names within bounds.

Defaults first, then the file that `base` names, then the file, then `key=value` overrides. An unknown key is an error
that names the nearest spelling; a value of the wrong type or out of bounds is an error that names the key.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from hpc_sr.errors import RecipeError
from hpc_sr.yaml_files import check_bounded, load_yaml, read_value, with_bases

__all__ = [
    "Count",
    "CountFrom0",
    "LessThan1",
    "NotNegative",
    "PathText",
    "Pixels",
    "PlainName",
    "Positive",
    "Proportion",
    "RunName",
    "Section",
    "Seed",
    "Share",
    "load_yaml",
    "override",
    "parse",
    "plain_file",
    "plain_name",
]

#: What file systems take as the name of one file.
_MOST_NAME_BYTES = 255
#: What none of our names holds: control characters, line ends, halves of characters.
_UNSPEAKABLE = {"Cc", "Cs", "Zl", "Zp"}

# What the schema takes numpy and torch take too: bounds are far beyond any use, and far within their number types.
#: How many of something, at least one: samples, steps, rows.
Count = Annotated[int, Field(ge=1, le=10**12)]
#: How many of something, perhaps none.
CountFrom0 = Annotated[int, Field(ge=0, le=10**12)]
#: A side or a stride in pixels. A tile of a product has 10,980.
Pixels = Annotated[int, Field(ge=1, le=100_000)]
#: Of any random number generator.
Seed = Annotated[int, Field(ge=0, lt=2**63)]
#: A quantity: seconds, a learning rate, megabytes. Smaller ones are 0 in single precision.
Positive = Annotated[float, Field(ge=1e-30, le=1e9)]
NotNegative = Annotated[float, Field(ge=0, le=1e9)]
#: A part of a whole, 0 and all of it allowed; without all of it; without either.
Share = Annotated[float, Field(ge=0, le=1)]
LessThan1 = Annotated[float, Field(ge=0, lt=1)]
Proportion = Annotated[float, Field(gt=0, lt=1)]


def plain_name(name: str) -> str:
    """Return the name if it is that of one file or folder, and says nothing of where that lies.

    Whatever comes out of a file and becomes part of a path goes through here. Raises ValueError saying what is wrong.
    """
    if name in ("", ".", "..") or "/" in name:
        raise ValueError("is no plain name: a file's or folder's own, without / and not . or ..")
    if any(unicodedata.category(letter) in _UNSPEAKABLE for letter in name):
        raise ValueError("is no plain name: it holds a line end, NUL or another control character")
    if len(name.encode()) > _MOST_NAME_BYTES:
        raise ValueError(f"is no plain name: it is longer than {_MOST_NAME_BYTES} bytes")
    return name


def plain_file(name: str) -> str:
    """Return the name of a file in a folder beside its description: `FOLDER/NAME`, both plain.

    Raises ValueError saying what is wrong.
    """
    folder, slash, file = name.partition("/")
    if not slash:
        raise ValueError("is no FOLDER/NAME")
    for part in (folder, file):
        plain_name(part)
    return name


def _path_text(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError("is no path: it is empty or holds NUL")
    if "{{" in text:
        raise ValueError("holds {{...}}, a place to fill in: write what belongs there")
    if len(text.encode(errors="replace")) > 4000 or any(
        len(part.encode(errors="replace")) > 255 for part in text.split("/")
    ):
        raise ValueError("is no path: it is longer than 4000 bytes, or a name in it longer than 255")
    return text


def _run_name(name: str) -> str:
    plain_name(name)
    if name.startswith("-"):
        raise ValueError("begins with -, as options of commands do")
    return _path_text(name)


#: A path or a glob pattern.
PathText = Annotated[str, AfterValidator(_path_text)]
#: What is a file's or folder's own name, without a place.
PlainName = Annotated[str, AfterValidator(plain_name)]
#: What a run is called, in folders and on the command line.
RunName = Annotated[str, AfterValidator(_run_name)]


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no NaN and nothing infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


T = TypeVar("T", bound=Section)


def override(data: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Return `data` with each `dotted.key=value` put in; values are read as YAML."""
    result = json.loads(_as_json(data, "the recipe"))
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{assignment!r} is not an override", cure="write key=value, for example train.seed=7")
        try:
            value = read_value(text)
        except ValueError as error:
            cure = "write what belongs in the place of {{...}}" if "{{" in text else "quote it"
            told = str(error).splitlines()[0]
            raise RecipeError(f"the value {_shown(text)} is not YAML: {told}", where=_shown(key), cure=cure) from error
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
        return kind.model_validate_json(_as_json(data, where), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        location, section = _place_of(kind, first["loc"])
        raise _as_recipe_error(section, location, first, _standing_in(where, location, first["input"])) from None


def _as_json(data: dict[str, Any], where: str | Path) -> str:
    try:
        check_bounded(data)
    except ValueError as error:
        raise RecipeError(str(error), where=where, cure="take it apart, or out") from error
    return json.dumps(data, default=str)


def _as_recipe_error(
    section: type[Section], location: list[str], error: ErrorDetails, where: str | Path
) -> RecipeError:
    key = ".".join(location)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        told, tag = error["ctx"], error["ctx"]["discriminator"].strip("'()")
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
        return RecipeError(f"unknown key {_shown(key)} (value {_shown(error['input'])})", where=where, cure=cure)
    if error["type"] == "missing":
        return RecipeError(f"the key {key!r} is missing", where=where, cure=f"add {key!r}")
    message = error["msg"].removeprefix("Value error, ")
    return RecipeError(
        f"{key or 'recipe'} = {_shown(error['input'])}: {message}", where=where, cure="change this value"
    )


def _shown(value: Any) -> str:
    """Return a value as a message shows it: the beginning will do."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _standing_in(where: str | Path, location: list[str], found: Any) -> str | Path:
    """Return the file that the value in error comes from, one of the bases perhaps; `where` if it was an override."""
    if not os.path.isfile(where):
        return where
    for path, mapping in with_bases(where):
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
                match getattr(option.annotation, "__args__", ()):
                    case (str(name),):  # the only name that the key may have
                        found[name] = annotation
    return found


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
