"""DeepseekV3ForCausalLM in `transformers` (DeepSeek-V3, 2412.19437): mla, then dense blocks, then sigmoid mixtures.

Its rotary pairs are (0, 1), (2, 3), …: weights trained with pairs (i, i + width/2) are reordered, so that programs
that know DeepSeek's published weights alone read these too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanochat.attention.mla import MLA, MLASpec
from nanochat.core.errors import Problem
from nanochat.core.geometry import Geometry
from nanochat.core.spec import Spec
from nanochat.ffn.moe import MoE, MoESpec
from nanochat.ffn.router import Sigmoid
from nanochat.model.architecture import Architecture
from nanochat.model.block import Block
from nanochat.model.export_llama import MIXTURE, dense
from nanochat.model.export_shared import (
    Entries,
    agreed,
    dense_entries,
    differs,
    must_be_off,
    no_such,
    pairs_from_halves,
    per_block,
    reorder,
    weight_of,
)
from nanochat.position.rope import RopeSpec

TARGET = "DeepSeek-V3"

WIDTHS = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
"""Fields of mla that bear the same names there."""


def entries(architecture: Architecture) -> tuple[Entries, list[Problem]]:
    """What config.json says of attention and FFN, and every reason why it cannot say it."""
    depth = architecture.model.depth
    attentions, problems = per_block(architecture.attention, key="attention", depth=depth, describe=_attention)
    ffns, more = per_block(architecture.ffn, key="ffn", depth=depth, describe=_ffn)
    problems += more
    dense, mixtures = ([found for found in ffns if ("n_routed_experts" in found) is mixed] for mixed in (False, True))
    if ffns[: len(dense)] != dense:
        rule = f"{TARGET} has its dense blocks before its mixtures of experts"
        problems.append(Problem(key="ffn.pattern", rule=rule, remedy="train with a pattern such as [dense, moe, moe]"))
    acts = [{"hidden_act": found["hidden_act"]} for found in ffns if "hidden_act" in found]
    result: Entries = {"first_k_dense_replace": len(dense)}
    for key, group in (("attention", attentions), ("ffn", dense), ("ffn", mixtures), ("ffn", acts)):
        found, wrong = agreed(group, key=key, target=TARGET)
        result |= found
        problems += wrong
    return result, problems


def tensors(block: Block, architecture: Architecture, *, geometry: Geometry) -> dict[str, Tensor]:
    """A block's weights by their names there, relative to the block."""
    ffn = mixture(block) if isinstance(block.ffn, MoE) else dense(block)
    return {**attention(block, architecture, geometry=geometry), **ffn}


def attention(block: Block, architecture: Architecture, *, geometry: Geometry) -> dict[str, Tensor]:
    """Scores are divided by √width there: what else a parametrisation asks for goes into the queries."""
    module, position = block.attention, architecture.position
    assert isinstance(module, MLA) and isinstance(position, RopeSpec)
    sizes = module.sizes
    query, latent = (None if position.interleaved else _rope_in_pairs(n, sizes.rope) for n in (sizes.nope, sizes.rank))
    factor = (sizes.nope + sizes.rope) ** (0.5 - geometry.head_power)
    last = "q_proj" if sizes.q_rank is None else "q_b_proj"
    found = {
        f"{last}.weight": reorder(weight_of(module, last), query) * factor,
        "kv_a_proj_with_mqa.weight": reorder(weight_of(module, "kv_a_proj_with_mqa"), latent),
        "kv_a_layernorm.weight": weight_of(module, "kv_a_norm"),
        "kv_b_proj.weight": weight_of(module, "kv_b_proj"),
        "o_proj.weight": weight_of(module, "o_proj"),
    }
    if sizes.q_rank is not None:
        found["q_a_proj.weight"] = weight_of(module, "q_a_proj")
        found["q_a_layernorm.weight"] = weight_of(module, "q_a_norm")
    return {f"self_attn.{name}": weight for name, weight in found.items()}


def mixture(block: Block) -> dict[str, Tensor]:
    """A mixture of experts under the names of DeepSeek's published weights, expert by expert."""
    router = block.ffn.get_submodule("router")
    assert isinstance(router, Sigmoid)
    found: dict[str, Tensor] = {"mlp.gate.weight": router.weight, "mlp.gate.e_score_correction_bias": router.bias}
    for name in ("gate", "up", "down"):
        found[f"mlp.shared_experts.{name}_proj.weight"] = weight_of(block.ffn, f"shared.{name}")
        for expert, weight in enumerate(weight_of(block.ffn, f"experts.{name}")):
            found[f"mlp.experts.{expert}.{name}_proj.weight"] = weight
    return found


def _attention(spec: Spec, *, key: str) -> tuple[Entries, list[Problem]]:
    if type(spec) is not MLASpec:
        return {}, [no_such(spec, key=key, target=TARGET, what="attention", remedy=f"{key}=mla in every block")]
    heads = spec.sizes.heads
    found = {"num_attention_heads": heads, "num_key_value_heads": heads, "rope_interleave": True}
    found |= {name: getattr(spec, name) for name in WIDTHS}
    return found, must_be_off(spec, key=key, known={"heads", "kernel", *WIDTHS}, target=TARGET)


def _ffn(spec: Spec, *, key: str) -> tuple[Entries, list[Problem]]:
    if isinstance(spec, MoESpec):
        return _mixture(spec, key=key)
    return dense_entries(spec, key=key, target=TARGET)


def _mixture(spec: MoESpec, *, key: str) -> tuple[Entries, list[Problem]]:
    found, problems = dense_entries(spec.expert, key=f"{key}.expert", target=TARGET)
    for name, wrong, rule, right in (
        ("router", spec.router != "sigmoid", "scores experts by a sigmoid", "sigmoid"),
        ("shared", spec.shared == 0, "has at least one shared expert", "1"),
        ("experts", spec.experts < 2, "has at least two experts", "2"),
    ):
        if wrong:
            problems.append(differs(f"{key}.{name}", getattr(spec, name), rule=f"{TARGET} {rule}", right=right))
    problems += must_be_off(spec, key=key, known={*MIXTURE, "routed_scaling"}, target=TARGET)
    return {
        "moe_intermediate_size": found.get("intermediate_size"),
        **{name: value for name, value in found.items() if name == "hidden_act"},
        "n_routed_experts": spec.experts,
        "n_shared_experts": spec.shared,
        "num_experts_per_tok": spec.top_k,
        "norm_topk_prob": spec.renormalize,
        "routed_scaling_factor": spec.routed_scaling,
        "n_group": 1,  # one group of experts, from which all are chosen
        "topk_group": 1,
    }, problems


def _rope_in_pairs(before: int, rope: int) -> Tensor:
    """The order that makes pairs of the last `rope` channels of a head and leaves those `before` them."""
    return torch.cat([torch.arange(before), before + pairs_from_halves(rope)])
