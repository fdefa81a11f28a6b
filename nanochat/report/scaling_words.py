"""What a scaling study has to say, in sentences: what it asks, what it answers, what limits that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from nanochat.report import law_words as law
from nanochat.report.planned import short
from nanochat.report.scaling import Scaling
from nanochat.report.words import grounds, listed
from nanochat.study.rates import RateLaw

TRANSFER = {
    "law": "the rest by a power of N through the best ones",
    "mup": "carried to every size by µP",
    "none": "none: every size has the config's own",
}

# Percentiles of tables drawn from fewer clusters say little.
FEW_CLUSTERS = 10


def question(scaling: Scaling) -> str:
    """What the study asks."""
    names, many = listed([scaling.label(name) for name in scaling.names]), len(scaling.names) > 1
    better = "Which is better at scale, and h" if many else "H"
    return f"{better}ow large should {names} be, on how many tokens, for {scaling.target:.3g} training FLOPs?"


def verdict(scaling: Scaling) -> list[str]:
    """How the arms compare, and the answer of each with its uncertainty."""
    return [*map(crossing, scaling.crossings), *(s for name in scaling.names for s in _arm(scaling, name))]


def estimand(scaling: Scaling) -> str:
    """What the numbers are."""
    return (
        "A law is fitted to the test bits per byte of whole runs, each with a decay of its own. Intervals: 95%, by "
        "drawing sizes and seeds again, all runs of one size and seed together, as longer ones went on from shorter "
        "ones. They tell how well these runs tell the law, not whether it goes on beyond them."
    )


def caveats(scaling: Scaling) -> list[str]:
    """What limits the answer."""
    found = grounds(scaling.frame, runs="point")
    for name in scaling.names:
        record = scaling.records.get(name)
        prefix = f"{name}: " if len(scaling.names) > 1 else ""
        found += [prefix + text for text in law.findings(record)] if record else []
    if untold := [scaling.label(name) for name in scaling.names if name not in scaling.rates]:
        found.append(f"No learning rate that was tried for {listed(untold)} came to its end.")
    edged = [size for name, rates in scaling.rates.items() for size in _edges(scaling, name, rates)]
    if edged:
        found.append(
            f"The best rate tried lies at an end of those tried at {listed(edged)}: a further one may be better."
        )
    few = {k for record in scaling.records.values() if (k := record["interval"]["clusters"]) < FEW_CLUSTERS}
    if few:
        found.append(f"Intervals are drawn from {min(few)} clusters, sizes by seeds: from so few they are rough.")
    if len(scaling.frame.definition.seeds) == 1:
        found.append("One seed: noise between seeds is seen only as scatter about the law.")
    return found


def crossing(found: Mapping[str, Any]) -> str:
    """How two arms compare: where their best losses cross, and who is better at the target."""
    a, b = found["a"], found["b"]
    first, then = (a, b) if found["first"] == "A" else (b, a)
    wins = _wins(found)
    if found["compute"] is None:
        seen = f"; {found['share']:.0%} of the laws drawn again cross" if found["share"] else ""
        return f"{first} is better than {then} from {found['low']:.2g} to {found['high']:.2g} FLOPs{seen}.{wins}"
    where = law.with_span(found["compute"], form=".2g")
    more = ", the last of several crossings" if found["more"] else ""
    return (
        f"{first} is better below {where} FLOPs, {then} above{more}; {found['share']:.0%} of the laws drawn again "
        f"cross between {found['low']:.2g} and {found['high']:.2g}.{wins}"
    )


def _wins(found: Mapping[str, Any]) -> str:
    """Who is likelier to be better at the target, and how likely."""
    if found["wins"] is None:
        return ""
    better, chance = max(("a", found["wins"]), ("b", 1 - found["wins"]), key=lambda each: each[1])
    return f" At the target {found[better]} is the better with a probability of {chance:.0%}."


def checklist(scaling: Scaling, name: str) -> Iterator[tuple[str, str]]:
    """What a report of a law must state, name and value, all from the files."""
    record, design = scaling.records.get(name), scaling.design
    if record:
        yield from law.fitted(record)
    yield "smoothing", "none: the loss of a run is its last score"
    lr = scaling.frame.definition.runs[scaling.sizes(name)[0].arm]["lr"]
    fields = ", ".join(f"{key} {value}" for key, value in lr.items() if key not in ("_target_", "factors", "peak"))
    yield "schedule", f"{lr['_target_'].split('.')[-2]}: {fields}; batches of {design.batch:,} tokens"
    begun = "a longer run goes on from a shorter one of its size and seed, where the decay of that one began"
    yield (
        "checkpoints",
        f"{begun}; each point is the end of its own decay" if design.branches else "the last of each run",
    )
    levels = f"{design.levels} levels of compute, each {design.growth:g} times the last, from {design.least:.3g} FLOPs"
    yield "design", f"{design.kind}: {levels}; {design.breadth} sizes a level, at least {design.steps} steps a run"
    yield "tuning", _tuning(scaling, name)


def _tuning(scaling: Scaling, name: str) -> str:
    design = scaling.design
    if design.transfer == "none":
        return f"learning rate: {TRANSFER['none']}"
    if name not in scaling.rates:
        return "learning rate: none that was tried came to its end"
    rates = scaling.rates[name]
    grown = f" (N^{rates.exponent:.3f} ± {rates.exponent_sd:.3f})" if design.transfer == "law" else ""
    return (
        f"learning rate: tried {design.step:g} times apart at {len(rates.tried)} sizes on seed "
        f"{scaling.frame.definition.tune_seed} until the best is bracketed, judged on the valid documents; "
        f"{TRANSFER[design.transfer]}{grown}; nothing else is tuned"
    )


def _arm(scaling: Scaling, name: str) -> Iterator[str]:
    if name in scaling.unfitted:
        record = scaling.unfitted[name]
        if not record["rows"]:
            yield f"No law for {scaling.label(name)}: no point is complete."
        else:
            yield f"No law for {scaling.label(name)}: its table {'; it '.join(law.findings(record))}."
        return
    record = scaling.records[name]
    yield law.answered(scaling.label(name), record)
    if shape := scaling.answers.get(name):
        rate = f", learning rate {shape['rate']:g}" if shape["rate"] else ""
        yield _of(
            scaling,
            name,
            f"Nearest shape: {' '.join(shape['overrides'])}, {short(shape['params'])} parameters, on "
            f"{short(shape['tokens'])} tokens{rate}: {law.with_span(shape['loss'], form='.4f')} bits per byte "
            "expected. Nothing was trained there.",
        )
    yield _of(scaling, name, law.ahead(record))
    if scaling.entropy is not None:
        yield _of(scaling, name, law.covers(record, scaling.entropy))


def _of(scaling: Scaling, name: str, sentence: str) -> str:
    """A sentence about an arm, which it names where there are several."""
    return sentence if len(scaling.names) == 1 else f"{name}: {sentence[0].lower()}{sentence[1:]}"


def _edges(scaling: Scaling, name: str, rates: RateLaw) -> Iterator[str]:
    edged = [tried.size for tried in rates.tried if tried.edge]
    yield from (size.arm for size in scaling.sizes(name) if math.log(size.params) in edged)
