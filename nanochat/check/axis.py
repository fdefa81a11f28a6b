"""Attention over the right axis: weights over the keys of the token's own sequence."""

from __future__ import annotations

from nanochat.check.base import Result, failed, passed
from nanochat.check.probe import reach, reads_other_sequences, shared_out, spread
from nanochat.check.subject import Part, Subject

SUM = 1.5
"""How much the outputs of equal tokens may differ in size where an attention reads the future anyway. Weights over
another axis make them differ by the number of tokens; what convolutions and gates do at the ends stays below."""


def attention_axis(subject: Subject) -> Result:
    """No attention of the model has its weights over queries, heads or sequences instead of keys."""
    for part in subject.of_kind("attention"):
        mistake = wrong_axis(part)
        if mistake:
            return failed(
                f"{part.name} attends over the wrong axis: {mistake}",
                "Scores [batch, heads, query, key] take their softmax over the last axis, the keys (dim=-1).",
            )
    return passed("weights lie over the keys")


def wrong_axis(part: Part) -> str:
    """What shows that an attention works over a wrong axis; empty where nothing does.

    What it is inside is not known, and much that is no mean of values is right (gates, sinks, linear attention). So
    a wrong axis is named only where something else is wrong as well: the future or other sequences are read, no
    token reads another, or outputs grow as the number of tokens while values stay the same.
    """
    time = part.x.shape[1]
    numbers = part(part.x).isfinite().flatten(2).all(-1).all(0)
    if not numbers[0] and numbers[-1]:
        return "its output is no number except for the last token: a softmax over nothing but masked scores"
    seen = reach(part)
    strangers = reads_other_sequences(part)
    if strangers and (not seen.behind or spread(part, rows=1) > SUM):
        return "a token reads other sequences of the batch: the softmax is over the batch"
    if time > 1 and not seen.behind and not seen.ahead:
        return "no token reads any other token of its sequence"
    if seen.ahead and shared_out(part):
        return "its weights sum to one over the queries, not the keys, so that later tokens decide what is left"
    if seen.ahead and spread(part) > SUM:
        return "its weights do not sum to one over the keys"
    if not seen.ahead and min(spread(part), spread(part, scale=0.05)) > max(4.0, time / 2):
        return "its weights do not sum to one over the keys: equal tokens add up, as many as there are"
    return ""
