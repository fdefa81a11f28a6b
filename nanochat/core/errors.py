"""Errors that people read: key, value, rule and remedy on a few lines, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake: `key=value: rule; remedy`."""

    key: str
    rule: str
    value: Any = None
    remedy: str = ""

    def __str__(self) -> str:
        head = self.key if self.value is None else f"{self.key}={_short(self.value)}"
        line = f"{head}: {self.rule}" if head else self.rule
        return f"{line}; {self.remedy}" if self.remedy else line


class SpecError(ValueError):
    """The user's mistake (exit code 2): one or several `Problem`s, all reported at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def under(self, prefix: str) -> SpecError:
        """The same problems with `prefix.` before every key."""
        return SpecError([replace(p, key=join_key(prefix, p.key)) for p in self.problems])


class MachineError(RuntimeError):
    """The machine's failure (exit code 1): a full disk, an unwritable folder, a network that is not there."""

    exit_code = 1


def spec_error(key: str, value: Any, rule: str, remedy: str = "") -> SpecError:
    """A `SpecError` about one key. `value=None` leaves the value out of the message."""
    return SpecError([Problem(key=key, value=value, rule=rule, remedy=remedy)])


def join_key(prefix: str, key: str) -> str:
    """`join_key("attention", "heads") == "attention.heads"`; either side may be empty."""
    return f"{prefix}.{key}" if prefix and key else prefix or key


def nearest(word: str, choices: Iterable[str]) -> str:
    """The remedy for a misspelling: `did you mean 'peak'?`, or the list of what there is."""
    names = sorted(set(choices))
    match = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if match:
        return f"did you mean '{match[0]}'?"
    return f"try {alternatives(names)}" if names else ""


def alternatives(values: Iterable[Any], *, limit: int = 12) -> str:
    """`1, 2, 4 or 8`; a long list is cut."""
    words = [str(value) for value in values]
    if len(words) > limit:
        return ", ".join(words[:limit]) + ", …"
    if len(words) <= 1:
        return "".join(words)
    return ", ".join(words[:-1]) + " or " + words[-1]


def _short(value: Any, limit: int = 160) -> str:
    text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
