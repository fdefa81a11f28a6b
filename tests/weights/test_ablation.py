"""What is out adds nothing, nothing else changes, and a model is itself again afterwards."""

from __future__ import annotations

import math

import options
import pytest
import torch
from torch import nn

from nanochat.ffn.moe import MoE
from nanochat.weights.ablation import heads_of, not_measured, parts
from nanochat.weights.sample import Sample, difference
from tests.weights.samples import logits, same, sample, state

SHORT = {"hybrid": ("attention.pattern=[a,b]",)}
EXPERTS = ("ffn=moe", "ffn.experts=4", "ffn.shared=1", "ffn.router=sigmoid")


def projection(found: Sample, layer: int) -> nn.Linear:
    """Where the heads of a block meet."""
    heads = heads_of(found.spec.attention, found.model.blocks[layer], layer=layer)
    assert heads is not None
    return heads.projection


@pytest.mark.parametrize("attention", options.names("attention"))
def test_heads_of_every_attention(corpus, attention):
    """A head is out exactly where its columns of the output projection are zero; all heads out is the branch out."""
    found = sample(corpus, f"attention={attention}", *SHORT.get(attention, ("model.depth=1",)))
    before, whole = state(found), logits(found)
    heads = [part for part in parts(found.model, found.spec.attention) if part.kind == "head"]
    assert not_measured(found.model, found.spec.attention) == []
    for layer in range(len(found.model.blocks)):
        own = [part for part in heads if part.layer == layer]
        weight = projection(found, layer).weight
        width = weight.shape[1] // len(own)
        assert len(own) > 1
        for part in (own[0], own[-1]):
            assert part.index is not None
            with part.out():
                out = logits(found)
            kept = weight.detach().clone()
            with torch.no_grad():
                weight[:, part.index * width : (part.index + 1) * width] = 0
            torch.testing.assert_close(logits(found), out)
            with part.out():
                assert torch.equal(logits(found), out)  # what is zero already changes nothing
            with torch.no_grad():
                weight.copy_(kept)
            assert (out - whole).abs().max() > 1e-4
        handles = [part.hook() for part in own]
        none = logits(found)
        for handle in handles:
            handle.remove()
        [branch] = [
            part
            for part in parts(found.model, found.spec.attention)
            if part.layer == layer and part.kind == "attention branch"
        ]
        with branch.out():
            torch.testing.assert_close(logits(found), none)
    assert same(state(found), before)


@pytest.mark.parametrize("attention", ["mha", "sparse", "linear", "mla"])
def test_a_head_is_out_where_its_values_are_zero(corpus, attention):
    """The channels that are taken to be a head's are those that its own values make."""
    found = sample(corpus, f"attention={attention}")
    for part in [part for part in parts(found.model, found.spec.attention) if part.kind == "head"]:
        module = found.model.blocks[part.layer].attention
        heads = heads_of(found.spec.attention, found.model.blocks[part.layer], layer=part.layer)
        assert heads is not None and part.index is not None
        # In MLA a head of `kv_b_proj` is [key | value], in the others `v_proj` holds values alone.
        key = module.sizes.nope if attention == "mla" else 0
        weight = (module.kv_b_proj if attention == "mla" else module.v_proj).weight
        kept = weight.detach().clone()
        with part.out():
            out = logits(found)
        first = part.index * (key + heads.width) + key
        with torch.no_grad():
            weight[first : first + heads.width] = 0
        torch.testing.assert_close(logits(found), out)
        with torch.no_grad():
            weight.copy_(kept)


def test_an_attention_without_such_a_place_is_named(corpus):
    found = sample(corpus)
    attention = found.model.blocks[1].attention
    attention.o_proj = nn.Sequential(attention.o_proj)
    assert not_measured(found.model, found.spec.attention) == [
        "heads of block 1: attention=gqa has no output projection that reads its heads side by side"
    ]
    assert {part.layer for part in parts(found.model, found.spec.attention) if part.kind == "head"} == {0}


@pytest.mark.parametrize("kernel", ["loop", "grouped"])
def test_an_expert_is_out_where_its_last_matrix_is_zero(corpus, kernel):
    found = sample(corpus, *EXPERTS, f"ffn.kernel={kernel}")
    before = state(found)
    experts = [part for part in parts(found.model, found.spec.attention) if part.kind == "expert"]
    assert [(part.layer, part.index) for part in experts] == [(layer, i) for layer in (0, 1) for i in range(4)]
    for part in experts:
        ffn = found.model.blocks[part.layer].ffn
        assert isinstance(ffn, MoE) and part.index is not None
        weight = ffn.experts.get_submodule("down").weight
        kept = weight.detach().clone()
        with part.out():
            out = logits(found)
        with torch.no_grad():
            weight[part.index] = 0
        torch.testing.assert_close(logits(found), out)
        with torch.no_grad():
            weight.copy_(kept)
    assert same(state(found), before)


def test_an_ffn_or_a_shared_expert_is_out_where_its_last_matrix_is_zero(corpus):
    found = sample(corpus, *EXPERTS)
    ffn = found.model.blocks[0].ffn
    by_kind = {part.kind: part for part in parts(found.model, found.spec.attention) if part.layer == 0}
    shared, routed = ffn.shared.down.weight, ffn.experts.get_submodule("down").weight
    for kind, weights in (("shared expert", [shared]), ("ffn branch", [shared, routed])):
        kept = [weight.detach().clone() for weight in weights]
        with by_kind[kind].out():
            out = logits(found)
        with torch.no_grad():
            for weight in weights:
                weight.zero_()
        torch.testing.assert_close(logits(found), out)
        with torch.no_grad():
            for weight, whole in zip(weights, kept, strict=True):
                weight.copy_(whole)


def test_the_difference_of_two_scorings_and_its_error(corpus):
    found = sample(corpus, bytes=400)
    whole = found.score()
    assert difference(whole, whole) == (0.0, 0.0)
    [part, *_] = parts(found.model, found.spec.attention)
    with part.out():
        changed = found.score()
    rise, error = difference(whole, changed)
    assert rise == pytest.approx(changed.bits_per_byte - whole.bits_per_byte)
    bits = (changed.documents.nats - whole.documents.nats) / math.log(2)
    sizes, n = whole.documents.bytes, len(bits)
    assert n > 2
    left = sum((bits[i] - rise * sizes[i]) ** 2 for i in range(n)) / (n - 1)
    assert error == pytest.approx(math.sqrt(left / n) / (sizes.sum() / n))
