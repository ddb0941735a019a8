"""No recipe hangs, swells or fails untyped: what YAML can say is bounded, and so is every number and name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from data_prep.options import ImageOptions, PrepareOptions
from hpc_sr.comm.options import CommOptions
from hpc_sr.config import Section, load_yaml, override, parse
from hpc_sr.errors import RecipeError
from hpc_sr.recipe import Recipe, load_recipe
from hpc_sr.train.options import OptimizerOptions, ScheduleOptions, TrainOptions

MINIMAL = """
name: tiny
task: s2x
store: stores/tiny
prepare: {products: [a.SAFE]}
model: {family: s2x, width: 32}
schedule: {total_samples: 1000}
"""

BAD_TEXTS: dict[str, str | bytes] = {
    "alias bomb of lists": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [*{a}{f', *{a}' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "alias bomb of mappings": "a: &a {x: 1}\n"
    + "".join(
        f"{b}: &{b} {{{', '.join(f'k{k}: *{a}' for k in range(10))}}}\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "alias bomb of letters": f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 10_000)}]",
    "a list in itself": "a: &a [*a]",
    "a mapping in itself": "a: &a {b: *a}",
    "a list as key": "? [a, b]\n: 1",
    "a mapping as key": "? {a: b}\n: 1",
    "a number as key": "1: 2",
    "a day as key": "2020-01-01: 2",
    "nothing as key": "~: 2",
    "forgotten template": "store: {{scratch}}/store",
    "forgotten template alone": "store: {{ scratch }}",
    "huge integer": f"train: {{seed: {'9' * 5000}}}",
    "huge hexadecimal": f"train: {{seed: 0x{'f' * 100_000}}}",
    "huge sexagesimal": f"train: {{seed: 1{':59' * 100_000}}}",
    "no day": "name: 2020-13-45",
    "deep list": "a: " + "[" * 10_000,
    "deep closed list": f"a: {'[' * 60}{']' * 60}",
    "deep mapping": "".join(f"{' ' * k}a:\n" for k in range(500)),
    "NUL": b"name: a\0b",
    "not UTF-8": b"name: \xff",
    "Python object": "name: !!python/object/apply:os.abort []",
    "wrong tag": "name: !!timestamp what",
    "wrong integer": "name: !!int what",
    "wrong boolean": "name: !!bool what",
    "half a letter": 'name: "\\ud800"',
    "merge key": "a: &a {b: 1}\nc: {<<: *a}",
    "a set": "store: !!set {a, b}",
    "bytes": "store: !!binary aGFsbG8=",
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_what_yaml_can_say_ends_in_a_typed_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it.yaml"
    content = BAD_TEXTS[kind]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "it.yaml" in str(caught.value) and "cure" in str(caught.value) and len(str(caught.value)) < 2000
    text = content.decode("latin-1") if isinstance(content, bytes) else content
    with pytest.raises(RecipeError):
        load_recipe(_recipe(tmp_path), [f"train={text}"])


def _recipe(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize(
    "key", ["a." * 5000 + "b", "train." * 50 + "seed", "train..seed", "x" * 100_000, "\0", "{{a}}"]
)
def test_overrides_are_bounded_too(tmp_path: Path, key: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(_recipe(tmp_path), [f"{key}=1"])
    assert len(str(caught.value)) < 3000


def test_a_forgotten_template_is_called_one(tmp_path: Path) -> None:
    for text in ("{{scratch}}", "'{{scratch}}/store'", "{{ scratch }}"):
        with pytest.raises(RecipeError, match=r"(?s)\{\{\.\.\.\}\}.*place to fill in|cure: write what belongs"):
            load_recipe(_recipe(tmp_path), [f"store={text}"])


NO_FILES: dict[str, Callable[[Path], object]] = {
    "fifo": lambda path: os.mkfifo(path),
    "folder": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "larger than recipes are": lambda path: path.write_text("#" * (5 << 20)),
    "link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("as_base", [False, True])
def test_no_file_is_waited_for(tmp_path: Path, kind: str, as_base: bool) -> None:
    NO_FILES[kind](tmp_path / "it.yaml")
    (tmp_path / "top.yaml").write_text("base: it.yaml")
    with pytest.raises(RecipeError, match="it.yaml"):
        load_yaml(tmp_path / ("top.yaml" if as_base else "it.yaml"))


@pytest.mark.parametrize("base", ['"a\\0b"', "x" * 300, "/".join(["x" * 200] * 30), "/dev/stdin", "''"])
def test_a_base_that_is_no_path_is_told(tmp_path: Path, base: str) -> None:
    (tmp_path / "top.yaml").write_text(f"base: {base}")
    with pytest.raises(RecipeError):
        load_yaml(tmp_path / "top.yaml")


NAMES = ["", ".", "..", "a/b", "/a", "-rf", "--help", "a\nb", "a\0b", "a\x1b[2J", "x" * 300, "{{name}}"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_a_plain_name(tmp_path: Path, name: str) -> None:
    given = {**load_yaml(_recipe(tmp_path)), "name": name}
    with pytest.raises(RecipeError, match="name = "):
        parse(Recipe, given, "here")


@pytest.mark.parametrize("path", ["", "a\0b", "{{scratch}}/a", "x" * 300, "/".join(["x" * 200] * 30)])
@pytest.mark.parametrize(
    "key", ["store", "train.runs", "train.stage", "prepare.products", "prepare.split.train", "images.hr", "images.ref"]
)
def test_a_path_is_one(tmp_path: Path, path: str, key: str) -> None:
    section, _, leaf = key.rpartition(".")
    value = [path] if leaf in ("products", "train", "hr", "ref") else path
    given = {**load_yaml(_recipe(tmp_path))}
    place = given
    for part in filter(None, section.split(".")):
        place = place.setdefault(part, {})
    place[leaf] = value
    with pytest.raises(RecipeError, match=key):
        parse(Recipe, given, "here")


SECTIONS = (OptimizerOptions, ScheduleOptions, TrainOptions, CommOptions, PrepareOptions, ImageOptions)
REQUIRED = {ScheduleOptions: {"total_samples": 10**6}, PrepareOptions: {"products": ["a"]}, ImageOptions: {"hr": ["a"]}}
EXTREMES = [-1, 0, 1, 2, 10**9, 10**12, 10**15, 2**63, 10**30, -(10**30)]
EXTREME_FLOATS = [math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 5e-324, 1e-30, 0.5, 1.0, 1e9, 1e30, 1e300]


def numbers_of(kind: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of all numbers in a section and those in it."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from numbers_of(field.annotation, f"{above}{name}.")
        elif "int" in str(field.annotation) or "float" in str(field.annotation):
            yield f"{above}{name}", field


@pytest.mark.parametrize("kind", SECTIONS)
def test_every_number_has_bounds_on_both_sides(kind: type[Section]) -> None:
    """A new option takes one of config's bounded types, or says its own bounds."""
    for name, _ in numbers_of(kind):
        for value in (math.nan, math.inf, -math.inf, 1e300, -1e300, 10**30, -(10**30)):
            pair = [value, value] if name == "betas" else value
            with pytest.raises(RecipeError, match=name.split(".")[0]):
                parse(kind, override(REQUIRED.get(kind, {}), []) | nested(name, pair), "here")


def nested(name: str, value: Any) -> dict[str, Any]:
    first, _, rest = name.partition(".")
    return {first: nested(rest, value) if rest else value}


@pytest.mark.parametrize("seed", [*EXTREMES, True, 1.0])
def test_a_seed_that_is_taken_seeds_every_generator(seed: Any) -> None:
    torch = pytest.importorskip("torch")
    try:
        options = parse(TrainOptions, {"seed": seed}, "here")
    except RecipeError:
        return
    np.random.default_rng([options.seed, 0])
    np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)


@pytest.mark.parametrize("name", ["base_lr", "betas", "eps", "weight_decay", "momentum"])
@pytest.mark.parametrize("value", EXTREME_FLOATS)
def test_what_the_optimizer_section_takes_its_optimizers_take(name: str, value: float) -> None:
    torch = pytest.importorskip("torch")
    from hpc_sr.train.optimizers import build_optimizer

    try:
        options = parse(OptimizerOptions, {name: [value, value] if name == "betas" else value}, "here")
    except RecipeError:
        return
    for kind in ("adam", "adamw", "nadam", "sgd"):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = build_optimizer([weight], options.model_copy(update={"name": kind}))
        weight.grad = torch.ones(3)
        optimizer.step()
        assert not weight.isnan().any()
