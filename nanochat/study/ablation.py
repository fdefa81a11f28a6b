"""`study=ablation`: arms of equal size, each tuned alike, the best of each compared on fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence

from nanochat.core.spec import Count
from nanochat.study.axes import Axes, read_axes
from nanochat.study.compare import CompareSpec
from nanochat.study.match import MatchSpec, match
from nanochat.study.matched import Matched
from nanochat.study.runs import compose_arm
from nanochat.study.scales import at_scales, named


class AblationSpec(CompareSpec):
    """A comparison that a careful statistician would sign.

    seeds: how many confirm where the command lists none, counted from `seed` · match: what arms have in common ·
    scales: options of `model`, or named overrides, at each of which everything is repeated.
    """

    seeds: Count
    match: MatchSpec
    scales: tuple[str, ...] | dict[str, tuple[str, ...]] | None

    def read(self, overrides: Sequence[str], *, seed: int) -> Axes:
        """Every arm is tuned, over the default space where the command names no other."""
        axes = read_axes(overrides, **self.typed, seed=seed, always_tuned=True, seeds=self.seeds)
        for arm in axes.arms:
            compose_arm(arm, axes)  # an arm that makes no run is told of as such, before anything is solved for
        arms = at_scales(axes.arms, named(self.scales or {}), base=axes.base)
        return self._matched(Axes(base=axes.base, arms=arms, seeds=axes.seeds))

    def _matched(self, axes: Axes) -> Axes:
        """The arms of each scale matched to its baseline, or to its first one."""
        arms, matched = [], list[Matched]()
        for scale in dict.fromkeys(arm.scale for arm in axes.arms):
            own = [arm for arm in axes.arms if arm.scale == scale]
            to = next((arm for arm in own if arm.alone == self.baseline), own[0])
            found, how = match(own, self.match, base=axes.base, to=to)
            arms += found
            matched += how
        return Axes(base=axes.base, arms=tuple(arms), seeds=axes.seeds, matched=tuple(matched))
