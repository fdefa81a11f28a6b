"""Variants of softmax attention against the models of `transformers` that have them: tiny, random, in fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_transformers import (
    CONTEXT,
    DIM,
    GEOMETRY,
    VOCAB,
    compare,
    copy,
    llama_name,
    near,
    plain_gqa,
    plain_model,
    randomize,
)
from torch import Tensor, nn

from nanochat.attention.gqa import GQASpec
from nanochat.ffn.swiglu import SwiGLUSpec
from nanochat.init.truncated_normal import TruncatedNormalSpec
from nanochat.model.architecture import Architecture
from nanochat.norm.rmsnorm import RMSNormSpec
from nanochat.position.rope import RopeSpec

EPS, THETA, WINDOW = 1e-4, 500.0, 7
ROPE = {"rope_type": "default", "rope_theta": THETA}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": DIM,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": EPS,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "attn_implementation": "eager",
}


def hold_model(spec: GQASpec, reference: nn.Module) -> None:
    """A whole model with this attention, swiglu, rmsnorm and rope against theirs: logits and gradients."""
    architecture = Architecture(
        model=plain_model(dim=DIM, depth=2, tied=False),
        attention=spec,
        ffn=SwiGLUSpec(hidden=48),
        norm=RMSNormSpec(eps=EPS, placement="pre", final=True),
        position=RopeSpec(theta=THETA, interleaved=False, nope_every=None),
        init=TruncatedNormalSpec(gain=1.0, cut=3.0),
    )
    model = architecture.resolve(vocab=VOCAB, context=CONTEXT).build(vocab=VOCAB, context=CONTEXT, seed=1)
    randomize(model)
    ours = copy(model, reference, llama_name)
    tokens = torch.randint(VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    logits, theirs = model(tokens).logits, reference(tokens).logits
    near(logits, theirs)
    for output in (logits, theirs):
        nn.functional.cross_entropy(output[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in reference.named_parameters():
        near(ours[name].grad, parameter.grad)


@pytest.mark.parametrize("kernel", ["sdpa", "naive"])
@pytest.mark.parametrize("head_dim", [8, 12])
def test_qwen3(kernel: str, head_dim: int):
    """The whole model, with qk_norm=head."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(**{**SIZES, "head_dim": head_dim}, rope_parameters=ROPE)
    spec = plain_gqa(head_dim=head_dim, qk_norm="head", qk_norm_eps=EPS, kernel=kernel)
    hold_model(spec, transformers.Qwen3ForCausalLM(config))


@pytest.mark.parametrize("kernel", ["sdpa", "chunked", "naive"])
def test_mistral(kernel: str):
    """The whole model, under the mask that it makes itself of its sliding window."""
    transformers = pytest.importorskip("transformers")
    sizes = {name: size for name, size in SIZES.items() if name != "attention_bias"}
    config = transformers.MistralConfig(**sizes, rope_parameters=ROPE, sliding_window=WINDOW)
    hold_model(plain_gqa(head_dim=8, window=WINDOW, kernel=kernel), transformers.MistralForCausalLM(config))


def hold(spec: GQASpec, reference: nn.Module, rotary: Callable[..., Any], *, window: int | None = None) -> None:
    """The built attention against theirs: outputs and gradients, weights bearing the same names."""
    position = RopeSpec(theta=THETA, interleaved=False, nope_every=None).build(GEOMETRY)
    attention = spec.resolve(GEOMETRY).build(GEOMETRY, position=position)
    randomize(attention)
    ours = copy(attention, reference, lambda name: name)
    x = torch.randn(2, CONTEXT, DIM, generator=torch.Generator().manual_seed(1))
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    turned = rotary(x, torch.arange(CONTEXT)[None])
    seen = torch.ones(CONTEXT, CONTEXT).tril().triu(1 - (window or CONTEXT))
    mask = torch.zeros(CONTEXT, CONTEXT).masked_fill(seen == 0, float("-inf"))[None, None]
    expected: Tensor = reference(yours, position_embeddings=turned, attention_mask=mask)[0]
    compare(attention(mine)[0], expected, ours, reference)
    near(mine.grad, yours.grad)


def test_olmo2_attention():
    """qk_norm=vector."""
    pytest.importorskip("transformers")
    from transformers.models.olmo2 import modeling_olmo2 as olmo
    from transformers.models.olmo2.configuration_olmo2 import Olmo2Config

    config = Olmo2Config(**SIZES, rope_parameters=ROPE)
    spec = plain_gqa(qk_norm="vector", qk_norm_eps=EPS)
    hold(spec, olmo.Olmo2Attention(config, layer_idx=0), olmo.Olmo2RotaryEmbedding(config))


@pytest.mark.parametrize("kernel", ["sdpa", "chunked", "naive"])
def test_gpt_oss_attention(kernel: str):
    """Sinks within a sliding window."""
    pytest.importorskip("transformers")
    from transformers.models.gpt_oss import modeling_gpt_oss as oss
    from transformers.models.gpt_oss.configuration_gpt_oss import GptOssConfig

    config = GptOssConfig(**SIZES, rope_parameters=ROPE, sliding_window=WINDOW)
    spec = plain_gqa(sinks=True, window=WINDOW, kernel=kernel)
    hold(spec, oss.GptOssAttention(config, layer_idx=0), oss.GptOssRotaryEmbedding(config), window=WINDOW)


def test_gemma2_attention():
    """Scores under a soft cap; theirs are scaled by a number of their own, here that of ours."""
    pytest.importorskip("transformers")
    from transformers.models.gemma2 import modeling_gemma2 as gemma
    from transformers.models.gemma2.configuration_gemma2 import Gemma2Config

    config = Gemma2Config(**SIZES, rope_parameters=ROPE, attn_logit_softcapping=1.5, query_pre_attn_scalar=8)
    spec = plain_gqa(soft_cap=1.5, kernel="naive")
    hold(spec, gemma.Gemma2Attention(config, layer_idx=0), gemma.Gemma2RotaryEmbedding(config))
