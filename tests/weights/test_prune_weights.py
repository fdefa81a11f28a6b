"""What goes is the smallest, all comes back to the bit, and the largest share is narrowed down."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nanochat.weights.ablation import parts
from nanochat.weights.pruning import HALVINGS, curve, largest, prunable, pruned, ranking
from tests.weights.samples import same, sample, state


def naive(weights: list[nn.Parameter], count: int) -> list[torch.Tensor]:
    """By sorting: the weights with the `count` smallest magnitudes of all zero."""
    order = sorted((abs(v), i, j) for i, w in enumerate(weights) for j, v in enumerate(w.flatten().tolist()))
    left = [weight.detach().clone().flatten() for weight in weights]
    for _, i, j in order[:count]:
        left[i][j] = 0
    return [flat.view_as(weight) for flat, weight in zip(left, weights, strict=True)]


@settings(max_examples=15)
@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_smallest_go_across_matrices(share, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = [
        nn.Parameter(torch.randn(3, 5, generator=generator)),
        nn.Parameter(torch.randn(2, 2, 4, generator=generator)),
    ]
    before = [weight.detach().clone() for weight in weights]
    with pruned(weights, ranking(weights, "magnitude", seed=0), share=share) as gone:
        count = round(share * 31)
        assert gone == pytest.approx(count / 31)
        assert all(torch.equal(a, b) for a, b in zip(weights, naive(weights, count), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))


def test_nothing_all_and_afterwards(corpus):
    """None removed is the whole model exactly; all removed is every branch out; then the model is itself again."""
    found = sample(corpus)
    before, whole = state(found), found.score().bits_per_byte
    weights = prunable(found.model)
    inside = {name for name, p in found.model.named_parameters() if any(p is weight for weight in weights)}
    assert inside == {name for name, p in found.model.named_parameters() if "proj" in name or "ffn." in name}
    scores = ranking(weights, "magnitude", seed=0)
    with pruned(weights, scores, share=0.0) as gone:
        assert gone == 0 and found.score().bits_per_byte == whole
    with pruned(weights, scores, share=1.0) as gone:
        assert gone == 1 and not any(weight.any() for weight in weights)
        assert torch.equal(found.model.embedding.weight, before["embedding.weight"])
        nothing = found.score().bits_per_byte
    handles = [part.hook() for part in parts(found.model, found.spec.attention) if part.kind.endswith("branch")]
    assert found.score().bits_per_byte == nothing != whole
    for handle in handles:
        handle.remove()
    with pytest.raises(KeyboardInterrupt), pruned(weights, scores, share=0.5):
        raise KeyboardInterrupt
    assert same(state(found), before)
    assert found.score().bits_per_byte == whole


def test_the_control_takes_as_many_at_random(corpus):
    weights = prunable(sample(corpus).model)
    magnitude, random = (ranking(weights, rule, seed=3) for rule in ("magnitude", "random"))
    sizes = []
    for scores in (magnitude, random):
        with pruned(weights, scores, share=0.5) as gone:
            assert gone == pytest.approx(0.5, abs=1e-3)
            sizes.append(sum(weight.abs().sum().item() for weight in weights))
    assert sizes[0] > 1.2 * sizes[1]
    assert torch.equal(random[0], ranking(weights, "random", seed=3)[0])
    assert not torch.equal(random[0], ranking(weights, "random", seed=4)[0])


@given(edge=st.floats(0.0, 1.0))
def test_the_largest_share_is_narrowed_down(edge):
    asked: list[float] = []

    def measure(share: float) -> float:
        asked.append(share)
        return 1.0 if share <= edge else 2.0

    points = curve(measure, [0.9, 0.0, 0.5], most=1.5)
    assert points == sorted(points) and {0.0, 0.5, 0.9} <= {share for share, _ in points}
    found = largest(points, most=1.5)
    assert found is not None and found <= edge
    assert min(edge, 0.9) - found <= 0.5 / 2**HALVINGS + 1e-12
    assert len(asked) == 3 + (HALVINGS if edge < 0.9 else 0)


def test_a_curve_that_comes_down_again_does_not_count():
    values = {0.0: 1.0, 0.25: 1.0, 0.5: 2.0, 0.75: 1.0, 1.0: float("nan")}
    assert largest(list(values.items()), most=1.1) == 0.25
    assert largest([(0.0, float("nan"))], most=1.1) is None
