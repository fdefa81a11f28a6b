"""The sizes of a scaling study: a ladder of shapes of one proportion, or those that the study names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nanochat.core.compose import Interval, compose_variant
from nanochat.core.errors import SpecError, join_key, spec_error
from nanochat.run.spec import RunSpec, run_spec
from nanochat.study.axes import Arm, Axis, fixed_overrides, merge, typed_key
from nanochat.study.design import Size

# Widths of the ladder: from one to the next parameters grow by about 1.4 (at first more).
WIDTHS = (
    *range(16, 160, 16),
    *range(160, 384, 32),
    *range(384, 768, 64),
    *range(768, 1536, 128),
    *range(1536, 4097, 256),
)

# Widths of shapes that are no steps of the ladder, too, are multiples of this.
STEP_OF_WIDTH = 16

# By how much a shape's proportion may be off.
OFF = 0.07

# Sizes this many times smaller and larger than those expected to be best are at hand.
MARGIN = 6.0

SHAPE = ("model", "model.depth", "model.dim", "model.aspect")

# More tokens than any run will have.
MOST_TOKENS = 10**15


@dataclass(frozen=True)
class Range:
    """low, high: parameters between which the best sizes are expected."""

    low: float
    high: float


def ladder(run: RunSpec, expected: Range) -> dict[str, tuple[str, ...]]:
    """Overrides of the shapes that may be needed, by name (`64x2`), the smallest first: all as wide for their depth as
    the config's model. Raises `SpecError` where none of them makes a model."""
    models = {dim: of_width(run, dim) for dim in WIDTHS}
    if not any(model for _, model in models.values()):
        run.replace(model=run.model.replace(dim=WIDTHS[-1], depth=1)).resolve()  # which says what is wrong
    return {
        f"{dim}x{model.model.depth}": overrides
        for dim, (overrides, model) in models.items()
        if model and expected.low / MARGIN <= model.cost.params <= expected.high * MARGIN and in_proportion(run, model)
    }


def in_proportion(run: RunSpec, model: RunSpec) -> bool:
    """Whether a shape is about as wide for its depth as the run's own model: one that is a block short, because depth
    is whole, lies above the law of the others."""
    return abs(math.log(model.model.width / model.model.depth / _aspect(run))) <= OFF


def of_width(run: RunSpec, dim: int) -> tuple[tuple[str, ...], RunSpec | None]:
    """Overrides of the shape of that width in the proportion of the run's own model, and the run, resolved; None where
    a component refuses it."""
    depth = max(1, round(dim / _aspect(run)))
    overrides = (f"model.dim={dim}", f"model.depth={depth}")
    try:
        return overrides, run.replace(model=run.model.replace(dim=dim, depth=depth)).resolve()
    except SpecError:
        return overrides, None


def sized(
    arms: Sequence[Arm], sizes: Mapping[str, Sequence[str]], *, base: Sequence[str], rates: Interval
) -> tuple[tuple[Arm, ...], tuple[Size, ...]]:
    """Every arm at every size, and what each costs. Raises `SpecError` where a size is set by hand besides."""
    _check_free(sizes, arms, base)
    found = [
        (replace(arm, name=f"{arm.name} @ {name}", scale=name, overrides=tuple(merge(arm.overrides, texts))), run)
        for arm in arms
        for name, texts in sizes.items()
        for run in [run_spec(compose_variant(merge(base, arm.overrides, texts), [])).resolve()]
    ]
    order = {arm.name: place for place, arm in enumerate(arms)}
    found.sort(key=lambda item: (order[item[0].alone], item[1].cost.params))
    return tuple(_open(arm, run, rates) for arm, run in found), tuple(size_of(arm.name, run) for arm, run in found)


def _aspect(run: RunSpec) -> float:
    return run.model.aspect or run.model.width / run.model.depth


def size_of(arm: str, run: RunSpec) -> Size:
    """What an arm's resolved run costs."""
    return Size(
        arm=arm,
        params=run.cost.params,
        body=run.architecture.non_embedding_params(vocab=run.tokenizer.ids, context=run.context),
        flops=run.training_cost.flops,
        seconds=None,
        fixed=None,
        peak=run.lr.peak,
    )


def expected(*, least: float, most: float, guess: float) -> Range:
    """The best sizes from a level of `least` to one of `most` FLOPs, at `guess` tokens a parameter."""
    return Range(math.sqrt(least / 6 / guess), math.sqrt(most / 6 / guess))


def _open(arm: Arm, run: RunSpec, rates: Interval) -> Arm:
    """The arm with what is chosen for each run: rate and tokens."""
    tokens = Interval(run.batch.tokens, MOST_TOKENS, log=False, integer=True)
    return replace(arm, axes=(Axis("lr.peak", rates), Axis("stop.tokens", tokens)))


def _check_free(sizes: Mapping[str, Sequence[str]], arms: Sequence[Arm], base: Sequence[str]) -> None:
    """What a scaling study chooses, nothing else may set."""
    own = {key for name, texts in sizes.items() for key in fixed_overrides(join_key("study.sizes", name), texts)}
    for text in (*base, *(text for arm in arms for text in arm.overrides)):
        key = typed_key(text).lstrip("+~")
        if key in own - {"model"}:
            raise spec_error(key, text.partition("=")[2], "is chosen by the study: its sizes set it", "leave it out")
        if key in ("stop.tokens", "stop.steps"):
            raise spec_error(key, text.partition("=")[2], "is chosen by the study: its budget sets it", "leave it out")
