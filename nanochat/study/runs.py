"""From arms, parameters and seeds to runs: composing, checking, and the key of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.core.compose import Choice, Interval, compose
from nanochat.core.device import cores, resolve_device
from nanochat.core.errors import Problem, SpecError
from nanochat.core.provenance import origin
from nanochat.core.spec import dump
from nanochat.run.execute import finished
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import RunSpec, Settings, run_spec
from nanochat.study.axes import Arm, Axes, Axis, merge
from nanochat.study.definition import Definition
from nanochat.study.store import Trial


@dataclass(frozen=True)
class Runs:
    """Makes the runs of a study. `base` are this command's own overrides, `settings` how its runs are carried out."""

    definition: Definition
    base: tuple[str, ...]
    settings: Settings

    def spec(self, arm: Arm, *, params: Mapping[str, Any], seed: int) -> RunSpec:
        """The resolved run. Raises `SpecError` for parameters that make none."""
        config = compose(self.definition.overrides(arm, params=params, seed=seed, base=self.base))
        return run_spec(self.definition.on_machine(config)).resolve()

    def of(self, trial: Trial) -> RunSpec:
        """The resolved run of a trial. Raises `SpecError` for parameters that make none."""
        return self.spec(self.definition.arm(trial.arm), params=trial.params, seed=trial.seed)

    def request(self, spec: RunSpec) -> dict[str, Any]:
        """What the process of a run is given. Raises `SpecError` where its texts are not what they were."""
        key = identify(spec, cache=self.settings.paths.cache)
        return {"spec": dump(spec), "key": key, "settings": dump(self.settings), "source": origin()._asdict()}

    def known(self, key: str) -> dict[str, Any] | None:
        """The result of a run that need not be run again. Raises `SpecError` if the code changed since."""
        return finished(RunFolder(self.settings.paths.runs / key), settings=self.settings)

    def check(self) -> None:
        """Make one run of every arm, so that a mistake surfaces before anything is spent.

        Raises `SpecError` with what is wrong in every arm that is.
        """
        problems: dict[str, Any] = {}
        for arm in self.definition.arms:
            try:
                first = self.definition.first[arm.name]
                spec = self.spec(arm, params=_probe(arm.axes, first=first), seed=self.definition.seeds[0])
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
                compose(self.definition.overrides(arm, params={axis.key: text}, seed=0, base=self.base))


def define(
    axes: Axes,
    *,
    command: Sequence[str],
    seed: int,
    tune_seed: int,
    lag: int,
    slots: int | None,
    cache: Path,
) -> Definition:
    """The definition of the study that `axes` describe, on this machine, not yet named.

    Raises `SpecError` with what is wrong in the config, before any run is made.
    """
    configs = {arm.name: _compose_arm(arm, axes) for arm in axes.arms}
    on_cpu = all(config["trainer"]["device"] == "cpu" for config in configs.values())
    device = "cpu" if on_cpu else resolve_device("auto")
    return Definition(
        name="",
        command=tuple(command),
        arms=axes.arms,
        runs={name: _described(config, cache=cache) for name, config in configs.items()},
        first={arm.name: _first(arm, configs[arm.name], base=axes.base) for arm in axes.arms},
        seeds=axes.seeds,
        tune_seed=tune_seed,
        seed=seed,
        lag=lag,
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


def _compose_arm(arm: Arm, axes: Axes) -> dict[str, Any]:
    """The arm's config. A key that only some arms have is a mistake of the study's, not of the arm's."""
    try:
        return compose(merge(axes.base, arm.overrides))
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
    found = {}
    for axis in arm.axes:
        if isinstance(axis.domain, Choice):
            same = (t for t in axis.domain.texts if compose(merge(base, arm.overrides, [f"{axis.key}={t}"])) == config)
            value = next(same, None)
        else:
            value = _inside(axis.domain, _lookup(config, axis.key))
        if value is not None:
            found[axis.key] = value
    return found


def _inside(interval: Interval, value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not interval.low <= value <= interval.high:
        return None
    if interval.integer:
        return int(value) if value == int(value) else None
    return float(value)


def _lookup(config: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key, None where there is none."""
    value: Any = config
    for part in key.lstrip("+").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _probe(axes: Sequence[Axis], *, first: Mapping[str, Any]) -> dict[str, Any]:
    """A value on every axis, to see whether they make a run.

    Real axes take one from the middle that is not whole by accident: `model.depth=interval(1, 4)` is a mistake.
    """
    values: dict[str, Any] = {}
    for axis in axes:
        domain = axis.domain
        if isinstance(domain, Interval) and not domain.integer:
            values[axis.key] = domain.low + 0.381966 * (domain.high - domain.low)
        else:
            low = domain.texts[0] if isinstance(domain, Choice) else int(domain.low)
            values[axis.key] = first.get(axis.key, low)
    return values
