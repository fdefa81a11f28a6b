"""Everything under conf/: each YAML tells the whole of its Spec, each option and each pair makes a run."""

from __future__ import annotations

import itertools
import re
from functools import cache
from typing import Any

import pytest
import torch
import yaml

from nanochat.core.compose import CONF, Values, compose, groups, parse_overrides
from nanochat.core.errors import SpecError
from nanochat.core.spec import TARGET, Spec, load
from nanochat.init.base import InitSpec
from nanochat.run.spec import BatchSpec, PathsSpec, RunSpec, Settings, StopSpec
from nanochat.run.start import StartSpec
from nanochat.task.base import validate

WITHOUT_OPTIONS = ("experiment", "schedule")  # folders of files that are no component: nothing in a run's config
COMPONENTS = [(group, name) for group, names in groups().items() if group not in WITHOUT_OPTIONS for name in names]
EXPERIMENTS = groups().get("experiment", [])

# What a person has to add where nothing could be a default.
NEEDED = {
    ("data", "text"): ("data.path=book.txt",),
    ("init", "mup"): ("model.tied=false",),
    ("init", "zero_out"): ("model.tied=false",),
}


@cache
def composed(group: str, name: str) -> dict[str, Any]:
    return compose([f"{group}={name}", *NEEDED.get((group, name), ())])


def resolved(config: dict[str, Any]) -> RunSpec | None:
    """The run of a config; None where it asks for a GPU that is not there."""
    run, _, _ = validate(config)
    if config["trainer"]["device"] == "cuda" and not torch.cuda.is_available():
        with pytest.raises(SpecError, match=r"trainer\.device=cuda: no CUDA device is visible; use trainer=cpu"):
            run.resolve()
        return None
    return run.resolve()


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_an_option_makes_a_run(group, name):
    run = resolved(composed(group, name))
    assert run is None or run.resolve() == run


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(sorted({g for g, _ in COMPONENTS}), 2)))
def test_options_of_two_groups_go_together(one, other):
    """Or the pair is refused by name: a position scheme that an attention cannot use."""
    for first, second in itertools.product(groups()[one], groups()[other]):
        config = {**composed(one, first), other: composed(other, second)[other]}
        if load(config["init"], InitSpec).untied:
            config["model"] = {**config["model"], "tied": False}
        try:
            resolved(config)
        except SpecError as error:
            assert {"attention", "position"} == {one, other}, (first, second, str(error))
            assert all(problem.key.startswith("attention") and problem.remedy for problem in error.problems)


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_a_yaml_lists_exactly_the_fields_of_its_spec(group, name):
    text = (CONF / group / f"{name}.yaml").read_text()
    data = yaml.safe_load(text)
    spec = load(composed(group, name)[group], Spec)
    picked = [key for item in data.get("defaults", []) if isinstance(item, dict) for key in item]
    nested = {key.partition("@")[2].partition(".")[0] for key in picked}
    bases = [item for item in data.get("defaults", []) if isinstance(item, str) and item != "_self_"]
    listed = set(data).union(*(yaml.safe_load((CONF / group / f"{base}.yaml").read_text()) for base in bases))
    assert (listed | nested) - {TARGET, "defaults"} == set(type(spec).model_fields)
    assert all(field.is_required() for field in type(spec).model_fields.values())
    assert data[TARGET].startswith(f"nanochat.{group}.")
    assert text.startswith("_target_: ")


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_every_field_of_a_yaml_is_explained(group, name):
    lines = (CONF / group / f"{name}.yaml").read_text().splitlines()
    fields = [line for line in lines if re.match(r"\w+:", line) and not line.startswith((TARGET, "defaults:"))]
    assert all(re.search(r"\S +# \S", line) for line in fields), fields


def test_the_top_level_is_the_run_and_how_it_is_carried_out():
    config = compose([])
    assert set(config) == {*RunSpec.model_fields, *Settings.model_fields, "task", "study", "sampler", "pruner"}
    for key, spec in (("batch", BatchSpec), ("stop", StopSpec), ("start", StartSpec), ("paths", PathsSpec)):
        assert set(config[key]) == set(spec.model_fields)
    assert not set(RunSpec.model_fields) & set(Settings.model_fields)
    assert all(field.is_required() for spec in (RunSpec, Settings) for field in spec.model_fields.values())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_makes_a_run(name):
    assert resolved(compose([f"experiment={name}"])) is not None


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_arms_of_an_experiment_make_runs(name):
    """Each value that an experiment brings along for `-m`, one at a time."""
    data = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())
    params = data.get("hydra", {}).get("sweeper", {}).get("params", {})
    for override in parse_overrides([f"{key}={value}" for key, value in params.items()]):
        assert override.sweep is not None, override.text
        for text in override.sweep.texts if isinstance(override.sweep, Values) else ():
            resolved(compose([f"experiment={name}", f"{override.key}={text}"]))
    for overrides in data.get("study", {}).get("arms", {}).values():
        fixed = [override.text for override in parse_overrides(overrides) if override.sweep is None]
        resolved(compose([f"experiment={name}", *fixed]))
