"""Learning one small batch by heart, with the run's own optimizer, and with other rates where its own does not."""

from __future__ import annotations

import math
from typing import NamedTuple

from nanochat.check.attempt import STEPS, Attempt
from nanochat.check.base import Result, failed, passed
from nanochat.check.subject import Subject
from nanochat.core.spec import option_of

HIGHER, LOWER = 2.5, 0.75
"""Nats around ln(vocabulary). Logits of standard deviation σ cost σ²/2: 2.5 nats are σ = 2.2, which only weights
much wider than 1/√fan_in give."""
FACTORS = (1.0, 3.0, 10.0, 30.0, 100.0)


class Rates(NamedTuple):
    """The run's schedule: its peak, and whether it has a warm-up and a decay."""

    peak: float
    warmup: bool
    decay: bool


def gradients(subject: Subject) -> Result:
    """Over some steps, every parameter gets a gradient that is a number and not zero."""
    tried = subject.own_attempt
    if tried.broken:
        return failed(
            f"the gradient of {listed(tried.broken)} is no number",
            "Look for 0/0, log(0) or √0 in what it goes through.",
        )
    if tried.silent:
        return failed(
            f"no gradient in {tried.steps} steps reaches {listed(tried.silent)}",
            "Look for a detach, a no_grad, an argmax, or a parameter that the forward does not use.",
        )
    return passed(f"all {len(tried.reached)} parameters, over {tried.steps} steps")


def learning_rate(subject: Subject) -> Result:
    """The run's own rates learn one batch, or the run is long enough to make up for low ones."""
    own, rates = subject.own_attempt, schedule(subject)
    shape = _shape(subject, rates)
    if own.learned:
        return passed(f"one batch: {own.losses[0]:.2f} to {own.losses[-1]:.2f} nats in {own.steps} steps; {shape}")
    diverged = not own.losses[-1] <= own.losses[0]
    others = {}
    for factor in FACTORS[1:] if not diverged else ():
        others[factor] = subject.attempt(factor=factor)
        if others[factor].learned:
            if factor <= allowance(subject, rates):
                return passed(f"learns one batch at {factor:.0f} times the rate, or in as many more steps; {shape}")
            return failed(_low(rates, own, factor=factor, better=others[factor]), _raise(subject, rates, factor))
    for factor in (0.1, 0.01):
        lower = subject.attempt(factor=factor)
        if lower.learned or lower.moved > max(1.0, 2 * own.moved):
            return failed(
                f"the rate is too high: lr.peak={rates.peak:g} took one batch from {own.losses[0]:.2f} to "
                f"{own.losses[-1]:.2f} nats, {factor * rates.peak:g} to {lower.losses[-1]:.2f}",
                f"Try lr.peak={factor * rates.peak:g}.",
            )
    return failed(
        f"one batch is not learned at any rate from {rates.peak / 100:g} to {rates.peak * 100:g}: "
        f"{own.losses[0]:.2f} to {own.losses[-1]:.2f} nats in {own.steps} steps",
        "The rate is not the cause: look at gradients, the objective and the optimizer.",
    )


def allowance(subject: Subject, rates: Rates) -> float:
    """How many times higher a rate may be that learns one batch: as many steps more at a lower rate go as far. One
    that neither warms up nor decays has no reason to be low, however long the run."""
    longer = subject.spec.steps / STEPS if rates.warmup or rates.decay else 0.0
    return max(FACTORS[1], longer)


def schedule(subject: Subject) -> Rates:
    """Read off the rates of the run's own steps."""
    lr, steps = subject.spec.lr, subject.spec.steps
    rates = [lr.rate(round(i * (steps - 1) / 99), steps=steps) for i in range(100)]
    peak = max(rates)
    return Rates(lr.peak, warmup=rates[0] < 0.9 * peak, decay=rates[-1] < 0.9 * peak)


def _shape(subject: Subject, rates: Rates) -> str:
    name = f"lr={option_of(subject.spec.lr)}"
    missing = [word for word, there in (("warm-up", rates.warmup), ("decay", rates.decay)) if not there]
    return f"{name} has no {' and no '.join(missing)}" if missing else f"{name} warms up and decays"


def _low(rates: Rates, own: Attempt, *, factor: float, better: Attempt) -> str:
    return (
        f"the rate is too low: lr.peak={rates.peak:g} moved the loss on one batch by {own.moved:.2f} nats in "
        f"{own.steps} steps, {factor * rates.peak:g} by {better.moved:.2f} in {better.steps}"
    )


def _raise(subject: Subject, rates: Rates, factor: float) -> str:
    advice = f"Try lr.peak={factor * rates.peak:g}"
    if rates.warmup and rates.decay:
        return f"{advice}."
    return f"{advice} with a schedule, e.g. lr=cosine: {_shape(subject, rates)}."


def listed(names: set[str], limit: int = 4) -> str:
    """Some of the names, and how many more there are."""
    shown = sorted(names)[:limit]
    return ", ".join(shown) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def first_loss(subject: Subject) -> Result:
    """An untrained model knows nothing: its loss is about ln(vocabulary)."""
    loss, expected = subject.own_attempt.losses[0], math.log(subject.vocab)
    said = f"{loss:.2f} nats a token at step 0; ln({subject.vocab}) = {expected:.2f}"
    if not math.isfinite(loss):
        return failed(f"{loss} nats at step 0", "Look for a division by zero or an overflow in the forward.")
    if loss > expected + HIGHER:
        return failed(
            f"{said}: it is sure of what it cannot know",
            "Initial weights are too wide (init.gain, the embedding, a head without a norm before it).",
        )
    if loss < expected - LOWER:
        return failed(
            f"{said}: it knows too much already", "Look for a target that the input gives away, or summed nats."
        )
    return passed(said)
