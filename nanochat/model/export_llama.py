"""Models of Llama's family in `transformers`: LlamaForCausalLM, Qwen3ForCausalLM and MixtralForCausalLM.

gqa, mha, mqa and wgqa with gated dense FFNs are Llama (2302.13971), with normed queries and keys Qwen3 (2505.09388),
with a softmax mixture of experts Mixtral (2401.04088). Their rotary pairs are (i, i + width/2): weights trained with
interleaved pairs are reordered.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from nanochat.attention.gqa import GQA, GQASpec
from nanochat.attention.wgqa import WGQA, WGQASpec
from nanochat.core.errors import Problem
from nanochat.core.geometry import Geometry
from nanochat.core.spec import Spec, option_of
from nanochat.ffn.moe import MoE, MoESpec
from nanochat.model.architecture import Architecture
from nanochat.model.block import Block
from nanochat.model.export_shared import (
    Entries,
    agreed,
    dense_entries,
    differs,
    halves_from_pairs,
    must_be_off,
    no_such,
    part,
    per_block,
    reorder,
    weight_of,
)
from nanochat.norm.rmsnorm import RMSNormSpec
from nanochat.position.rope import RopeSpec

Target = Literal["Llama", "Qwen3", "Mixtral"]

TYPES: dict[Target, str] = {"Llama": "llama", "Qwen3": "qwen3", "Mixtral": "mixtral"}
"""Their `model_type`."""

ATTENTION = {"heads", "kv_heads", "head_dim", "qk_norm_eps", "kernel"}
"""Fields of an attention that have a name over there, or need none."""

MIXTURE = {"experts", "top_k", "expert", "shared", "router", "renormalize"}
MIXTURE |= {"gamma", "noise", "balance_coef", "z_coef", "kernel"}  # of no use once it is trained
"""The same of a mixture of experts."""

EACH_HEAD = ("head", "plain")
"""The norms of queries and keys that Qwen3's can be. RMS does not feel the rotation, so plain, which comes after it,
is Qwen3's before it with gains of one."""


def target_of(architecture: Architecture) -> Target:
    """Which of the family a model is nearest to."""
    layers = range(architecture.model.depth)
    if any(isinstance(part(architecture.ffn, key="", layer=i)[1], MoESpec) for i in layers):
        return "Mixtral"
    attentions = [part(architecture.attention, key="", layer=i)[1] for i in layers]
    normed = any(isinstance(spec, GQASpec) and spec.qk_norm in EACH_HEAD for spec in attentions)
    return "Qwen3" if normed else "Llama"


def entries(architecture: Architecture, *, target: Target) -> tuple[Entries, list[Problem]]:
    """What config.json says of attention and FFN, and every reason why it cannot say it."""
    result: Entries = {}
    problems: list[Problem] = []
    for key, describe in (("attention", _attention), ("ffn", _ffn)):
        found, wrong = per_block(
            getattr(architecture, key),
            key=key,
            depth=architecture.model.depth,
            describe=functools.partial(describe, target=target),
        )
        common, differing = agreed(found, key=key, target=target)
        result |= common
        problems += wrong + differing
    heads, dim = result.get("num_attention_heads"), architecture.model.width
    if target == "Llama" and heads and dim % heads:
        rule = f"the heads of {target} divide dim={dim}"
        problems.append(Problem(key="attention.heads", value=heads, rule=rule, remedy="train with a divisor"))
    return result, problems


def tensors(block: Block, architecture: Architecture, *, geometry: Geometry) -> dict[str, Tensor]:
    """A block's weights by their names there, relative to the block."""
    ffn = mixture(block) if isinstance(block.ffn, MoE) else dense(block)
    return {**attention(block, architecture, geometry=geometry), **ffn}


def attention(block: Block, architecture: Architecture, *, geometry: Geometry) -> dict[str, Tensor]:
    """Scores are divided by √width there: what else a parametrisation asks for goes into the queries."""
    module = block.attention
    assert isinstance(module, GQA) and isinstance(architecture.position, RopeSpec)
    width = module.head_dim
    order = halves_from_pairs(width) if architecture.position.interleaved else None
    q, o = module.q_proj.weight, module.o_proj.weight
    k, v = module.merged() if isinstance(module, WGQA) else (module.k_proj.weight, module.v_proj.weight)
    factor = width ** (0.5 - geometry.head_power)
    found = {"self_attn.v_proj.weight": v, "self_attn.o_proj.weight": o}
    if module.qk_norm in EACH_HEAD:
        # One eps serves all norms there; a vector times s, normed with s²·eps, is that vector normed with eps.
        assert isinstance(architecture.norm, RMSNormSpec)
        scale = (architecture.norm.eps / module.eps) ** 0.5
        q, k = q * scale, k * scale
        ones = torch.ones(width)
        gains = (ones if norm is None else norm.weight for norm in (module.q_norm, module.k_norm))
        q_gain, k_gain = (reorder(gain, order) for gain in gains)
        found |= {"self_attn.q_norm.weight": q_gain * factor, "self_attn.k_norm.weight": k_gain}
    else:
        q = q * factor
    return {"self_attn.q_proj.weight": reorder(q, order), "self_attn.k_proj.weight": reorder(k, order), **found}


def dense(block: Block) -> dict[str, Tensor]:
    """A gated FFN."""
    return {f"mlp.{name}_proj.weight": weight_of(block.ffn, name) for name in ("gate", "up", "down")}


def mixture(block: Block) -> dict[str, Tensor]:
    """A mixture of experts under the names of Mixtral's published weights, expert by expert."""
    found = {"block_sparse_moe.gate.weight": weight_of(block.ffn, "router")}
    for theirs, ours in (("w1", "gate"), ("w2", "down"), ("w3", "up")):
        for expert, weight in enumerate(weight_of(block.ffn, f"experts.{ours}")):
            found[f"block_sparse_moe.experts.{expert}.{theirs}.weight"] = weight
    return found


def _attention(spec: Spec, *, key: str, target: Target) -> tuple[Entries, list[Problem]]:
    if not isinstance(spec, GQASpec) or type(spec) not in (GQASpec, WGQASpec):
        return {}, [no_such(spec, key=key, target=target, what="attention", remedy=f"{key}=gqa, wgqa or mla")]
    known = {*ATTENTION, "qk_norm"} if target == "Qwen3" else ATTENTION
    problems = must_be_off(spec, key=key, known=known, target=target)
    if target == "Qwen3" and spec.qk_norm not in EACH_HEAD:
        rule = f"{target} norms queries and keys, each head by itself"
        problems.append(differs(f"{key}.qk_norm", spec.qk_norm, rule=rule, right="head"))
    heads, kv_heads, head_dim = spec.sizes
    found = {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim}
    return found, problems


def _ffn(spec: Spec, *, key: str, target: Target) -> tuple[Entries, list[Problem]]:
    if target != "Mixtral":
        return dense_entries(spec, key=key, target=target)
    if type(spec) is not MoESpec:
        return {}, [differs(key, option_of(spec), rule=f"{target} has mixtures of experts alone", right="moe")]
    return _mixture(spec, key=key, target=target)


def _mixture(spec: MoESpec, *, key: str, target: Target) -> tuple[Entries, list[Problem]]:
    """Without its noise, which is for training alone, a gumbel router is a softmax router."""
    found, problems = dense_entries(spec.expert, key=f"{key}.expert", target=target)
    for name, wrong, rule, right in (
        ("shared", spec.shared > 0, "has no shared experts", "0"),
        ("router", spec.router == "sigmoid", "weighs experts by a softmax", "softmax"),
        ("renormalize", not spec.renormalize, "divides a token's weights by their sum", "true"),
    ):
        if wrong:
            problems.append(differs(f"{key}.{name}", getattr(spec, name), rule=f"{target} {rule}", right=right))
    known = {*MIXTURE, "routed_scaling"}  # which sigmoid alone has
    problems += must_be_off(spec, key=key, known=known, target=target)
    return {**found, "num_local_experts": spec.experts, "num_experts_per_tok": spec.top_k}, problems
