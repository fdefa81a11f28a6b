"""The catalogue says what the code says, and every component says what a reader needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nanochat.report.catalogue import Component, components, fields_of, page

DOCS = Path(__file__).resolve().parents[2] / "docs" / "components.md"
ALL = list(components())
SOURCED = ("attention", "ffn", "norm", "position", "init", "optimizer", "lr", "objective")
COSTED = ("attention", "ffn")


def ids(found: Component) -> str:
    return f"{found.group}={found.option}"


def test_the_page_is_up_to_date():
    assert DOCS.read_text() == page(), "run `make docs`"


@pytest.mark.parametrize("found", ALL, ids=ids)
def test_every_field_is_listed_and_explained(found: Component):
    listed = {f.name.partition(".")[0] for f in found.fields}
    assert listed == set(found.spec.model_fields)
    assert [f.name for f in found.fields if not f.what.strip()] == []


@pytest.mark.parametrize("found", [c for c in ALL if c.group in SOURCED], ids=ids)
def test_every_component_names_its_source(found: Component):
    assert re.search(r"\d{4}\.\d{4,5}|\(?(18|19|20)\d\d\)?|our own definition|[Oo]ur own", found.what), found.what


@pytest.mark.parametrize("found", [c for c in ALL if c.group in COSTED], ids=ids)
def test_every_cost_has_a_formula(found: Component):
    assert found.cost


def test_fields_of_a_file():
    text = "_target_: a.B\ndefaults:\n  - /ffn@expert: swiglu\n  - _self_\nwidth: null  # one\n        # two\n" + (
        "factors:   # all\n  head: 1.0  # of the head\n"
    )
    found = [(f.name, f.default, f.what) for f in fields_of(text)]
    assert found == [
        ("width", "null", "one two"),
        ("factors", "", "all"),
        ("factors.head", "1.0", "of the head"),
        ("expert", "swiglu", "a component of its own, any `ffn`"),
    ]
