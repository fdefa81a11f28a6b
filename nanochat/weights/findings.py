"""What an examination of trained weights found, as numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanochat.weights import dead
from nanochat.weights.dead import Units
from nanochat.weights.pruning import RULES, Rule, largest
from nanochat.weights.spectrum import Spectrum

TOLERANCE = 0.01
"""Share by which bits per byte may rise in what is called the largest share of weights that can go."""

SMALL = 0.001
"""Share of bits per byte below which the loss of a part counts as small."""

ENERGIES = (0.9, 0.99)

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class MatrixFound:
    """One matrix, `trained` and as the run began with it (`initial`)."""

    label: str
    kind: str
    layer: int | None
    shape: tuple[int, int]
    trained: Spectrum
    initial: Spectrum

    @property
    def kept(self) -> float | None:
        """Its effective rank as a share of that at the start; None where it started at zero."""
        return None if self.initial.zero else self.trained.effective_rank / self.initial.effective_rank

    def plain(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "layer": self.layer,
            "shape": list(self.shape),
            "trained": _spectrum(self.trained),
            "initial": _spectrum(self.initial),
            "effective_rank_kept": self.kept,
        }


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What bits per byte rise by (`rise`) without a part, ± `error`, the standard error over documents; `routed`: the
    share of tokens' choices that an expert had."""

    name: str
    kind: str
    layer: int
    index: int | None
    rise: float
    error: float
    routed: float | None = None

    def plain(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "layer": self.layer,
            "index": self.index,
            "rise_bpb": finite(self.rise),
            "standard_error": finite(self.error),
            "routed": self.routed,
        }


@dataclass(frozen=True, kw_only=True)
class Findings:
    """run: its key · parts: the options that it is made of, by group · bpb: of the whole model on the sample ·
    curves: (share of weights removed, bpb), ascending, by rule · weights: how many can be removed, and of how many
    in all · notes: what was not measured or is no matrix, and why."""

    run: str
    parts: dict[str, str]
    bytes: int
    tokens: int
    documents: int
    bpb: float
    matrices: tuple[MatrixFound, ...]
    effects: tuple[Effect, ...]
    units: tuple[Units, ...]
    curves: dict[Rule, list[tuple[float, float]]]
    weights: tuple[int, int]
    notes: tuple[str, ...]

    def of_kind(self, *kinds: str) -> list[Effect]:
        """The effects of some kinds of parts."""
        return [effect for effect in self.effects if effect.kind in kinds]

    def small(self, effect: Effect) -> bool:
        """Whether the model hardly misses the part."""
        return effect.rise < SMALL * self.bpb

    def removable(self, rule: Rule) -> float:
        """The largest share of weights that can go, of those measured, at bits per byte within `TOLERANCE`."""
        return largest(self.curves[rule], most=self.bpb * (1 + TOLERANCE)) or 0.0

    @property
    def verdict(self) -> list[str]:
        """What it comes to, a sentence each."""
        said = [self._pruning(), self._branches(), self._parts("head")]
        said += [self._parts("expert", "shared expert"), self._dead(), self._rank()]
        return [sentence for sentence in said if sentence]

    def _pruning(self) -> str:
        magnitude, random = (self.removable(rule) for rule in RULES)
        all_measured = magnitude == self.curves["magnitude"][-1][0]
        most = f"{'At least ' if all_measured else ''}{percent(magnitude)}"
        return (
            f"{most} of the weights in the blocks can go, the smallest first, at bits per byte within "
            f"+{TOLERANCE:.0%}; drawn at random, {percent(random)}."
        )

    def _branches(self) -> str:
        least, most = self._extremes(self.of_kind("attention branch", "ffn branch"))
        return (
            f"The branch missed most is {most.name} ({self.rise_text(most)}), "
            f"least {least.name} ({self.rise_text(least)})."
        )

    def _parts(self, *kinds: str) -> str:
        found = self.of_kind(*kinds)
        if not found:
            return ""
        count = sum(map(self.small, found))
        _, most = self._extremes(found)
        none = "None" if count == 0 else f"{count}"
        return (
            f"{none} of {len(found)} {kinds[0]}s, each taken out alone, cost{'s' if count < 2 else ''} less than "
            f"+{SMALL:.1%}; {most.name} matters most ({self.rise_text(most)})."
        )

    def _dead(self) -> str:
        if not self.units:
            return ""
        hidden = sum(len(units.norms) for units in self.units)
        zero, faint = (sum(getattr(units, name) for units in self.units) for name in ("zero", "faint"))
        if zero + faint == 0:
            return f"None of {hidden:,} hidden units is dead."
        idle = sum(1 for units in self.units if units.tokens == 0)
        more = f" ({idle} expert{'s' if idle > 1 else ''} got no token at all)" if idle else ""
        return (
            f"{zero + faint:,} of {hidden:,} hidden units are dead: {zero:,} are never active{more}, "
            f"{faint:,} add less than {dead.FAINT:g} of the median unit."
        )

    def _rank(self) -> str:
        kept = {found.label: found.kept for found in self.matrices if found.kept is not None}
        if not kept:
            return ""
        lowest = min(kept, key=lambda label: kept[label] or 0.0)
        return (
            f"The effective rank of matrices is {percent(float(np.median(list(kept.values()))))} of that at the start "
            f"(median); lowest is {lowest} with {percent(kept[lowest] or 0.0)}."
        )

    @staticmethod
    def _extremes(effects: Sequence[Effect]) -> tuple[Effect, Effect]:
        """The least and the most missed; what breaks the model altogether is missed most."""
        ordered = sorted(effects, key=lambda effect: effect.rise if math.isfinite(effect.rise) else math.inf)
        return ordered[0], ordered[-1]

    def rise_text(self, effect: Effect) -> str:
        """`+3.1%` of the whole model's bits per byte."""
        return f"{effect.rise / self.bpb:+.1%}" if math.isfinite(effect.rise) else "breaks it"

    def plain(self) -> dict[str, Any]:
        """Everything as plain data; what is not finite is null."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "parts": self.parts,
            "verdict": self.verdict,
            "sample": {"split": "valid", "documents": self.documents, "bytes": self.bytes, "tokens": self.tokens},
            "bpb": self.bpb,
            "pruning": {
                "weights": self.weights[0],
                "parameters": self.weights[1],
                "tolerance": TOLERANCE,
                "removable": {rule: self.removable(rule) for rule in self.curves},
                "curves": {rule: [[s, finite(bpb)] for s, bpb in points] for rule, points in self.curves.items()},
            },
            "effects": {effect.name: effect.plain() for effect in self.effects},
            "units": {units.name: _units(units) for units in self.units},
            "matrices": {found.label: found.plain() for found in self.matrices},
            "notes": list(self.notes),
        }


def percent(share: float) -> str:
    """`62%`; a small one keeps a decimal."""
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


def finite(value: float) -> float | None:
    """The value where JSON has it."""
    return value if math.isfinite(value) else None


def rounded(values: Sequence[float]) -> list[float]:
    """Six digits: more would be noise, and megabytes of it."""
    return [float(f"{value:.6g}") for value in values]


def _spectrum(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "effective_rank": spectrum.effective_rank,
        "stable_rank": spectrum.stable_rank,
        **{f"ranks_for_{energy:.0%}".rstrip("%"): spectrum.ranks_for(energy) for energy in ENERGIES},
        "singular_values": rounded(spectrum.values.tolist()),
    }


def _units(units: Units) -> dict[str, Any]:
    return {
        "layer": units.layer,
        "hidden": len(units.norms),
        "tokens": units.tokens,
        "zero": units.zero,
        "faint": units.faint,
        "contributions": rounded(units.contributions.tolist()),
    }
