"""The same weights give the same outputs and gradients as in `transformers`: tiny random models, nothing downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nanochat.attention.gqa import GQASpec
from nanochat.attention.mla import MLASpec
from nanochat.core.geometry import Geometry
from nanochat.ffn.moe import MoESpec
from nanochat.ffn.swiglu import SwiGLUSpec
from nanochat.init.truncated_normal import TruncatedNormalSpec
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import TransformerSpec
from nanochat.norm.rmsnorm import RMSNormSpec
from nanochat.position.rope import RopeSpec

DIM, VOCAB, CONTEXT = 32, 50, 24
GEOMETRY = Geometry(dim=DIM, depth=2, layer=0, vocab=VOCAB, context=CONTEXT)


def plain_model(*, dim: int, depth: int, tied: bool) -> TransformerSpec:
    """A model without any of the additions to the plain transformer."""
    return TransformerSpec(
        depth=depth,
        dim=dim,
        aspect=None,
        tied=tied,
        dropout=0.0,
        value_embeddings="none",
        residual_scalars=False,
        soft_cap=None,
    )


def plain_gqa(**changes: Any) -> GQASpec:
    """Four heads of fused attention over every earlier token, but for `changes`."""
    fields: dict[str, Any] = {
        "heads": 4,
        "kv_heads": 2,
        "head_dim": None,
        "qk_norm": "none",
        "qk_norm_eps": None,
        "soft_cap": None,
        "sinks": False,
        "window": None,
        "kernel": "sdpa",
    }
    return GQASpec(**{**fields, **changes})


def near(ours: Tensor | None, theirs: Tensor | None) -> None:
    assert ours is not None and theirs is not None
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def randomize(module: nn.Module) -> None:
    """Every parameter random, gains too, so that none can stand in another's place."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 1 + 0.1 * noise)


def copy(source: nn.Module, target: nn.Module, name_of: Callable[[str], str]) -> dict[str, nn.Parameter]:
    """Copy weights over, `name_of` giving the target's name for each of ours; returns ours by the target's name."""
    ours = {name_of(name): parameter for name, parameter in source.named_parameters()}
    missing, unexpected = target.load_state_dict({k: p.detach() for k, p in ours.items()}, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return ours


def llama_name(name: str) -> str:
    for ours, theirs in (
        ("blocks.", "layers."),
        ("attention_norms.inner", "input_layernorm"),
        ("ffn_norms.inner", "post_attention_layernorm"),
        ("attention.", "self_attn."),
        ("ffn.gate.", "mlp.gate_proj."),
        ("ffn.up.", "mlp.up_proj."),
        ("ffn.down.", "mlp.down_proj."),
        ("embedding.", "embed_tokens."),
    ):
        name = name.replace(ours, theirs)
    return name.replace("head.weight", "lm_head.weight") if name.startswith("head.") else f"model.{name}"


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_llama(kv_heads: int):
    """gqa + swiglu + rmsnorm + rope in half-split pairs are LlamaForCausalLM."""
    transformers = pytest.importorskip("transformers")
    architecture = Architecture(
        model=plain_model(dim=DIM, depth=2, tied=False),
        attention=plain_gqa(kv_heads=kv_heads),
        ffn=SwiGLUSpec(hidden=48),
        norm=RMSNormSpec(eps=1e-5, placement="pre", final=True),
        position=RopeSpec(theta=500.0, interleaved=False, nope_every=None),
        init=TruncatedNormalSpec(gain=1.0, cut=3.0),
    )
    model = architecture.resolve(vocab=VOCAB, context=CONTEXT).build(vocab=VOCAB, context=CONTEXT, seed=1)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=DIM,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    llama = transformers.LlamaForCausalLM(config)
    randomize(model)
    ours = copy(model, llama, llama_name)
    tokens = torch.randint(VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    logits, theirs = model(tokens).logits, llama(tokens).logits
    near(logits, theirs)
    for output in (logits, theirs):
        nn.functional.cross_entropy(output[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in llama.named_parameters():
        near(ours[name].grad, parameter.grad)


@pytest.mark.parametrize("q_rank", [None, 12])
@pytest.mark.parametrize("interleaved", [True, False])
def test_deepseek_v3_attention(q_rank: int | None, interleaved: bool):
    pytest.importorskip("transformers")
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek
    from transformers.models.deepseek_v3.configuration_deepseek_v3 import DeepseekV3Config

    spec = MLASpec(
        heads=4,
        q_lora_rank=q_rank,
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=10,
        kernel="sdpa",
    )
    position = RopeSpec(theta=500.0, interleaved=interleaved, nope_every=None).build(GEOMETRY)
    mla = spec.resolve(GEOMETRY).build(GEOMETRY, position=position)
    config = DeepseekV3Config(
        hidden_size=DIM,
        num_attention_heads=4,
        num_key_value_heads=4,
        q_lora_rank=q_rank,
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=10,
        rms_norm_eps=1e-3,  # the latent norms do not heed it, theirs or ours
        rope_interleave=interleaved,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        attention_bias=False,
    )
    config._attn_implementation = "eager"
    reference = deepseek.DeepseekV3Attention(config, layer_idx=0)
    randomize(mla)
    ours = copy(mla, reference, lambda name: name.replace("_a_norm", "_a_layernorm"))
    x = torch.randn(2, CONTEXT, DIM, generator=torch.Generator().manual_seed(1))
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    rotary = deepseek.DeepseekV3RotaryEmbedding(config)(x, torch.arange(CONTEXT)[None])
    mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)[None, None]
    y = mla(mine)[0]
    expected = reference(yours, position_embeddings=rotary, attention_mask=mask)[0]
    compare(y, expected, ours, reference)
    near(mine.grad, yours.grad)


def test_mixtral_block():
    pytest.importorskip("transformers")
    from transformers.models.mixtral.configuration_mixtral import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    spec = MoESpec(
        experts=6,
        top_k=2,
        shared=0,
        expert=SwiGLUSpec(hidden=24),
        router="softmax",
        renormalize=None,
        gamma=None,
        routed_scaling=None,
        noise=None,
        balance_coef=None,
        z_coef=None,
        kernel="grouped",
    )
    moe = spec.resolve(GEOMETRY).build(GEOMETRY)
    config = MixtralConfig(hidden_size=DIM, intermediate_size=24, num_local_experts=6, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    reference: Any = MixtralSparseMoeBlock(config)
    randomize(moe)
    gate, up = (moe.get_submodule(f"experts.{name}").weight for name in ("gate", "up"))
    with torch.no_grad():
        reference.gate.weight.copy_(moe.router.weight)
        reference.experts.gate_up_proj.copy_(torch.cat([gate, up], dim=1))
        reference.experts.down_proj.copy_(moe.get_submodule("experts.down").weight)
    x = torch.randn(2, CONTEXT, DIM, generator=torch.Generator().manual_seed(1))
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = moe(mine)[0], reference(yours)
    compare(y, expected, {}, None)
    near(mine.grad, yours.grad)
    near(moe.router.weight.grad, reference.gate.weight.grad)
    near(torch.cat([gate.grad, up.grad], dim=1), reference.experts.gate_up_proj.grad)
    near(moe.get_submodule("experts.down").weight.grad, reference.experts.down_proj.grad)


def test_mixtral_balance_loss():
    """Over one sequence and one layer ours is theirs, but for their factor top_k: balanced, ours is 1, theirs top_k."""
    pytest.importorskip("transformers")
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    from nanochat.ffn.balance import balance_loss, load_per_sequence

    logits = torch.randn(1, CONTEXT, 6, generator=torch.Generator().manual_seed(1))
    probabilities = logits.softmax(-1)
    load = load_per_sequence(probabilities.topk(2, dim=-1).indices, experts=6)
    ours = balance_loss(load, probabilities.mean(dim=1))
    near(2 * ours[0], load_balancing_loss_func((logits[0],), num_experts=6, top_k=2))


def compare(y: Tensor, expected: Tensor, ours: dict[str, Any], reference: nn.Module | None) -> None:
    """Outputs, then the gradients of one random functional of them."""
    near(y, expected)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)) / y[0, 0].numel()
    for output in (y, expected):
        (output * weight).sum().backward()
    for name, parameter in reference.named_parameters() if reference else ():
        near(ours[name].grad, parameter.grad)
