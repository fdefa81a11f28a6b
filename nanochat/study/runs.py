"""From arms, parameters and seeds to runs: composing, checking, and the key of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.core.compose import Choice, Interval, compose, compose_variant
from nanochat.core.device import cores, resolve_device
from nanochat.core.errors import Problem, SpecError
from nanochat.core.provenance import origin
from nanochat.core.spec import dump
from nanochat.pruner.base import PrunerSpec
from nanochat.run.execute import finished
from nanochat.run.folder import RunFolder, identify
from nanochat.run.ranks import check_ranks
from nanochat.run.reports import reports
from nanochat.run.spec import RunSpec, Settings, run_spec
from nanochat.run.train import validation_steps
from nanochat.sampler.base import SamplerSpec
from nanochat.study.agenda import Plan
from nanochat.study.axes import Arm, Axes, merge
from nanochat.study.conditions import lookup, probes, under, with_conditions
from nanochat.study.definition import Definition
from nanochat.study.reading import Reading
from nanochat.study.trial import Trial


@dataclass(frozen=True)
class Runs:
    """Makes the runs of a study. `base` are this command's own overrides, `settings` how its runs are carried out."""

    definition: Definition
    base: tuple[str, ...]
    settings: Settings

    def spec(self, arm: Arm, *, params: Mapping[str, Any], seed: int) -> RunSpec:
        """The resolved run. Raises `SpecError` for parameters that make none."""
        config = compose_variant(*self.definition.overrides(arm, params=params, seed=seed, base=self.base))
        return run_spec(self.definition.on_machine(config)).resolve()

    def of(self, trial: Trial) -> RunSpec:
        """The resolved run of a trial. Raises `SpecError` for parameters that make none."""
        run = self.spec(self.definition.arm(trial.arm), params=trial.params, seed=trial.seed)
        if trial.start is None:
            return run
        return run.replace(start=run.start.replace(run=trial.start, tokens=trial.begins)).resolve()

    def request(self, spec: RunSpec, trial: Trial) -> dict[str, Any]:
        """What the process of a run is given. Raises `SpecError` where its texts are not what they were."""
        about = {"study": self.definition.name, **{n: getattr(trial, n) for n in ("arm", "phase", "number", "seed")}}
        return {
            "spec": dump(spec),
            "key": identify(spec, cache=self.settings.paths.cache),
            "settings": dump(self.settings),
            "source": origin()._asdict(),
            "micro": trial.micro,
            "about": about,
        }

    def reports(self, key: str) -> list[tuple[int, float]]:
        """Tokens and bits per byte of each validation of a run that is there."""
        return reports(self.folder(key))

    def folder(self, key: str) -> RunFolder:
        """Where a run lies."""
        return RunFolder(self.settings.paths.runs / key)

    def plans(self) -> dict[str, Plan]:
        """What is known of each arm's runs beforehand."""
        return {arm.name: self._plan(arm) for arm in self.definition.arms}

    def flops(self, arm: Arm, params: Mapping[str, Any]) -> float:
        """Training FLOPs of a run; those of the arm's first one for parameters that make none."""
        try:
            return self.spec(arm, params=params, seed=self.definition.tune_seed).own_flops
        except SpecError:
            return self._plan(arm).flops

    def _plan(self, arm: Arm) -> Plan:
        spec = self.spec(arm, params=self.definition.first[arm.name], seed=self.definition.seeds[0])
        first = min(validation_steps(spec)) * spec.batch.tokens
        return Plan(tokens=spec.tokens, first=first, flops=spec.own_flops)

    def known(self, key: str) -> dict[str, Any] | None:
        """The result of a run that need not be run again. Raises `SpecError` if the code changed since."""
        return finished(self.folder(key), settings=self.settings)

    def check(self) -> None:
        """Make one run of every arm, so that a mistake surfaces before anything is spent.

        Raises `SpecError` with what is wrong in every arm that is.
        """
        problems: dict[str, Any] = {}
        for arm in self.definition.arms:
            try:
                for params in probes(arm.axes, first=self.definition.first[arm.name]):
                    spec = self.spec(arm, params=params, seed=self.definition.seeds[0])
                    check_ranks(spec, count=self.settings.devices, local_count=self.settings.devices)
                    identify(spec, cache=self.settings.paths.cache)
                self._check_choices(arm)
            except SpecError as error:
                problems |= {str(problem): problem for problem in error.problems}
        if problems:
            raise SpecError(list(problems.values()))

    def _check_choices(self, arm: Arm) -> None:
        """Every name among the choices exists: a misspelt one must not wait for the sampler to draw it."""
        for axis in arm.axes:
            for text in axis.domain.texts if isinstance(axis.domain, Choice) else ():
                params = {**under(axis, arm.axes), axis.key: text}
                compose_variant(*self.definition.overrides(arm, params=params, seed=0, base=self.base))


def define(
    axes: Axes,
    *,
    command: Sequence[str],
    seed: int,
    tune_seed: int,
    lag: int,
    sampler: SamplerSpec,
    pruner: PrunerSpec,
    objectives: Sequence[str],
    reading: Reading,
    slots: int | None,
    cache: Path,
) -> Definition:
    """The definition of the study that `axes` describe, on this machine, not yet named.

    Raises `SpecError` with what is wrong in the config, before any run is made.
    """
    configs = {arm.name: compose_arm(arm, axes) for arm in axes.arms}
    arms = tuple(with_conditions(arm, base=axes.base) for arm in axes.arms)
    on_cpu = all(config["trainer"]["device"] == "cpu" for config in configs.values())
    device = "cpu" if on_cpu else resolve_device("auto")
    return Definition(
        name="",
        command=tuple(command),
        arms=arms,
        runs={name: _described(config, cache=cache) for name, config in configs.items()},
        first={arm.name: _first(arm, configs[arm.name], base=axes.base) for arm in arms},
        seeds=axes.seeds,
        tune_seed=tune_seed,
        seed=seed,
        lag=lag,
        sampler=dump(sampler),
        pruner=dump(pruner),
        objectives=tuple(objectives),
        reading=reading,
        matched=axes.matched,
        design=axes.design,
        device=device,
        threads=max(1, cores() // (slots or default_slots(device))),
    )


def _described(config: Mapping[str, Any], *, cache: Path) -> dict[str, Any]:
    """An arm's run as plain data, with the fingerprint of its texts: other texts make another study."""
    run = run_spec(config)
    try:
        return {**dump(run), "texts": run.data.fingerprint(cache)}
    except SpecError as error:
        raise error.under("data") from None


def compose_arm(arm: Arm, axes: Axes) -> dict[str, Any]:
    """The arm's config. A key that only some arms have is a mistake of the study's, not of the arm's."""
    try:
        return compose_variant(merge(axes.base, arm.overrides), [])
    except SpecError as error:
        if len(axes.arms) == 1:
            raise
        remedy = "overrides that fit only some arms belong into study.arms"
        raise SpecError([*error.problems, Problem(key="", rule=f"so says arm '{arm.name}'", remedy=remedy)]) from None


def default_slots(device: str) -> int:
    """Runs at a time: one for each core, or one on a GPU."""
    return 1 if device == "cuda" else cores()


def _first(arm: Arm, config: Mapping[str, Any], *, base: Sequence[str]) -> dict[str, Any]:
    """The config's own values on the arm's axes, where they lie on them."""
    found: dict[str, Any] = {}
    for axis in arm.axes:
        if not axis.active(found):
            continue
        if isinstance(axis.domain, Choice):
            same = (t for t in axis.domain.texts if compose(merge(base, arm.overrides, [f"{axis.key}={t}"])) == config)
            value = next(same, None)
        else:
            value = _inside(axis.domain, lookup(config, axis.key))
        if value is not None:
            found[axis.key] = value
    return found


def _inside(interval: Interval, value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not interval.low <= value <= interval.high:
        return None
    if interval.integer:
        return int(value) if value == int(value) else None
    return float(value)
