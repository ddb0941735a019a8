"""What travels with the package: recipes to begin with, their schema, job scripts, made-up products."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from support import run_cli

from hpc_sr.errors import OutputError, RecipeError
from hpc_sr.recipe import load_recipe, schema
from hpc_sr.sentinel2.bands import SATELLITES
from hpc_sr.shipped import CONFIGS, SCHEMA, SLURM, recipe_text, shipped_recipes, write_job_scripts
from hpc_sr.yaml_files import read_value

RECIPES = [shipped.name for shipped in shipped_recipes()]
VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_every_recipe_is_listed_with_its_task_and_what_it_is(capsys) -> None:
    paths = {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert paths == {f"{name}.yaml" for name in RECIPES}
    assert not run_cli("recipe")
    said = capsys.readouterr().out
    for shipped in shipped_recipes():
        assert shipped.about.endswith(".") and f"{shipped.name} " in said and shipped.about in said
        assert shipped.task == load_recipe(CONFIGS / f"{shipped.name}.yaml").task


@pytest.mark.parametrize("name", RECIPES)
def test_a_printed_recipe_stands_alone_and_means_the_same(name: str, tmp_path: Path, capsys) -> None:
    assert not run_cli("recipe", name)
    printed = capsys.readouterr().out
    (tmp_path / "my.yaml").write_text(printed)
    assert load_recipe(tmp_path / "my.yaml") == load_recipe(CONFIGS / f"{name}.yaml")
    source = (CONFIGS / f"{name}.yaml").read_text().splitlines()
    head = [line for line in source[1:] if line.startswith("#")]
    first, *rest = printed.splitlines()
    assert rest[: len(head)] == head
    assert Path(first.partition("$schema=file://")[2]).samefile(SCHEMA)


def test_a_name_that_is_none_is_told_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 's2x_quick'"):
        recipe_text("s2x_quik")
    with pytest.raises(RecipeError, match="hpc-sr recipe` lists"):
        recipe_text("../setup")


def test_the_schema_in_the_repository_is_that_of_the_recipes(capsys) -> None:
    """If this fails: hpc-sr recipe --schema > configs/recipe.schema.json"""
    assert not run_cli("recipe", "--schema")
    assert json.loads(capsys.readouterr().out) == json.loads(SCHEMA.read_text()) == schema()
    VALIDATOR.check_schema(schema())


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.name)
def test_editors_find_the_schema_and_it_allows_the_recipe(path: Path) -> None:
    first, *_ = path.read_text().splitlines()
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).samefile(SCHEMA)
    VALIDATOR.validate(read_value(path.read_text()))


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("{base: s2x.yaml}", True),
        ("{base: s2x.yaml, model: {width: 64}, objective: null, prepare: {split: null}}", True),
        ("{name: a, task: s2x, store: b, optimizer: {base_lr: 1e-4}}", True),
        ("{name: a, task: s2x}", False),
        ("{base: s2x.yaml, train: {sed: 1}}", False),
        ("{base: s2x.yaml, train: {seed: one}}", False),
        ("{base: s2x.yaml, train: {seed: -1}}", False),
        ("{base: s2x.yaml, model: {family: dsen2, attention: false}}", False),
        ("{base: s2x.yaml, task: s3x}", False),
    ],
)
def test_the_schema_tells_what_a_file_may_hold(text: str, allowed: bool, tmp_path: Path) -> None:
    assert VALIDATOR.is_valid(read_value(text)) == allowed
    path = tmp_path / "a.yaml"
    path.write_text(text.replace("s2x.yaml", str(CONFIGS / "s2x.yaml")))
    if allowed:
        load_recipe(path)
    else:
        with pytest.raises(RecipeError):
            load_recipe(path)


def test_job_scripts_are_written_whole_and_can_be_run(tmp_path: Path, capsys) -> None:
    out = tmp_path / "my jobs"
    assert not run_cli("slurm", "--out", out)
    said = capsys.readouterr().out
    assert "juwels_booster" in said and "jsc" not in said.split(";")[0].split() and f"'{out}'/sites" in said
    for path in SLURM.rglob("*.sh"):
        copy = out / path.relative_to(SLURM)
        assert copy.read_bytes() == path.read_bytes()
        assert os.access(copy, os.X_OK) == os.access(path, os.X_OK)
    with pytest.raises(OutputError, match="is there already"):
        write_job_scripts(out)


@pytest.mark.parametrize("out", ["", "/", "x" * 300, "/proc/jobs", "a\0b"])
def test_where_no_job_scripts_can_be_written_is_told(out: str) -> None:
    with pytest.raises(OutputError) as refusal:
        write_job_scripts(Path(out))
    assert refusal.value.cure


def test_a_made_up_product_is_the_same_by_either_command(tmp_path: Path, capsys) -> None:
    import subprocess
    import sys

    options = [
        "--size-10m",
        "66",
        "--seed",
        "2",
        "--level",
        "L2A",
        "--baseline",
        "02.08",
        "--satellite",
        SATELLITES[-1],
    ]
    assert not run_cli("synthetic", tmp_path / "a", *options)
    ours = Path(capsys.readouterr().out.strip())
    module = [sys.executable, "-m", "data_prep.synthetic", str(tmp_path / "b"), *options]
    theirs = Path(subprocess.run(module, capture_output=True, text=True, check=True).stdout.strip())
    assert ours.name == theirs.name
    for path in ours.rglob("*.jp2"):
        assert path.read_bytes() == (theirs / path.relative_to(ours)).read_bytes()
