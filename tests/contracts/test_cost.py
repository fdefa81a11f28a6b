"""What a Spec says a model costs is what the built model costs."""

from __future__ import annotations

import options
import pytest
import torch
from test_model_parts import CONTEXT, MODELS, VOCAB, build, random_tokens
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_parameters_and_state(overrides: tuple[str, ...]):
    architecture, model = options.architecture(*overrides), build(*overrides)
    cost = architecture.cost(vocab=VOCAB, context=CONTEXT)
    assert cost.params == sum(p.numel() for p in model.parameters())
    body = [p for name, p in model.named_parameters() if not name.startswith(("embedding", "value_embeddings", "head"))]
    assert architecture.non_embedding_params(vocab=VOCAB, context=CONTEXT) == sum(p.numel() for p in body)
    with torch.no_grad():
        states = model(random_tokens()).state
    elements = sum(part.numel() for state in states for part in state if isinstance(part, torch.Tensor))
    assert cost.state_bytes == 2 * elements / (2 * CONTEXT)


LOOPS = {
    "attention=local": "attention.kernel=sdpa",
    "attention.sinks=true": "attention.kernel=naive",  # sdpa has a column of zeros for them
    "ffn=moe": "ffn.kernel=loop",
    "ffn=hybrid": "ffn.parts.b.kernel=loop",
    "attention=linear": "attention.kernel=recurrent",
    "attention=hybrid": "attention.parts.a.kernel=recurrent",
    "attention@attention.inner=linear": "attention.inner.kernel=recurrent",
}


@pytest.mark.parametrize("overrides", MODELS, ids=" ".join)
def test_flops(overrides: tuple[str, ...]):
    """Torch's counter counts every query against every key, as the MFU convention does. It sees no grouped matmul, and
    the delta rule's cost is that of its recurrence: these run as their references."""
    twin = [*overrides, *(loop for option, loop in LOOPS.items() if option in overrides)]
    model, tokens = build(*twin), random_tokens()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model(tokens)
        (output.logits.sum() + (0 if output.aux.loss is None else output.aux.loss.sum())).backward()
    cost = options.architecture(*overrides).cost(vocab=VOCAB, context=CONTEXT)
    padding = padded_flops(overrides)
    assert counter.get_total_flops() == (cost.flops_mfu + padding) * tokens.numel()
    no_pairs = "attention=linear" in overrides or "attention@attention.inner=linear" in overrides
    assert cost.flops == cost.flops_mfu if no_pairs else cost.flops < cost.flops_mfu


def padded_flops(overrides: tuple[str, ...]) -> float:
    """MLA pads queries, keys and values to one width for the fused kernel: work that is no part of the model."""
    if "attention=mla" not in overrides:
        return 0.0
    architecture = options.architecture(*overrides)
    sizes = architecture.attention.sizes  # pyright: ignore
    qk = sizes.nope + sizes.rope
    extra = 2 * max(qk, sizes.value) - (qk + sizes.value)
    return 6.0 * sizes.heads * extra * CONTEXT * architecture.model.depth


@pytest.mark.parametrize("overrides", [m for m in MODELS if "ffn=moe" in m], ids=" ".join)
def test_active_parameters_are_those_that_a_token_meets(overrides: tuple[str, ...]):
    """Count the parameters with a gradient when the model sees one single token."""
    model = build(*overrides, "model.tied=true")
    model(random_tokens(batch=1, time=1)).logits.square().sum().backward()
    touched = 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        if ".experts." in name:
            touched += sum(p.numel() for p, grad in zip(parameter, parameter.grad, strict=True) if grad.any())
        else:
            touched += parameter.numel()
    assert options.architecture(*overrides).cost(vocab=VOCAB, context=CONTEXT).active_params == touched


# An attention of several branches counts its pairs in its own test.
SINGLE_BRANCHED = [m for m in MODELS if not any("ffn" in part or part == "attention=nsa" for part in m)]


@pytest.mark.parametrize("overrides", SINGLE_BRANCHED, ids=" ".join)
def test_exact_flops_count_the_pairs_that_attention_sees(overrides: tuple[str, ...]):
    """A query's output has a gradient to the value of a key where, and only where, it sees that key."""
    architecture, model = options.architecture(*overrides), build(*overrides)
    attention = model.get_submodule("blocks.0.attention")
    layout = getattr(attention, "mask", None)
    window = getattr(attention, "window", None) or CONTEXT
    seen = torch.ones(CONTEXT, CONTEXT).tril().triu(1 - window) if layout is None else layout.float().mean(0)
    x = torch.randn(1, CONTEXT, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y, _ = attention(x)
    for query in (0, 5, CONTEXT - 1):
        (grad,) = torch.autograd.grad(y[0, query].sum(), x, retain_graph=True)
        assert torch.equal(grad[0].abs().sum(-1) > 0, seen[query] > 0)
    at = [architecture.cost(vocab=VOCAB, context=context).flops_mfu for context in (1, 2)]
    per_key = at[1] - at[0]
    pairs = seen.sum().item() / CONTEXT
    expected = at[0] - per_key + per_key * pairs
    assert architecture.cost(vocab=VOCAB, context=CONTEXT).flops == pytest.approx(expected)
