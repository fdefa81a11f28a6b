"""Which confirming runs a study wants: of arms whose tuning is over, on all seeds or up to the next look."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nanochat.study.axes import Arm
from nanochat.study.book import Book
from nanochat.study.judge import seeds_wanted


def wanted(book: Book, *, tuned: Collection[str]) -> int:
    """Seeds of each arm. A look is taken when all are `tuned`, on what confirms the best of each by now alone."""
    found = {(arm, seed): book.confirmed(arm, seed) for arm in tuned for seed in book.definition.seeds}
    ended = {pair: trial.result for pair, trial in found.items() if trial is not None and trial.result is not None}
    return seeds_wanted(book.definition, ended)


def missing(book: Book, *, tuned: Collection[str]) -> Iterator[tuple[Arm, int, int]]:
    """Arm, number and seed of each run that can begin and has not."""
    seeds = book.definition.seeds[: wanted(book, tuned=tuned)]
    for arm in book.definition.arms:
        for number, seed in enumerate(seeds) if arm.name in tuned else ():
            if book.confirmed(arm.name, seed) is None:
                yield arm, number, seed
