"""What is wrong with a table, a fit or a question, as data: findings that refuse, and findings that warn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nanochat.core.errors import spec_error
from nanochat.law.approaches import Comparison, Told
from nanochat.law.certificate import Certificate
from nanochat.law.hoffmann import Array
from nanochat.law.isoflop import REASONS, IsoFlop, budgets

Severity = Literal["refuse", "warn"]

# The law has five numbers; each of N and D needs a few levels to tell a power from a constant.
FEWEST_ROWS, FEWEST_LEVELS = 8, 3

# Above this correlation of log N and log D nothing tells the two apart.
CONFOUNDED = 0.99

# A warm-up that is longer than this share of a run keeps its loss up. Runs of one warm-up in steps and many lengths
# moved a by .1 (Porian et al., 2406.19146).
WARM_UP = 0.1

# Fewer starts than this that agree on the predictions: another start might have found a better law.
AGREE = 1 / 3


@dataclass(frozen=True)
class Finding:
    """code: its name in files · text: what is so, with its figures · remedy: what to do."""

    code: str
    severity: Severity
    text: str
    remedy: str


def insist(findings: Sequence[Finding], *, key: str, value: object) -> None:
    """Raises the first finding that refuses as a `SpecError` about `key`."""
    for finding in findings:
        if finding.severity == "refuse":
            raise spec_error(key, value, finding.text, finding.remedy)


def of_places(n: Array, d: Array) -> list[Finding]:
    """Whether runs at these places can tell N from D."""
    remedy = "add runs of other sizes and lengths"
    found = []
    distinct = len({*zip(n.tolist(), d.tolist(), strict=True)})
    if distinct < FEWEST_ROWS:
        text = f"has {distinct} different points, and {FEWEST_ROWS} are the least that a law can be read from"
        found.append(Finding("few_points", "refuse", text, remedy))
    for name, values in (("parameters", n), ("tokens", d)):
        if len(set(values.tolist())) < FEWEST_LEVELS:
            text = f"has fewer than {FEWEST_LEVELS} different numbers of {name}"
            found.append(Finding(f"few_{name}", "refuse", text, f"add runs of other numbers of {name}"))
    if found:
        return found
    if len(budgets(n * d)) == 1:
        text = "has one budget alone: what more compute brings cannot be read from it"
        return [Finding("one_budget", "refuse", text, "add runs of another compute")]
    correlation = float(np.corrcoef(np.log(n), np.log(d))[0, 1])
    if abs(correlation) > CONFOUNDED:
        text = (
            f"moves parameters and tokens together (correlation of their logs {correlation:.3f}): which of them helps?"
        )
        return [Finding("confounded", "refuse", text, "add runs of one size and several lengths")]
    return []


def of_rows(excluded: Mapping[str, int], *, used: int) -> list[Finding]:
    """Rows that were left out and say something of the others."""
    found = []
    if count := excluded.get("duplicate"):
        text = f"{count} rows are copies of others and count once"
        found.append(Finding("duplicates", "warn", text, "keep one row for each run, or a column of seeds"))
    failed = sum(excluded.get(name, 0) for name in ("diverged", "failed"))
    if failed > used / 4:
        text = f"{failed} runs failed beside {used} that count: those may be the lucky ones"
        found.append(Finding("failures", "warn", text, "find out why; lower the learning rate of what diverged"))
    return found


def of_warm_up(warm_up: Array, d: Array) -> list[Finding]:
    """Warm-up and whole run in the same unit."""
    long = warm_up > WARM_UP * d
    if not long.any():
        return []
    text = f"the warm-up is up to {np.max(warm_up / d):.0%} of a run, above {WARM_UP:.0%} in {int(long.sum())} runs"
    return [Finding("warm_up", "warn", text, "warm up for a share of each run; exponents move by about .1 otherwise")]


def of_isoflop(found: IsoFlop) -> list[Finding]:
    """Budgets that approach 2 refused; all of it where fewer than two are left."""
    remedies = {
        "few sizes": "add sizes to the budget",
        "scattered": "give runs of one budget the same compute",
        "upside down": "look for runs that failed or were not tuned",
        "edge": "add sizes beyond that edge",
    }
    findings = [
        Finding(
            "isoflop_" + one.reason.replace(" ", "_"), "warn",
            f"the budget of {one.compute:.3g} FLOPs does not count: {REASONS[one.reason]}", remedies[one.reason],
        )
        for one in found.refused
    ]  # fmt: skip
    if found.params is None:
        text = f"{len(found.minima)} budgets have a best size, and a line needs two"
        findings.insert(0, Finding("isoflop_budgets", "refuse", text, "add budgets of five sizes or more"))
    return findings


def of_target(c: Float[ndarray, "runs"], *, at: float) -> list[Finding]:
    """Whether the compute asked for is further beyond the runs than the runs reach.

    A power law is known over the range it was seen in; as far again is a guess that it goes on, and further than that
    no held-out run of this table can have tested.
    """
    reach, further = float(np.max(c) / np.min(c)), at / float(np.max(c))
    if further <= reach:
        return []
    text = f"{at:.3g} FLOPs are {further:.3g} times the largest run, and the runs span a factor of {reach:.3g}"
    return [Finding("extrapolation", "warn", text, "ask for less, or add larger runs")]


def of_fit(certificate: Certificate, *, intervals: Mapping[str, Told]) -> list[Finding]:
    """Numbers that the runs do not tell: at a bound, on a ridge, or with an interval as wide as the number itself."""
    found = []
    if certificate.agree < AGREE:
        text = f"{certificate.agree:.0%} of {certificate.starts} starts came to the same law"
        found.append(Finding("starts", "warn", text, "look at the rows; there may be a better law"))
    for name in certificate.bounds:
        text = f"{name} lies on a bound of the fit"
        found.append(Finding("bound", "warn", text, "the runs do not tell it: add runs, or take a smaller form"))
    open_ones = [name for name in certificate.ridge or () if name not in certificate.bounds]
    wide = [name for name, told in intervals.items() if _wide(told) and name not in certificate.bounds]
    for name in dict.fromkeys([*open_ones, *wide]):
        why = f": 95% from {intervals[name].low:.3g} to {intervals[name].high:.3g}" if name in wide else ""
        text = f"{name} is not identified{why}"
        found.append(Finding("unidentified", "warn", text, "add runs where its term is a larger part of the loss"))
    return found


def of_comparison(found: Comparison) -> list[Finding]:
    """Approaches whose intervals of the exponent have nothing in common, and what of it is the method's own bias."""
    fitted = found.approaches[-1].exponent
    assert fitted is not None
    findings = []
    for one in found.approaches[:-1]:
        if one.name not in found.disagree or one.exponent is None:
            continue
        text = f"{one.name} has a = {_range(one.exponent)}, the fit {_range(fitted)}"
        off = [bias.exponent for method, bias in found.bias.items() if one.name.endswith(method)]
        if off and off[0] is not None:
            text += f"; on noise-free losses of the fit it would be {off[0]:+.3f} off"
        remedy = "look at the residuals by size: rates tuned per size? one definition of N and C? edges of the grid?"
        findings.append(Finding("disagreement", "warn", text, remedy))
    return findings


def _wide(told: Told) -> bool:
    return told.high - told.low > abs(told.value)


def _range(told: Told) -> str:
    return f"{told.value:.3f} ({told.low:.3f} to {told.high:.3f})"
