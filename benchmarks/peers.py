"""Models of `transformers` of the same shapes as ours, and one training step of either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nanochat.core.compose import compose
from nanochat.core.spec import load
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import Transformer

PARTS = ("model", "attention", "ffn", "norm", "position", "init")


def ours(*overrides: str, vocab: int, context: int) -> Transformer:
    """Our model of these overrides, with random weights."""
    return architecture(*overrides, vocab=vocab, context=context).build(vocab=vocab, context=context, seed=1)


def architecture(*overrides: str, vocab: int, context: int) -> Architecture:
    """The resolved description of our model of these overrides."""
    config = compose(list(overrides))
    return load({part: config[part] for part in PARTS}, Architecture).resolve(vocab=vocab, context=context)


def llama(*, dim: int, depth: int, heads: int, kv_heads: int, hidden: int, vocab: int, context: int) -> nn.Module:
    """LlamaForCausalLM, its attention through the same fused kernel as ours."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab,
            hidden_size=dim,
            intermediate_size=hidden,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def deepseek(
    *,
    dim: int,
    depth: int,
    heads: int,
    rank: int,
    nope: int,
    rope: int,
    value: int,
    hidden: int,
    vocab: int,
    context: int,
) -> nn.Module:
    """DeepseekV3ForCausalLM with a dense FFN in every block: what differs from Llama is the attention alone."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    return DeepseekV3ForCausalLM(
        DeepseekV3Config(
            vocab_size=vocab,
            hidden_size=dim,
            intermediate_size=hidden,
            num_hidden_layers=depth,
            first_k_dense_replace=depth,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            q_lora_rank=None,
            kv_lora_rank=rank,
            qk_nope_head_dim=nope,
            qk_rope_head_dim=rope,
            v_head_dim=value,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            use_cache=False,
            attn_implementation="sdpa",
        )
    )


def mixtral(
    *, dim: int, depth: int, heads: int, kv_heads: int, hidden: int, experts: int, top_k: int, vocab: int, context: int
) -> nn.Module:
    """MixtralForCausalLM, its experts computed as it does by default."""
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=vocab,
            hidden_size=dim,
            intermediate_size=hidden,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            num_local_experts=experts,
            num_experts_per_tok=top_k,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            use_cache=False,
            output_router_logits=True,
            attn_implementation="sdpa",
        )
    )


def training_step(model: nn.Module, tokens: Tensor, *, bf16: bool = False) -> Callable[[], Any]:
    """Forward, cross-entropy (and a router's loss), backward, clipping and AdamW: the same around every model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = model(tokens[:, :-1])
            logits = output.logits.flatten(0, 1).float()
            loss = nn.functional.cross_entropy(logits, tokens[:, 1:].flatten())
            if isinstance(model, Transformer) and output.aux.loss is not None:
                loss = loss + output.aux.loss.mean()
            elif getattr(output, "aux_loss", None) is not None:
                loss = loss + 0.01 * output.aux_loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
