"""Experiments on one part of a model, from outside: what its output depends on, and how."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nanochat.check.subject import Part

TOLERANCE = 1e-6
"""Relative to the largest output: what rounding may change where nothing should."""


class Reach(NamedTuple):
    """What tokens an attention's output reads. ahead: how far after itself a token reads, 0 for a causal one; all
    that is there is `everything` · behind: whether any token reads an earlier one."""

    ahead: int
    everything: bool
    behind: bool


def changed(before: Tensor, after: Tensor, *, tolerance: float = TOLERANCE) -> Tensor:
    """Where two outputs differ by more than rounding; numbers that are none differ from everything."""
    scale = before[before.isfinite()].abs().max().clamp(min=1e-30) if before.isfinite().any() else before.new_ones(())
    return ~((after - before).abs() <= tolerance * scale)


def other(x: Float[Tensor, "batch time dim"], *, seed: int = 0) -> Float[Tensor, "batch time dim"]:
    """Unrelated vectors of the same sizes."""
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    return drawn * x.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)


def reach(part: Part) -> Reach:
    """Change the stream from some token on, and up to some token: which outputs follow?"""
    x, new, y = part.x, other(part.x), part(part.x)
    time = x.shape[1]
    ahead, everything = 0, False
    for place in sorted({1, time // 2, time - 1} - {0}):
        tokens = changed(y, part(torch.cat([x[:, :place], new[:, place:]], 1)))[:, :place].flatten(2).any(-1).any(0)
        if tokens.any():
            ahead = max(ahead, place - int(tokens.nonzero()[0]))
            everything |= bool(tokens[0]) and place == time - 1
    half = time // 2
    behind = changed(y, part(torch.cat([new[:, :half], x[:, half:]], 1)))[:, half:].any()
    return Reach(ahead, everything, bool(behind))


def reads_other_sequences(part: Part) -> bool:
    """Whether a sequence's output follows when all the others are changed."""
    x = part.x
    return bool(changed(part(x), part(torch.cat([x[:1], other(x)[1:]])))[0].any())


def reads_other_tokens(part: Part) -> bool:
    """Whether a token's output follows when the last token is changed."""
    x = part.x
    return bool(changed(part(x), part(torch.cat([x[:, :-1], other(x)[:, -1:]], 1)))[:, :-1].any())


def spread(part: Part, *, scale: float = 1.0, rows: int | None = None) -> float:
    """The largest output over the smallest, for sequences of one vector repeated n and n/2 times.

    Weights that sum to one over the keys make it 1: every token takes a mean of equal values, whatever the weights.
    """
    time = part.x.shape[1]
    same = scale * part.x[:rows, :1]
    sizes = [part(same.expand(-1, count, -1)).norm(dim=-1) for count in (time, max(1, time // 2))]
    largest = torch.cat(sizes, 1).amax(1)
    smallest = torch.cat(sizes, 1).amin(1).clamp(min=1e-30)
    return float((largest / smallest).median())


def shared_out(part: Part) -> bool:
    """Whether the sum of all outputs stays when something is moved from one token to another.

    Weights that sum to one over the *queries* share each value out among them: Σ_t y_t = W·Σ_s x_s, however the
    weights change. Weights that sum to one over the keys do not.
    """
    x = part.x
    time = x.shape[1]
    moved = x.clone()
    step = other(x, seed=1)[:, 0]
    moved[:, time // 4] += step
    moved[:, 3 * time // 4] -= step
    before, after = part(x), part(moved)
    total = (after.sum(1) - before.sum(1)).norm(dim=-1)
    each = (after - before).norm(dim=-1).sum(1)
    return bool((total < 1e-3 * each).all())


def normalised(part: Part) -> bool:
    """Whether its output has one size, whatever the size of its input: every token's, at two scales of the input."""
    sizes = torch.cat([part(scale * part.x).square().mean(-1).sqrt().flatten() for scale in (1.0, 4.0)])
    return bool(sizes.std() < 5e-3 * sizes.mean())
