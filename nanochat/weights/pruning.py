"""Unstructured pruning: single weights set to zero, those of least magnitude first, or at random.

Magnitudes are compared across all matrices at once (global magnitude pruning, Han et al., 1506.02626). Nothing is
trained afterwards: what is measured is how much of the trained model is idle as it stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nanochat.core.roles import roles

Rule = Literal["magnitude", "random"]
RULES: tuple[Rule, ...] = ("magnitude", "random")

HALVINGS = 4
"""Measurements that narrow down the largest share that can go: to a sixteenth of the distance between two shares."""


def prunable(model: nn.Module) -> list[nn.Parameter]:
    """The matrices inside the blocks. Embeddings, head, norms, biases and filters are left alone."""
    found = roles(model)
    return [weight for name, weight in model.named_parameters() if found[name] in ("hidden", "residual")]


def ranking(weights: Sequence[Tensor], rule: Rule, *, seed: int) -> list[Tensor]:
    """A number for each weight: the lowest go first."""
    if rule == "magnitude":
        return [weight.detach().abs().cpu() for weight in weights]
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(weight.shape, generator=generator) for weight in weights]


@contextlib.contextmanager
def pruned(weights: Sequence[nn.Parameter], scores: Sequence[Tensor], *, share: float) -> Iterator[float]:
    """Within this the lowest `share` of all weights is zero; afterwards all are what they were, to the bit.

    Yields the share that did go: weights of equal score go together. A larger share always holds a smaller one.
    """
    flat = torch.cat([score.flatten() for score in scores])
    count = round(share * len(flat))
    if count == 0:
        yield 0.0
        return
    highest = flat.kthvalue(count).values
    masks = [score <= highest for score in scores]
    kept = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight.masked_fill_(mask.to(weight.device), 0)
        yield sum(int(mask.sum()) for mask in masks) / len(flat)
    finally:
        with torch.no_grad():
            for weight, whole in zip(weights, kept, strict=True):
                weight.copy_(whole)


def curve(measure: Callable[[float], float], shares: Sequence[float], *, most: float) -> list[tuple[float, float]]:
    """(share, measured) at all `shares`, ascending, and at those in between that narrow down where it passes `most`.

    `HALVINGS` times the interval between the largest share that is fit and the next is cut in the middle.
    """
    points = {share: measure(share) for share in sorted(shares)}
    for _ in range(HALVINGS):
        fit = largest(sorted(points.items()), most=most)
        over = next((share for share in sorted(points) if fit is not None and share > fit), None)
        if fit is None or over is None:
            break
        middle = (fit + over) / 2
        points[middle] = measure(middle)
    return sorted(points.items())


def largest(points: Sequence[tuple[float, float]], *, most: float) -> float | None:
    """The largest share up to which nothing measured is above `most`; None where the first already is."""
    found = None
    for share, value in points:
        if not value <= most:
            break
        found = share
    return found
