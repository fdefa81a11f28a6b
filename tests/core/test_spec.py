"""Specs: loading with every mistake named, JSON and back, keys that see every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nanochat.core.compose import compose
from nanochat.core.errors import SpecError
from nanochat.core.spec import TARGET, Count, Int, Positive, Spec, canonical_json, dump, hash_of, load, target_of
from nanochat.run.spec import RunSpec, run_spec
from tests.runs import SMALL


class Shape(Spec):
    edges: Count


class Circle(Shape):
    radius: Positive


class Square(Shape):
    radius: Positive
    label: str | None


class Picture(Spec):
    shape: Shape
    rest: tuple[Shape, ...]
    named: dict[str, Shape]
    offset: Int
    scale: float
    colour: Literal["red", "blue"]


CIRCLE = {TARGET: target_of(Circle), "edges": 1, "radius": 2.0}
SQUARE = {TARGET: target_of(Square), "edges": 4, "radius": 0.5, "label": None}
PICTURE = {
    "shape": CIRCLE,
    "rest": [SQUARE, CIRCLE],
    "named": {"a": SQUARE},
    "offset": 0,
    "scale": 1.5,
    "colour": "red",
}


def mistakes(**changes: Any) -> list[str]:
    with pytest.raises(SpecError) as error:
        load({**PICTURE, **changes}, Picture, at="picture")
    return str(error.value).splitlines()


def test_loading_builds_the_classes_that_targets_name():
    picture = load(PICTURE, Picture)
    assert picture.shape == Circle(edges=1, radius=2.0)
    assert picture.rest == (Square(edges=4, radius=0.5, label=None), picture.shape)
    assert isinstance(picture.named["a"], Square)
    assert load(dump(picture), Spec) == picture


def test_a_key_that_does_not_exist_is_told_the_nearest():
    [line] = mistakes(shape={**CIRCLE, "radus": 1})
    assert line == "picture.shape.radus: Circle has no such key; did you mean 'radius'?"


def test_a_key_that_is_missing_is_named():
    assert mistakes(rest=[{k: v for k, v in SQUARE.items() if k != "label"}]) == [
        "picture.rest[0].label: is missing; a Spec has no defaults"
    ]


def test_every_mistake_is_told_at_once_under_its_full_key():
    lines = mistakes(
        shape={**CIRCLE, "radius": -1.0},
        rest=[SQUARE, {**CIRCLE, "edges": 0}],
        named={"a": {**SQUARE, "label": 3}},
        colour="green",
        hue=1,
    )
    heads = [
        "picture.shape.radius=-1.0: must be greater than 0",
        "picture.rest[1].edges=0: must be greater than 0",
        "picture.named.a.label=3: must be a valid string",
        "picture.colour=green: must be 'red' or 'blue'",
        "picture.hue: Picture has no such key",
    ]
    assert len(lines) == len(heads)
    for head in heads:
        assert any(line.startswith(head) for line in lines), head


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("no.such.module.Thing", "cannot be imported"),
        ("json.Thing", "cannot be imported"),
        ("Thing", "cannot be imported"),
        ("..Thing", "cannot be imported"),
        ("", "cannot be imported"),
        (3, "cannot be imported"),
        ("json.loads", "must be a Shape"),
        ("json.JSONDecoder", "must be a Shape"),
        (target_of(Picture), "must be a Shape"),
    ],
)
def test_a_target_that_is_none_is_refused(target, rule):
    [line] = mistakes(shape={**CIRCLE, TARGET: target})
    assert line.startswith(f"picture.shape._target_={target}: {rule}")


@pytest.mark.parametrize("target", [{}, {TARGET: "nanochat.lr.base.LRSpec"}])
def test_a_contract_alone_is_no_component(target):
    from nanochat.lr.base import LRSpec

    with pytest.raises(SpecError, match=r"lr\._target_.*LRSpec"):
        load({**target, "peak": 1.0, "warmup": 0.0}, LRSpec, at="lr")


def test_a_file_with_a_syntax_error_is_named(tmp_path, monkeypatch):
    (tmp_path / "halfway.py").write_text("class Circle(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    [line] = mistakes(shape={TARGET: "halfway.Circle"})
    assert "cannot be imported" in line and "halfway.py" in line


def test_a_value_where_a_section_belongs_is_refused():
    assert mistakes(shape=3) != []
    with pytest.raises(SpecError, match="picture=3: must be a section of keys"):
        load(3, Picture, at="picture")


def test_whole_floats_are_ints_and_the_same_key():
    assert load({**PICTURE, "offset": 1e6}, Picture) == load({**PICTURE, "offset": 1000000}, Picture)
    assert hash_of(load({**PICTURE, "offset": -2.0}, Picture)) == hash_of(load({**PICTURE, "offset": -2}, Picture))
    assert isinstance(load({**PICTURE, "offset": 1e6}, Picture).offset, int)


@pytest.mark.parametrize("value", [1.5, "1", True, None, [1]])
def test_nothing_else_is_an_int(value):
    [line] = mistakes(offset=value)
    assert line.startswith("picture.offset")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(value):
    [line] = mistakes(scale=value)
    assert line == f"picture.scale={value}: must be a finite number"
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"scale": value})


def test_a_spec_is_frozen_and_its_copies_are_validated():
    circle = Circle(edges=1, radius=2.0)
    with pytest.raises(ValidationError, match="frozen"):
        circle.radius = 3.0
    assert circle.replace(radius=3.0) == Circle(edges=1, radius=3.0)
    assert circle.radius == 2.0
    with pytest.raises(SpecError, match="radius=-1"):
        circle.replace(radius=-1.0)
    with pytest.raises(SpecError, match="did you mean 'radius'"):
        circle.replace(radus=1.0)


def test_canonical_json_does_not_depend_on_order():
    backwards = dict(reversed(PICTURE.items()))
    assert canonical_json(load(backwards, Picture)) == canonical_json(load(PICTURE, Picture))
    assert canonical_json({"ü": 1, "a": [True, None]}) == '{"a":[true,null],"ü":1}'


def test_classes_with_equal_fields_have_different_keys():
    class Disc(Circle):
        pass

    fields = {"edges": 1, "radius": 2.0}
    assert len({hash_of(cls(**fields)) for cls in (Circle, Disc)}) == 2


# ── the Spec that matters: a resolved run ──

CONFIGURATIONS = (
    (),
    ("attention=mla", "ffn=moe", "attention.q_lora_rank=8", "lr=constant", "logger=wandb"),
    ("attention=sparse", "position=none", "ffn=moe", "ffn@ffn.expert=mlp", "tokenizer=sentencepiece"),
    ("attention=mha", "ffn=mlp", "data=text", "data.path=texts/*.txt", "grad_clip=null", "model=micro"),
)

# Not to be changed alone: exactly one of the two rules is given, and both or none of a run and its tokens.
TIED = {"stop.tokens", "start.run", "start.tokens"}


@cache
def resolved(configuration: tuple[str, ...]) -> RunSpec:
    corpus = any(override.startswith("data=") for override in configuration)
    base = [override for override in SMALL if not (corpus and override.startswith("data"))]
    return run_spec(compose([*base, *configuration])).resolve()


Path = tuple[str | int, ...]


def leaves(spec: Spec, at: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Path, value and annotation of every field that is not a Spec itself."""
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from leaves(value, (*at, name))
        else:
            yield (*at, name), value, field.annotation


def sections(spec: Spec, data: dict[str, Any]) -> Iterator[tuple[Spec, dict[str, Any]]]:
    yield spec, data
    for name in type(spec).model_fields:
        if isinstance(getattr(spec, name), Spec):
            yield from sections(getattr(spec, name), data[name])


def literals(annotation: Any) -> list[Any]:
    """Every word that a `Literal` in an annotation allows."""
    arguments = get_args(annotation)
    words = [a for a in arguments if isinstance(a, str)]
    return words + [word for a in arguments for word in literals(a)]


def changed(spec: RunSpec, path: Path, value: Any) -> RunSpec | None:
    """The run with one leaf changed, or None where the Specs refuse it."""
    data = dump(spec)
    section = data
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    try:
        return load(data, RunSpec)
    except SpecError:
        return None


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=" ".join)
def test_changing_any_field_changes_the_key(configuration):
    spec = resolved(configuration)
    key = hash_of(spec)
    pool = [True, False, 2, 3, 64, 4096, 0.015625, 0.5, "heads", "another", 3.5, None]
    fixed = set()
    for path, value, annotation in leaves(spec):
        candidates = [c for c in [*literals(annotation), *pool] if not same(c, value)]
        tried = (changed(spec, path, candidate) for candidate in candidates)
        others = list(islice((other for other in tried if other not in (None, spec)), 2))
        if not others and len(literals(annotation)) != 1:
            fixed.add(".".join(map(str, path)))
        assert all(hash_of(other) != key for other in others), path
    assert fixed == TIED


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=" ".join)
def test_every_level_of_a_run_says_what_it_is(configuration):
    spec = resolved(configuration)
    found = list(sections(spec, dump(spec)))
    assert len(found) >= 14
    for part, data in found:
        assert data[TARGET] == target_of(type(part))
        assert set(data) == {TARGET, *type(part).model_fields}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=" ".join)
def test_a_run_survives_its_json(configuration):
    spec = resolved(configuration)
    again = load(json.loads(canonical_json(spec)), RunSpec)
    assert again == spec
    assert canonical_json(again) == canonical_json(spec)
    assert again.resolve() == spec


numbers = st.one_of(
    st.integers(min_value=-(2**40), max_value=2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(min_value=0, max_value=1),
)


@given(
    configuration=st.sampled_from(CONFIGURATIONS),
    changes=st.lists(st.tuples(st.integers(0, 500), numbers | st.text(max_size=5)), max_size=6),
)
def test_runs_with_equal_keys_are_equal_runs(configuration, changes):
    """Whatever fields change to whatever values: the key is the same if and only if the run is, JSON in between."""
    first = spec = resolved(configuration)
    for index, value in changes:
        paths = [path for path, _, _ in leaves(spec)]
        spec = changed(spec, paths[index % len(paths)], value) or spec
    again = load(json.loads(canonical_json(spec)), RunSpec)
    assert again == spec
    assert hash_of(again) == hash_of(spec)
    assert (hash_of(spec) == hash_of(first)) == (spec == first)


def test_what_lies_outside_the_run_does_not_change_its_key():
    keys = {
        hash_of(run_spec(compose([*SMALL, *outside])).resolve())
        for outside in ([], ["logger=wandb"], ["code=accept"], ["checkpoint=1"], ["paths.multirun=x"], ["task=plan"])
    }
    assert len(keys) == 1


def test_two_ways_to_say_the_same_are_one_run():
    keys = {
        hash_of(run_spec(compose([*SMALL, *words])).resolve())
        for words in (
            [],
            ["stop.steps=null", "stop.tokens=2048"],
            ["stop.steps=null", "stop.tokens=1.9e3"],
            ["seed=1.0", "grad_clip=1"],
        )
    }
    assert len(keys) == 1
