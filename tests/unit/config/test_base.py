"""Recipes that name a base: their mapping is laid over it, section by section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.config import load_yaml
from hpc_sr.errors import RecipeError
from hpc_sr.recipe import as_yaml, load_recipe

_LEAVES = st.integers() | st.lists(st.integers(), max_size=2)
_MAPPINGS = st.dictionaries(
    st.sampled_from("abc"), _LEAVES | st.dictionaries(st.sampled_from("xyz"), _LEAVES), max_size=3
)


def write(folder: Path, **files: Any) -> Path:
    """Write each mapping or text as NAME.yaml; return the path of the last."""
    for name, content in files.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


@given(below=_MAPPINGS, above=_MAPPINGS)
def test_every_value_is_the_upper_files_or_else_the_base_s(tmp_path_factory, below: dict, above: dict) -> None:
    folder = tmp_path_factory.mktemp("pair")
    merged = load_yaml(write(folder, below=below, above={"base": "below.yaml", **above}))
    assert set(merged) == set(below) | set(above)
    for key, value in merged.items():
        both = [each[key] for each in (below, above) if key in each]
        if all(isinstance(each, dict) for each in both):
            assert value == {k: v for each in both for k, v in each.items()}
        else:
            assert value == both[-1]


def test_a_chain_of_bases_lies_relative_to_each_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, root={"a": {"x": 1, "y": 1}, "b": 1})
    write(tmp_path / "deep", middle={"base": "../root.yaml", "a": {"y": 2}})
    path = write(tmp_path / "deep", top={"base": "middle.yaml", "c": 3})
    assert load_yaml(path) == {"a": {"x": 1, "y": 2}, "b": 1, "c": 3}


def test_null_takes_what_the_base_gives_away(tmp_path: Path) -> None:
    path = write(
        tmp_path, root={"a": {"x": 1, "y": 1}, "b": {"z": 1}}, top={"base": "root.yaml", "a": {"x": None}, "b": None}
    )
    assert load_yaml(path) == {"a": {"y": 1}}


@pytest.mark.parametrize(
    ("bases", "told"),
    [
        ({"one": "one.yaml"}, "is its own base"),
        ({"one": "two.yaml", "two": "three.yaml", "three": "two.yaml"}, "two.yaml: is its own base"),
        ({"one": "absent.yaml"}, "absent.yaml: cannot be read"),
        ({"one": 3}, "base = 3"),
    ],
)
def test_a_wrong_base_is_named(tmp_path: Path, bases: dict[str, Any], told: str) -> None:
    write(tmp_path, **{name: {"base": base} for name, base in bases.items()})
    with pytest.raises(RecipeError, match=told):
        load_yaml(tmp_path / "one.yaml")


_ROOT = """
name: root
task: s2x
store: stores/tiny
model: {family: s2x, width: 32}
schedule: {total_samples: 1000}
train: {seed: one}
"""


def test_an_error_names_the_file_that_the_value_stands_in(tmp_path: Path) -> None:
    path = write(tmp_path, root=_ROOT, top="base: root.yaml\nname: top\nmodel: {widht: 16}\n")
    with pytest.raises(RecipeError, match="(?s)top.yaml: unknown key 'model.widht'.*did you mean 'width'"):
        load_recipe(path, ["train.seed=1"])
    path = write(tmp_path, top="base: root.yaml\nname: top\n")
    with pytest.raises(RecipeError, match="root.yaml: train.seed = 'one'"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="top.yaml: train.seed = 'two'"):
        load_recipe(path, ["train.seed=two"])


def test_a_written_recipe_is_flat(tmp_path: Path) -> None:
    path = write(tmp_path, root=_ROOT.replace("one", "1"), top="base: root.yaml\nname: top\ntrain: {seed: 2}\n")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.train.seed, recipe.model.width) == ("top", 2, 32)
    flat = tmp_path / "run" / "recipe.yaml"
    flat.parent.mkdir()
    flat.write_text(as_yaml(recipe))
    assert "base" not in yaml.safe_load(flat.read_text()) and load_recipe(flat) == recipe
