"""`study=scaling`: runs of many sizes and lengths inside one budget, chosen so that a law can be read from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field

from nanochat.core.compose import Interval, compose_variant, parse_overrides
from nanochat.core.errors import MachineError, spec_error
from nanochat.core.spec import Count, Int, Positive, option_of
from nanochat.run.spec import RunSpec, run_spec
from nanochat.study.axes import Axes, merge, read_axes, typed_key
from nanochat.study.budget import Budget
from nanochat.study.calibrate import Unknown, calibrate
from nanochat.study.compare import CompareSpec, Study
from nanochat.study.definition import Definition
from nanochat.study.design import HOUR, Design, Kind, Transfer, Unit, families, timed
from nanochat.study.grid import FIRST_SHARE, LATER, around, begins_of, centre, with_levels
from nanochat.study.ledger import SLOWER
from nanochat.study.runs import compose_arm
from nanochat.study.scales import named
from nanochat.study.sizes import SHAPE, Range, expected, ladder, sized

# FLOPs that an hour buys, until it is measured: by it alone the range of sizes is chosen.
FLOPS_OF_HOUR = {"cpu": 1e14, "cuda": 3e17}

# A level needs so many sizes to show a minimum.
FEWEST_SIZES = 3


class ScalingSpec(CompareSpec):
    """A law for every arm, from a budget.

    design: isoflop, levels of compute with sizes around the best at each, or sequential, after two levels one point
    after another where it tells most · target_flops: compute to answer for, null: ten times the largest level ·
    levels, growth: of compute, and its ratio from one to the next · breadth: sizes at each level · guess: tokens per
    parameter of the first sizes · sizes: options of `model`, or named overrides; null: a ladder of shapes · steps: the
    least that a run has · branches: longer runs go on from shorter ones · transfer: how rates reach every size: law, a
    fitted power of N; mup, the one rate of `init=mup`; none, the config's own · tuned: sizes at which rates are tried ·
    step: ratio of neighbouring rates.
    """

    design: Kind
    target_flops: Positive | None
    levels: Count
    growth: Annotated[float, Field(gt=1)]
    breadth: Annotated[Int, Field(ge=FEWEST_SIZES)]
    guess: Positive
    sizes: tuple[str, ...] | dict[str, tuple[str, ...]] | None
    steps: Count
    branches: bool
    transfer: Transfer
    tuned: Count
    step: Annotated[float, Field(gt=1)]

    @property
    def budget(self) -> Budget:
        return Budget(trials=0, flops=self.flops, hours=self.hours)

    def read(self, overrides: Sequence[str], *, seed: int) -> Axes:
        """Arms at sizes; how a law is read is no matter of ropes and baselines."""
        self._check()
        for text in overrides:
            if why := self._idle.get(typed_key(text)):
                raise spec_error(typed_key(text), text.partition("=")[2], why, "leave it out")
        axes = read_axes(overrides, **{**self.typed, "space": ()}, seed=seed)
        rates = self._rates(axes)
        arms = [replace(arm, axes=()) for arm in axes.arms]
        runs = [run_spec(compose_arm(arm, axes)) for arm in arms]
        for run in runs:
            self._check_run(run)
        sizes = named(self.sizes) if self.sizes else ladder(runs[0], self._range(runs[0]))
        found, costs = sized(arms, sizes, base=axes.base, rates=rates)
        if len(sizes) < FEWEST_SIZES:
            rule = f"has {len(sizes)} sizes, and {FEWEST_SIZES} are the least that show a minimum"
            raise spec_error("study.sizes", list(sizes), rule, "name more, or raise the budget")
        resolved = run_spec(compose_variant(merge(axes.base, found[0].overrides), [])).resolve()
        design = Design(
            kind=self.design,
            flops=self.flops,
            hours=self.hours,
            target=self.target_flops,
            levels=self.levels,
            growth=self.growth,
            breadth=self.breadth,
            guess=self.guess,
            least=0.0,
            transfer=self.transfer,
            tuned=self.tuned,
            step=self.step,
            rates=self.trials,
            low=rates.low,
            high=rates.high,
            branches=self.branches,
            batch=resolved.batch.tokens,
            steps=self.steps,
            sizes=costs,
        )
        return Axes(base=axes.base, arms=found, seeds=axes.seeds, design=design)

    def beside(self, stored: Definition) -> Self:
        """A larger budget adds to a study; the sizes that were laid out for its first one stay."""
        if self.sizes or stored.design is None:
            return self
        shapes = {a.scale: tuple(t for t in a.overrides if typed_key(t) in SHAPE) for a in stored.arms}
        return self.replace(sizes=shapes)

    def prepared(self, study: Study) -> Study:
        """The study with its lowest level: the largest with which the budget pays for the first grid.

        Raises `SpecError` where no size would have enough steps, or enough of them a level.
        """
        if self.branches and not study.settings.milestones:
            raise spec_error("milestones", False, "leaves nothing to go on from", "leave it, or study.branches=false")
        definition = study.definition
        assert definition.design is not None
        design = replace(definition.design, target=self.target_flops)
        if not design.least:
            caps: dict[Unit, float] = {}
            if self.flops is not None:
                caps["flops"] = self.flops
            if self.hours is not None:
                caps["seconds"] = self.hours * HOUR / SLOWER
                design = timed(design, measured_times(study))
            design = with_levels(design, begins=begins_of(definition), seeds=definition.seeds, caps=caps)
            _check_levels(design)
        elif self.hours is not None and design.sizes[0].seconds is None:
            rule = f"study {definition.name} was begun without, and nobody measured how long its runs take"
            raise spec_error("study.hours", self.hours, rule, "use study.flops, or choose another study.name")
        return study.over(replace(definition, design=design))

    @property
    def _idle(self) -> dict[str, str]:
        """Keys that would change nothing here, and why."""
        found: dict[str, str] = dict.fromkeys(("sampler", "pruner"), "study=scaling chooses its runs itself")
        if self.design == "isoflop":
            found["study.lag"] = "is of study.design=sequential: the points of a grid are not chosen one by one"
        if self.transfer == "mup":
            found["study.tuned"] = "is one size with study.transfer=mup"
        if self.transfer == "none":
            for key in ("study.tuned", "study.trials", "study.step", "study.tune_seed"):
                found[key] = "is of rates that are tried, and study.transfer=none tries none"
        return found

    def _check(self) -> None:
        """Refuse what a scaling study does not have."""
        if self.flops is None and self.hours is None:
            raise spec_error("study.flops", None, "a scaling study needs a budget", "e.g. study.flops=1e15")
        for key, value, usual in (
            ("objectives", list(self.objectives), ["bpb"]),
            ("looks", list(self.looks), []),
            ("extend", self.extend, 0),
            ("rope", self.rope, None),
            ("baseline", self.baseline, None),
            ("generalise", self.generalise, "seeds"),
        ):
            if value != usual:
                raise spec_error(f"study.{key}", value, "is no matter of a scaling study", "leave it out")

    def _check_run(self, run: RunSpec) -> None:
        """Refuse a run from which no branch can go on, or whose rate would not carry over."""
        if run.stop.steps is not None:
            raise spec_error("stop.steps", run.stop.steps, "is chosen by the study", "set it to null")
        if self.transfer == "mup" and option_of(run.init) != "mup":
            rule = "carries a rate over by µP, which takes init=mup"
            raise spec_error("study.transfer", "mup", rule, "add init=mup model.tied=false, or use study.transfer=law")
        if not self.branches:
            return
        if run.lr.decay_begins(10 * self.steps) is None or run.lr.decay_begins(10 * self.steps) == 10 * self.steps:
            rule = f"lr={option_of(run.lr)} has no constant part followed by a decay"
            raise spec_error("study.branches", True, rule, "use lr=wsd, or study.branches=false")
        if not isinstance(run.lr.warmup, int):
            rule = "must be in steps: a share would not be the same in the longer run that goes on from a shorter one"
            remedy = f"e.g. lr.warmup={max(1, self.steps // 10)}, or study.branches=false"
            raise spec_error("lr.warmup", run.lr.warmup, rule, remedy)
        if run.lr.warmup * 4 > self.steps:
            rule = f"takes more than a quarter of the shortest runs, which have {self.steps} steps"
            raise spec_error("lr.warmup", run.lr.warmup, rule, "shorten it, or raise study.steps")

    def _rates(self, axes: Axes) -> Interval:
        """The range of learning rates: typed, or the study's own."""
        typed = [axis for arm in axes.arms for axis in arm.axes]
        own = [o.sweep for o in parse_overrides(self.space) if o.key == "lr.peak" and isinstance(o.sweep, Interval)]
        for axis in typed:
            if axis.key != "lr.peak" or not isinstance(axis.domain, Interval):
                raise spec_error(axis.key, None, "is searched, and a scaling study searches lr.peak alone", "fix it")
        ranges = [axis.domain for axis in typed if isinstance(axis.domain, Interval)] or own
        if not ranges:
            raise spec_error("study.space", list(self.space), "has no range of lr.peak", "see conf/study/compare.yaml")
        return ranges[0]

    def _range(self, run: RunSpec) -> Range:
        """Where the best sizes of all levels are expected, about."""
        device = "cuda" if run.trainer.device == "cuda" else "cpu"
        flops = self.flops or (self.hours or 0.0) * FLOPS_OF_HOUR[device]
        if self.design == "sequential":
            most = FIRST_SHARE * flops / LATER
        else:
            most = FIRST_SHARE * flops * (1 - 1 / self.growth) / self.breadth
        return expected(least=most / self.growth ** (self.levels - 1), most=most, guess=self.guess)


def _check_levels(design: Design) -> None:
    """Refuse a budget whose levels are too small for the least that a run has."""
    for name, sizes in families(design).items():
        for k in range(design.levels):
            own = around(design, sizes, k, params=centre(design, k))
            if len(own) < min(FEWEST_SIZES, len(sizes)):
                rule = f"leaves {len(own)} sizes of arm '{name}' with {design.steps} steps or more at its level {k}"
                remedy = (
                    "raise it, or use fewer levels, a smaller study.breadth or study.steps, or smaller batch.tokens"
                )
                raise spec_error("study.flops", design.flops and f"{design.flops:.3g}", rule, remedy)


def measured_times(study: Study) -> dict[str, tuple[float, float]]:
    """Seconds of a token, and of the rest of a run, of each size on this machine, by arm."""
    runs = {arm.name: study.first_run(arm) for arm in study.definition.arms}
    with study.open_slots() as slots:
        paces = calibrate(runs, slots=slots, settings=study.settings)
    found = {}
    for name, pace in paces.items():
        if isinstance(pace, Unknown):
            raise MachineError(f"study.hours: how long a run of '{name}' takes could not be measured: {pace.reason}")
        found[name] = pace.of(runs[name], checkpoint=study.settings.checkpoint)
    return found
