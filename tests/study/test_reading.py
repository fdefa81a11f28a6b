"""How a study is read: what of it makes another study, and how it is stored."""

from __future__ import annotations

import json
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.core.artifact import write_json
from nanochat.core.errors import SpecError
from nanochat.study.axes import Arm
from nanochat.study.definition import FILE, open_definition, plain, read_definition
from nanochat.study.matched import Matched
from nanochat.study.reading import Reading
from tests.study.definitions import PEAK, definition

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


FIELDS, HOW = ([field.name for field in fields(kind)] for kind in (Reading, Matched))
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)
LOOKS = st.lists(st.integers(3, 99), max_size=3).map(tuple)
MATCHED = st.tuples(WORDS, WORDS, WORDS, st.none() | WORDS, st.none() | st.integers(), NUMBERS, NUMBERS)
READINGS = st.tuples(st.none() | NUMBERS, st.none() | WORDS, st.sampled_from(("seeds", "documents")), LOOKS)


@given(PAIRS, st.lists(MATCHED, max_size=3), READINGS)
@settings(max_examples=40, deadline=None)
def test_scales_matches_and_readings_come_back_from_their_file(
    pairs: list[tuple[str, str]], matched: list[tuple[Any, ...]], reading: tuple[Any, ...]
) -> None:
    arms = tuple(Arm(f"{name} @ {scale}", (f"x={name}",), (PEAK,), scale) for name, scale in pairs)
    study = replace(definition(), arms=arms, reading=Reading(**dict(zip(FIELDS, reading, strict=True))))
    study = replace(study, matched=tuple(Matched(**dict(zip(HOW, values, strict=True))) for values in matched))
    with tempfile.TemporaryDirectory() as name:
        write_json(Path(name) / FILE, plain(study))
        found = read_definition(Path(name))
    assert found == study and json.dumps(plain(found)) == json.dumps(plain(study))


def test_a_definition_of_an_earlier_version_is_refused_in_plain_words(tmp_path: Path) -> None:
    write_json(tmp_path / FILE, {**plain(definition()), "schema": 2})
    with pytest.raises(SpecError, match=r"schema 2, this one reads 3\); choose another study\.name; finished runs"):
        read_definition(tmp_path)


@pytest.mark.parametrize("change", [{"rope": 0.1}, {"baseline": "mla"}, {"generalise": "documents"}])
def test_how_it_is_read_is_part_of_a_study_only_where_it_may_end_early(tmp_path: Path, change: dict) -> None:
    study = definition(seeds=(1, 2, 3, 4))
    wanted = replace(study, reading=Reading(**change))
    write_json(tmp_path / FILE, plain(study))
    assert open_definition(tmp_path, wanted) == wanted
    looking = replace(study, reading=Reading(looks=(3, 4)))
    write_json(tmp_path / FILE, plain(looking))
    with pytest.raises(SpecError, match=rf"reading\.{next(iter(change))}"):
        open_definition(tmp_path, replace(looking, reading=Reading(looks=(3, 4), **change)))


def test_a_study_cannot_get_looks_once_it_has_begun(tmp_path: Path) -> None:
    study = definition(seeds=(1, 2, 3, 4))
    write_json(tmp_path / FILE, plain(study))
    with pytest.raises(SpecError, match="is another study already"):
        open_definition(tmp_path, replace(study, reading=Reading(looks=(3, 4))))


def test_a_baseline_is_an_arm_at_every_scale() -> None:
    arms = [Arm(f"{name} @ s", (), (), "s") for name in ("a", "b")]
    Reading(baseline="a").check(arms, seeds=3)
    with pytest.raises(SpecError, match=r"study\.baseline=a @ s: is no arm; try a or b"):
        Reading(baseline="a @ s").check(arms, seeds=3)
