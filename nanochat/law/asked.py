"""A fit with all that is told of it: the rows, the law, and the laws of runs drawn again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nanochat.law.bands import Shapes, shapes, told
from nanochat.law.compute import Compute
from nanochat.law.exponent import exponent
from nanochat.law.fit import Fit, Options
from nanochat.law.form import Array, Law
from nanochat.law.forms import of_shape
from nanochat.law.hoffmann import Hoffmann
from nanochat.law.profile import Profile, profile
from nanochat.law.table import Points

# A frontier has so many levels, from the smallest run's compute to the target.
LEVELS = 40

# Steps about the target over which the exponent is told, in FLOPs.
NEAR = (10**-0.5, 1.0, 10**0.5)


@dataclass(frozen=True)
class Asked:
    """compute: what a token costs · at: FLOPs to answer for · resamples, seed: of whatever is drawn again."""

    points: Points
    form: type[Law]
    options: Options
    found: Fit[Law]
    laws: Sequence[Law]
    compute: Compute
    at: float
    resamples: int
    seed: int

    @property
    def law(self) -> Law:
        return self.found.law

    @property
    def inputs(self) -> Mapping[str, Array]:
        return inputs_of(self.points)

    @property
    def clusters(self) -> Sequence[str] | None:
        """The run of each row, where some run has several: else rows are independent."""
        names = self.points.clusters
        return names if len(set(names)) < len(names) else None

    @cached_property
    def near(self) -> Shapes:
        """Best shapes of the law (first) and of the drawn ones, about the target."""
        return shapes([self.law, *self.laws], self.compute, self.at * np.array(NEAR))

    @cached_property
    def kept(self) -> list[Law]:
        """The drawn laws that have a best shape about the target."""
        return [law for law, whole in zip(self.laws, self.near.whole[1:], strict=True) if whole]

    @cached_property
    def values(self) -> dict[str, Callable[[Law], float]]:
        """What is told of the law: its exponents and floor; raw A and B of Hoffmann say almost nothing."""
        names = [name for name in self.form.names() if self.form is not Hoffmann or name not in "AB"]
        found: dict[str, Callable[[Law], float]] = {name: _number(name) for name in names}
        if of_shape(self.form):
            found["a"] = lambda law: exponent(law, self.compute, self.at)
        return found

    @cached_property
    def intervals(self) -> dict[str, dict[str, object]]:
        """Each of `values` with its percentile interval, and the one by profile."""
        found = {}
        for name, value in self.values.items():
            whole = self.laws if name in self.form.names() else self.kept
            number = told(value(self.law), [value(law) for law in whole])
            ends = self.profile(value)
            found[name] = {
                "value": number.value, "low": number.low, "high": number.high, "profile": [ends.low, ends.high],
            }  # fmt: skip
        return found

    def profile(self, value: Callable[[Law], float]) -> Profile:
        """The interval of a quantity by profile likelihood."""
        return profile(
            self.inputs, self.points.loss,
            near=self.law, value=value, clusters=self.clusters, options=self.options,
        )  # fmt: skip


def inputs_of(points: Points) -> dict[str, Array]:
    """The columns that a form may read, by their names in forms."""
    return {"n": points.n, "d": points.d, "c": points.c, **points.inputs}


def _number(name: str) -> Callable[[Law], float]:
    return lambda law: float(getattr(law, name))
