"""The `model` section: a family by name, with its options and no other, for the tasks that it can do."""

from __future__ import annotations

import json

import pytest
from made_networks import narrow
from pydantic import ValidationError

from hpc_sr.config import parse
from hpc_sr.errors import RecipeError
from hpc_sr.models.build import build_generator
from hpc_sr.models.facts import Facts, Law
from hpc_sr.models.options import DSen2Options, S2xOptions, parse_model
from hpc_sr.recipe import Recipe
from hpc_sr.tasks import Units, task_by_name


def recipe(task: str, **model: object) -> Recipe:
    return parse(Recipe, {"name": "x", "task": task, "store": "x", "model": model}, "r.yaml")


@pytest.mark.parametrize(
    ("options", "told", "cure"),
    [
        ({"family": "dsen2", "attention": True}, "unknown key 'model.attention' (value True)", "the keys here are"),
        ({"family": "dsen2", "attention": False}, "unknown key 'model.attention' (value False)", "residual_scale"),
        (
            {"family": "s2x", "atention": False},
            "unknown key 'model.atention' (value False)",
            "did you mean 'attention'",
        ),
        ({"family": "dsen2", "block": 3}, "unknown key 'model.block' (value 3)", "did you mean 'blocks'"),
        # These are on an enlargement as published.
        ({"family": "eegan", "base": "bicubic"}, "unknown key 'model.base' (value 'bicubic')", "the keys here are"),
        ({"family": "rrsgan", "base": "bicubic"}, "unknown key 'model.base' (value 'bicubic')", "the keys here are"),
        ({"family": "autoencoder", "base": "bicubic"}, "unknown key 'model.base'", "the keys here are"),
        ({"family": "srcnn", "base": "guided"}, "model.base = 'guided'", "change this value"),
        ({"family": "dsen"}, "model.family = 'dsen' is not known", "did you mean 'dsen2'"),
        ({"family": "vgg"}, "model.family = 'vgg' is not known", "choose one of 's2x', 'dsen2'"),
        ({"width": 32}, "the key 'model.family' is missing", "'dsen2', 's2x'"),
        ({"family": "s2x", "width": 24}, "model.width = 24", "change this value"),
        ({"family": "s2x", "blocks": "6"}, "model.blocks = '6'", "change this value"),
    ],
)
def test_an_option_that_is_none_of_the_family_names_its_key(options: dict, told: str, cure: str) -> None:
    for read in (lambda: parse_model(options, "r.yaml"), lambda: recipe("s2x", **options)):
        with pytest.raises(RecipeError) as caught:
            read()
        assert told in str(caught.value) and cure in str(caught.value.cure) and caught.value.where == "r.yaml"


def test_options_are_of_their_family_and_stay_as_they_are() -> None:
    assert narrow("dsen2") == DSen2Options(family="dsen2", width=16, blocks=1)
    assert narrow("s2x") == S2xOptions(family="s2x", width=16, blocks=1, attention=True)
    with pytest.raises(ValidationError, match="frozen"):
        narrow("s2x").width = 32
    for options in (narrow("s2x", attention=False), narrow("dsen2", residual_scale=0.2)):
        assert parse_model(options.model_dump(mode="json"), "again") == options


@pytest.mark.parametrize(
    ("task", "options", "told"),
    [
        ("sisr_x2", {"family": "s2x"}, "family s2x is for products, task sisr_x2 takes dsen2"),
        ("refsr_x4", {"family": "s2x"}, "family s2x is for products"),
        ("sisr_x4", {"family": "dsen2", "base": "guided"}, "base: guided needs the degradation"),
        ("sisr_x4", {"family": "dsen2", "back_project": True}, "back_project needs the degradation"),
    ],
)
def test_a_family_says_which_task_it_cannot_do(task: str, options: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        recipe(task, **options)
    with pytest.raises(RecipeError, match=told) as caught:
        build_generator(narrow(**options), task_by_name(task), Facts(16))
    assert caught.value.where == "model" and "another family" in str(caught.value.cure)


def test_facts_come_back_from_plain_values_as_they_were() -> None:
    means = {"x10": (1.0, 2.0, 3.0, 4.5), "x20": (0.1,) * 6}
    facts = Facts(32, Units.of("16 bit"), means, {"target": Law(((0.25, 0.75),), ((0.5, 0.5), (1.0,)))})
    assert Facts.from_json(json.loads(json.dumps(facts.as_json()))) == facts
    for absent in ("patch_px", "units", "means", "laws"):
        told = {name: value for name, value in facts.as_json().items() if name != absent}
        with pytest.raises(KeyError, match=absent):
            Facts.from_json(told)


@pytest.mark.parametrize("task", ["s2x", "s6x", "s26x"])
def test_every_family_does_every_task_of_products(task: str) -> None:
    for family in ("s2x", "dsen2"):
        assert recipe(task, family=family).model == parse_model({"family": family}, "r.yaml")
