"""Checks the shapes and types in signatures while tests run: `--jaxtyping-packages=nanochat,shapes.checked`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException

# `float` takes an int, as everywhere else in Python.
_CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype, but for hints it cannot read outside a decorated class (`Self`): those functions stay unchecked."""
    try:
        return beartype(conf=_CONF)(function)
    except BeartypeDecorHintException:
        return function
