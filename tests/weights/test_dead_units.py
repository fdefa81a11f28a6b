"""Units that were killed are found, and what units add is what a plain loop over documents finds."""

from __future__ import annotations

import numpy as np
import options
import pytest
import torch

from nanochat.weights.dead import Units, not_measured, shares, watched
from nanochat.weights.sample import Sample
from tests.weights.samples import same, sample, state

DENSE = [("ffn=swiglu",), ("ffn=mlp", "ffn.activation=relu2"), ("ffn=mlp", "ffn.activation=learned_gelu")]
MOE = ("ffn=moe", "ffn.experts=4", "ffn.shared=1")


def counted(found: Sample) -> dict[str, Units]:
    """What one scoring counts, by name; the model is as before."""
    before = state(found)
    with watched(found.model, found) as units:
        found.score()
    assert same(state(found), before)
    return {each.name: each for each in units}


@pytest.mark.parametrize("overrides", DENSE)
def test_planted_dead_units_are_found(corpus, overrides):
    found = sample(corpus, *overrides)
    ffn = found.model.blocks[1].ffn
    with torch.no_grad():
        for name in ffn.inputs:
            ffn.get_submodule(name).weight[3:5] = 0  # never active: gelu, silu and relu² are zero at zero
        ffn.down.weight[:, 7] *= 1e-6  # active, and heard by nobody
    units = counted(found)
    assert (units["block 1 ffn"].zero, units["block 1 ffn"].faint) == (2, 1)
    assert (units["block 0 ffn"].zero, units["block 0 ffn"].dead) == (0, 0)
    assert np.flatnonzero(~units["block 1 ffn"].active).tolist() == [3, 4]


def test_a_planted_dead_unit_of_an_expert_is_found_and_an_expert_without_tokens_is_all_dead(corpus):
    found = sample(corpus, *MOE)
    ffn = found.model.blocks[0].ffn
    with torch.no_grad():
        ffn.experts.get_submodule("up").weight[2, 5] = 0
        ffn.router.weight[1] = 0
    idle = found.model.blocks[1].ffn
    idle.router.register_forward_hook(
        lambda module, given, routing: routing._replace(chosen=torch.where(routing.chosen == 3, 0, routing.chosen))
    )
    units = counted(found)
    assert np.flatnonzero(~units["block 0 expert 2"].active).tolist() == [5]
    assert units["block 0 expert 0"].dead == units["block 0 shared expert"].dead == 0
    assert (units["block 1 expert 3"].tokens, units["block 1 expert 3"].zero) == (
        0,
        len(units["block 1 expert 3"].norms),
    )
    experts = [units[f"block 0 expert {i}"] for i in range(4)]
    assert sum(each.tokens for each in experts) == 2 * found.tokens and sum(shares(experts)) == pytest.approx(1)


@pytest.mark.parametrize("overrides", [*DENSE[:2], MOE])
def test_against_a_loop_over_documents_without_padding(corpus, overrides):
    """Document by document, token by token, from the FFN's own input."""
    found = sample(corpus, *overrides)
    lengths = {len(document.ids) for document in found.documents}
    assert len(lengths) > 1 and max(lengths) <= found.spec.context + 1, "padding, and one window a document"
    inputs: list[torch.Tensor] = []
    ffn = found.model.blocks[1].ffn
    handle = ffn.register_forward_pre_hook(lambda module, given: inputs.append(given[0][0]))
    with torch.no_grad():
        for document in found.documents:
            found.model(torch.from_numpy(document.ids[None, :-1].astype("int64")))
    handle.remove()
    x = torch.cat(inputs)
    units = counted(found)
    if overrides != MOE:
        hidden = {"block 1 ffn": naive_hidden(ffn, x)}
    else:
        chosen = ffn.router(x[None]).chosen[0]
        hidden = {"block 1 shared expert": naive_hidden(ffn.shared, x)}
        for i in range(4):
            gate, up = (ffn.experts.get_submodule(name).weight[i] for name in ("gate", "up"))
            rows = torch.stack([row for row, own in zip(x, chosen, strict=True) if i in own.tolist()])
            hidden[f"block 1 expert {i}"] = torch.nn.functional.silu(rows @ gate.T) * (rows @ up.T)
    for name, activations in hidden.items():
        expert = units[name].expert
        down = ffn.down.weight if overrides != MOE else ffn.shared.down.weight
        column = down if expert is None else ffn.experts.get_submodule("down").weight[expert]
        added = [(activations[:, j : j + 1] * column[:, j]).square().sum(-1).mean().sqrt().item() for j in range(5)]
        assert units[name].tokens == len(activations)
        np.testing.assert_allclose(units[name].contributions[:5], added, rtol=1e-4)


def naive_hidden(ffn: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the last projection reads."""
    up = x @ ffn.get_parameter("up.weight").T
    if "gate" in dict(ffn.named_children()):
        return torch.nn.functional.silu(x @ ffn.get_parameter("gate.weight").T) * up
    return up.clamp(min=0) ** 2


def test_every_shipped_ffn_is_measured(corpus):
    for name in options.names("ffn"):
        found = sample(corpus, f"ffn={name}")
        assert not_measured(found.model, found.spec.ffn) == []
    found.model.blocks[1].ffn = torch.nn.Identity()
    assert not_measured(found.model, found.spec.ffn) == [
        "hidden units of block 1: ffn=swiglu is neither a dense FFN nor a mixture of them here"
    ]
