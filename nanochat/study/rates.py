"""The learning rate of every size: tried at some of them, and carried to the others by a fitted law.

At a size rates are tried a step apart, first three of them, then on at the side where the best one lies at an end,
until it is bracketed. Where a parabola through the best one and its neighbours has its lowest point is that size's
rate. Over sizes the rate is a power of the number of parameters. Its exponent is a weighted mean of what the sizes say
and of what published laws say: DeepSeek (2401.02954, eq. 1) found C^-0.125, and C grows like N² at the best shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nanochat.core.errors import MachineError
from nanochat.study.design import Design, families

# Exponent of N before anything was tried here, and how sure that is.
EXPONENT, EXPONENT_SD = -0.25, 0.25

# So many times the best loss is beyond the cliff on whose near side loss is a parabola in log rate.
CLIFF = 1.1

Reports = Sequence[tuple[int, float]]

# Rates that a size begins with, about the config's own; only then it is known where to go on.
FIRST_RATES = 3

# How well a parabola through rates a factor 2 apart finds the best rate: a third of the way to the next.
VERTEX_SD = 1 / 3


@dataclass(frozen=True)
class Tried:
    """What was found at one size: log parameters, the lowest point in log rate, and whether it lies at an end."""

    size: float
    vertex: float
    edge: bool


@dataclass(frozen=True)
class RateLaw:
    """log rate = level + exponent·(log N − centre), held inside the range of rates.

    exponent_sd: how sure · tried: what it was fitted to.
    """

    level: float
    exponent: float
    exponent_sd: float
    centre: float
    low: float
    high: float
    tried: tuple[Tried, ...] = ()

    def rate(self, params: float) -> float:
        """The peak learning rate of a model of `params` parameters, to four digits: they would mean nothing more."""
        wanted = math.exp(self.level + self.exponent * (math.log(params) - self.centre))
        return float(f"{min(max(wanted, self.low), self.high):.4g}")


def loss_of(status: str, score: float | None) -> float:
    """The loss of a run that tried a rate: infinite where it diverged or was given up, nan where it failed for another
    reason."""
    return math.inf if status in ("diverged", "pruned") else math.nan if score is None else score


def hopeless(own: Reports, best: Reports, *, tokens: int) -> bool:
    """Whether a rate's curve, drawn out to `tokens`, ends beyond the cliff: further above the best one's than where a
    parabola would still hold, so that all it can tell is that it lies there.

    The ratio of the two curves is drawn out, in logs, from the last two validations that both have: their common
    schedule, which bends both at its end, cancels. A ratio that grows is taken to grow no more.
    """
    there = dict(best)
    ratios = [(t, math.log(loss / there[t])) for t, loss in own if there.get(t)]
    if len(ratios) < 2:
        return False
    (before, first), (now, last) = ratios[-2:]
    trend = min(0.0, (last - first) / math.log(now / before))
    return last + trend * math.log(tokens / now) > math.log(CLIFF)


def rate_laws(design: Design, losses: Mapping[str, Mapping[float, float]]) -> dict[str, RateLaw]:
    """The law of rates of each arm, by its name at every size, from losses by size and rate.

    Raises `MachineError` where rates were tried for an arm and none came to its end.
    """
    found = {}
    for name, sizes in families(design).items():
        known = [(size, losses[size.arm]) for size in sizes if losses.get(size.arm)]
        tried = [tried_at(size.params, rates) for size, rates in known]
        if known and not any(tried):
            raise MachineError(f"no learning rate that was tried for arm '{name}' came to its end")
        found[name] = rate_law(design, [t for t in tried if t], first=sizes[0].peak)
    return found


def wanted_rates(design: Design, tried: Mapping[float, float | None], *, first: float) -> list[float]:
    """The rates still to be tried at a size, of which `tried` are known with their losses (inf: diverged; nan: nobody
    knows, the run failed; None: not yet over); none where the best one is bracketed or nothing is left to try."""
    ladder = [_on(first, k - FIRST_RATES // 2, design) for k in range(FIRST_RATES)]
    begun = [rate for rate in dict.fromkeys(ladder) if rate not in tried]
    if begun:
        return begun[: max(0, design.rates - len(tried))]
    if None in tried.values():
        return []
    known = sorted((rate, loss) for rate, loss in tried.items() if loss is not None and not math.isnan(loss))
    if not known:
        return []
    best = min(known, key=lambda item: item[1])[0]
    beyond = best / design.step if best == known[0][0] else best * design.step if best == known[-1][0] else None
    if beyond is None or len(tried) >= design.rates or not design.low <= beyond <= design.high:
        return []
    return [rate for rate in (_on(beyond, 0, design),) if rate not in tried]


def tried_at(params: float, losses: Mapping[float, float]) -> Tried | None:
    """What rates and their losses say of one size; None where all diverged."""
    known = sorted((math.log(rate), loss) for rate, loss in losses.items() if not math.isnan(loss))
    finite = [item for item in known if math.isfinite(item[1])]
    if not finite:
        return None
    at = finite.index(min(finite, key=lambda item: item[1]))
    if at in (0, len(finite) - 1):
        # Beyond the last that did not diverge there is nothing to look for.
        end = (at == 0 and finite[0] == known[0]) or (at == len(finite) - 1 and finite[-1] == known[-1])
        return Tried(math.log(params), finite[at][0], edge=bool(end))
    return Tried(math.log(params), lowest_point(finite[at - 1 : at + 2]), edge=False)


def lowest_point(three: Sequence[tuple[float, float]]) -> float:
    """Where a parabola through three points has its lowest one; the middle point where it has none."""
    x, y = np.array(three).T
    bend, slope, _ = np.polyfit(x - x[1], y, 2)
    return float(x[1] - slope / (2 * bend)) if bend > 0 else float(x[1])


def rate_law(design: Design, tried: Sequence[Tried], *, first: float) -> RateLaw:
    """The law of an arm's rates; without any tried, `first` at every size."""
    if not tried:
        return RateLaw(math.log(first), 0.0, 0.0, 0.0, design.low, design.high)
    sizes, vertices = np.array([t.size for t in tried]), np.array([t.vertex for t in tried])
    centre = float(sizes.mean())
    if design.transfer == "mup":
        return RateLaw(float(vertices.mean()), 0.0, 0.0, centre, design.low, design.high, tuple(tried))
    known = float(((sizes - centre) ** 2).sum()) / (VERTEX_SD * math.log(design.step)) ** 2
    told = float((sizes - centre) @ vertices) / (VERTEX_SD * math.log(design.step)) ** 2
    before = EXPONENT_SD**-2
    exponent = (told + before * EXPONENT) / (known + before)
    sd = (known + before) ** -0.5
    return RateLaw(float(vertices.mean()), exponent, sd, centre, design.low, design.high, tuple(tried))


def _on(rate: float, k: int, design: Design) -> float:
    """`k` steps from a rate, inside the range, to six digits: the same rate reached in two ways is one."""
    return float(f"{min(max(rate * design.step**k, design.low), design.high):.6g}")
