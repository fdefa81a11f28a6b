"""From scores to comparisons: one scale at a time, adjusted over all."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from nanochat.stats.paired import compare
from nanochat.study.axes import Arm
from nanochat.study.definition import Definition
from nanochat.study.judge import decided, judge, scales_of
from nanochat.study.reading import Reading
from tests.study.definitions import definition

ARMS, SEEDS = ("a", "b", "c"), (1, 2, 3, 4)


def scaled(*scales: str, **reading: object) -> Definition:
    arms = tuple(
        Arm(f"{name} @ {scale}" if scale else name, (f"x={name}",), (), scale) for scale in scales for name in ARMS
    )
    return replace(definition(arms=ARMS, tuned=(), seeds=SEEDS), arms=arms, reading=Reading(**reading))  # type: ignore[arg-type]


def scores_of(study: Definition) -> dict[tuple[str, int], float]:
    chance = random.Random(5)
    return {
        (arm.name, seed): 1.0 + 0.01 * seed + 0.02 * i + chance.gauss(0, 0.002)
        for i, arm in enumerate(study.arms)
        for seed in study.seeds
    }


def rows(scores: dict[tuple[str, int], float], study: Definition, scale: str) -> np.ndarray:
    return np.array([[scores[arm.name, s] for s in study.seeds] for arm in study.arms if arm.scale == scale])


@pytest.mark.parametrize("scales", [("",), ("s", "l")])
def test_each_scale_is_compared_by_itself_and_adjusted_for_all(scales: tuple[str, ...]) -> None:
    study = scaled(*scales, rope=0.001, baseline="b")
    scores = scores_of(study)
    found = judge(study, scores)
    assert [part.scale for part in found] == scales_of(study) == list(scales)
    for part in found:
        by_hand = compare(rows(scores, study, part.scale), baseline=1, rope=0.001, families=len(scales))
        assert part.comparisons == by_hand and len(by_hand) == 2
        assert by_hand[0].difference.confidence == pytest.approx(1 - 0.05 / (2 * len(scales)))


def test_without_a_baseline_every_pair_of_a_scale_counts() -> None:
    study = scaled("s", "m", "l")
    found = judge(study, scores_of(study))
    assert [len(part.comparisons) for part in found] == [3, 3, 3]
    assert found[0].comparisons[0].difference.confidence == pytest.approx(1 - 0.05 / 9)


def test_the_order_of_seeds_and_of_scores_does_not_matter() -> None:
    study = scaled("s", "l")
    scores = scores_of(study)
    turned = replace(study, seeds=tuple(reversed(SEEDS)))
    shuffled = dict(random.Random(1).sample(sorted(scores.items()), len(scores)))
    expected = [part.comparisons for part in judge(study, scores)]
    assert [part.comparisons for part in judge(turned, shuffled)] == expected


def test_an_arm_that_failed_costs_the_others_their_adjustment_and_no_more() -> None:
    study = scaled("")
    scores = scores_of(study)
    whole = judge(study, scores)[0].comparisons
    lacking = {pair: score for pair, score in scores.items() if pair[0] != "c"}
    (part,) = judge(study, lacking)
    assert part.comparisons == [whole[0]] and np.isnan(part.scores[2]).all()
    once = judge(study, {pair: score for pair, score in scores.items() if pair != ("c", 2)})[0]
    assert [pair.difference.seeds for pair in once.comparisons] == [4, 3, 3]


def test_a_look_judges_the_first_seeds_alone_by_wider_intervals() -> None:
    study = scaled("", looks=(3, 4))
    scores = scores_of(study)
    early = judge(study, scores, seeds=3)
    known = {pair: score for pair, score in scores.items() if pair[1] <= 3}
    assert early[0].comparisons == judge(study, known)[0].comparisons
    plain = judge(scaled(""), known)[0].comparisons
    for looked, once in zip(early[0].comparisons, plain, strict=True):
        assert looked.difference.confidence > once.difference.confidence


def test_decided_means_that_no_comparison_is_open() -> None:
    study = scaled("s", "l")
    equal = {(arm.name, seed): 1.0 for arm in study.arms for seed in study.seeds}
    assert not decided(judge(study, equal)), "without a rope nothing is equivalent"
    assert decided(judge(scaled("s", "l", rope=0.001), equal))
    chance = random.Random(0)
    noisy = {pair: score + (pair[0] == "c @ l") * chance.gauss(0, 0.1) for pair, score in equal.items()}
    assert not decided(judge(scaled("s", "l", rope=0.001), noisy))
