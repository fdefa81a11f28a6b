"""A fitted law in words and numbers, from its record alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nanochat.report.planned import short

Record = Mapping[str, Any]
Told = Mapping[str, Any]

NAMES = {
    "a": "a, of N* ∝ C^a",
    "params": "N*",
    "tokens": "D*",
    "tokens_per_param": "D*/N*",
    "loss": "loss there",
}

# Held-out cuts that are told, of many.
CUTS = 6

# Bounds of a fit keep what may vanish this far from nought.
NOTHING = 1e-9


def number(value: float | None) -> str:
    """`0.4971`, `3.2e-07`, `17.4K`; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < NOTHING:
        return "0"
    if abs(value) >= 1e3:
        return short(value)
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def span(told: Told, *, form: str | None = None) -> str:
    """`0.48 to 0.52`; a dash where there is no interval."""
    low, high = told.get("low"), told.get("high")
    if low is None or high is None:
        return "–"
    return f"{_in(low, form)} to {_in(high, form)}"


def with_span(told: Told | None, *, form: str | None = None) -> str:
    """`0.497 (0.48 to 0.52)`."""
    if not told or told["value"] is None:
        return "–"
    ends = span(told, form=form)
    return _in(told["value"], form) + (f" ({ends})" if ends != "–" else "")


def numbers(record: Record) -> list[tuple[str, str, str, str]]:
    """Name, value, 95% interval and profile interval of everything that is told of a law, the answers last."""
    found = [
        (str(NAMES.get(name, name)), number(told["value"]), span(told), _profile(told.get("profile")))
        for name, told in record["told"].items()
    ]
    for name, told in record["answers"].items():
        form = ".4f" if name == "loss" else None
        found.append((NAMES[name], _in(told["value"], form), span(told, form=form), _profile(told.get("profile"))))
    return found


def answered(name: str, record: Record, *, unit: str = "bits per byte") -> str:
    """What a law says of its target."""
    at, answers = f"{record['at']:.3g} FLOPs", record["answers"]
    if not answers:
        return f"The law of {name} has no best size at {at}."
    parts = [with_span(answers[key]) for key in ("params", "tokens", "tokens_per_param")]
    loss = with_span(answers["loss"], form=".4f")
    return (
        f"At {at} {name} is expected to be best with N* = {parts[0]} parameters and D* = {parts[1]} tokens, "
        f"{parts[2]} a parameter: {loss} {unit}."
    )


def loss_there(record: Record) -> str:
    """What a law without shapes says of its target."""
    return f"At {record['at']:.3g} FLOPs a loss of {with_span(record['answers']['loss'], form='.4f')} is expected."


def ahead(record: Record) -> str:
    """How well the law did beyond what it was fitted to, and how far its target lies."""
    lies = ""
    if record["at"]:
        further = record["at"] / max(row["c"] for row in record["rows"])
        lies = f"; the target lies {further:.3g} times beyond the largest run"
    if not record["held_out"]:
        why = "Too few runs to hold" if lies else "Without a compute for every run there is no holding"
        return f"{why} the largest budgets out{lies}."
    furthest = record["held_out"][-1]
    return (
        f"Fitted without the largest budgets, the law was {furthest['error']:.2%} off on {furthest['rows']} runs up to "
        f"{furthest['ratio']:.3g} times further in compute{lies}."
    )


def few_cuts(cuts: Sequence[Told]) -> list[Told]:
    """Held-out cuts evenly out of many, the nearest and the furthest among them: a line each is read."""
    return [cuts[round(i * (len(cuts) - 1) / (CUTS - 1))] for i in range(CUTS)] if len(cuts) > CUTS else list(cuts)


def disagreement(record: Record) -> str:
    """Whether the approaches agree on a."""
    told = [each for each in record["approaches"] if each["a"]]
    values = ", ".join(f"{each['method']} {with_span(each['a'])}" for each in told)
    if record["disagree"]:
        return f"The approaches disagree on a: {'; '.join(record['disagree'])}."
    if len(told) < 2:
        return "The fit stands alone: no other approach has a line through these runs."
    return f"The approaches do not contradict one another on a: {values}."


def certificate(record: Record) -> list[str]:
    """Whether to believe the fit, in sentences."""
    sure = record["certificate"]
    held = f"on a bound: {', '.join(sure['bounds'])}" if sure["bounds"] else "no number lies on a bound"
    ridge = sure.get("ridge")
    known = f"left open by their profile: {', '.join(ridge)}" if ridge else "no profile is left open"
    condition = "without bound" if sure["condition"] is None else f"{sure['condition']:.3g}"
    return [
        f"{sure['agree']:.0%} of {sure['starts']} starts came to the same predictions.",
        f"The best of them moved by {sure['moved']:.2g} in its exponents; at the end the largest cosine of residuals "
        f"and gradient is {sure['gradient']:.1g}, the condition number {condition}.",
        f"{held[0].upper()}{held[1:]}; {known}.",
    ]


def findings(record: Record) -> list[str]:
    """What is wrong with rows, fit or question, a line for each kind."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for each in record["findings"]:
        kinds.setdefault((each["code"], each["remedy"]), []).append(each["text"])
    return ["; ".join(texts) + (f": {remedy}" if remedy else "") for (_, remedy), texts in kinds.items()]


def refusals(record: Record) -> list[tuple[str, str, str]]:
    """Method, computes and reason of the budgets that have no minimum, or of a whole approach."""
    found: dict[tuple[str, str], list[float]] = {}
    for each in record.get("approaches", ()):
        for one in each["refused"]:
            found.setdefault((each["method"], one["text"]), []).append(one["c"])
        if not each["a"] and each.get("missing"):
            found.setdefault((each["method"], each["missing"]), [])
    methods: dict[tuple[str, str], list[str]] = {}
    for (method, text), computes in found.items():
        methods.setdefault((_computes(computes), text), []).append(method)
    return [(", ".join(own), computes, text) for (computes, text), own in methods.items()]


def fitted(record: Record) -> Iterator[tuple[str, str]]:
    """How the law was fitted: what a report of a law must state, name and value."""
    form, options, sure = record["form"], record["options"], record["certificate"]
    yield "form", f"{form['equation']} ({form['source']}); free: {', '.join(form['parameters'])}"
    for key, name in (("n", "N"), ("d", "D"), ("c", "C"), ("loss", "loss")):
        yield name, record["definitions"][key]
    left = ", ".join(f"{count} {reason}" for reason, count in record["excluded"].items())
    yield "rows", f"{len(record['rows'])} used; left out: {left or 'none'}"
    delta = "least squares" if options["delta"] is None else f"Huber, δ = {options['delta']:g}"
    weights = f", weights: {options['weights']}" if options["weights"] else ""
    of = "log loss" if options["on"] == "log" else "loss"
    yield "minimised", f"sum over rows, {delta}, of residuals of the {of}{weights}"
    how = f"variable projection from {sure['starts']} starts, each then by damped Gauss–Newton steps until none moves"
    agree = f"{sure['agree']:.0%} of the starts converged to the same law"
    yield "optimiser", f"{how} it by 1e-15; objective {record['objective']:.6g}; {agree}"
    how = record["interval"]
    drawn = f"{how['level']:.0%}, {how['method']}: {how['count']} times from {how['clusters']} clusters"
    yield "intervals", f"{drawn}; beside them by profile likelihood"
    cuts = few_cuts(record["held_out"])
    off = "; ".join(f"{cut['error']:.2%} on {cut['rows']} rows, {cut['ratio']:.3g} times further" for cut in cuts)
    yield "held out", off or "too few rows to leave the largest budgets out"


def covers(record: Record, entropy: float) -> str:
    """Whether the interval of E holds the corpus's entropy."""
    told = record["told"].get("E")
    known = f"The corpus has an entropy of {entropy:.4f} bits per byte"
    if not told or told["low"] is None or told["high"] is None:
        return f"{known}; E has no interval to hold against it."
    both = [_covering("by runs drawn again", told["low"], told["high"], entropy)]
    if profile := told.get("profile"):
        both.append(_covering("by profile", profile[0], profile[1], entropy))
    return f"{known}. E is {told['value']:.4f}: {'; '.join(both)}."


def _covering(how: str, low: float | None, high: float | None, value: float) -> str:
    """Whether an interval, open where an end is None, holds a value."""
    holds = (low is None or low <= value) and (high is None or value <= high)
    ends = " to ".join("open" if end is None else f"{end:.4f}" for end in (low, high))
    return f"{ends} {how} {'covers it' if holds else 'does not cover it'}"


def _computes(computes: Sequence[float]) -> str:
    """`1.2e+18`, or how many there are and between which they lie."""
    if len(computes) <= 3:
        return ", ".join(f"{c:.3g}" for c in computes)
    return f"{len(computes)} from {min(computes):.3g} to {max(computes):.3g}"


def _in(value: float | None, form: str | None) -> str:
    return number(value) if form is None or value is None else format(value, form)


def _profile(ends: Sequence[float | None] | None) -> str:
    if ends is None:
        return ""
    low, high = ("open" if end is None else number(end) for end in ends)
    return "open" if low == high == "open" else f"{low} to {high}"
