"""A model in the format of `transformers`: what config.json and model.safetensors hold so that `from_pretrained` gives
a model with the same logits.

Which of its architectures is meant follows from the Specs: mla is DeepSeek-V3, gqa with a mixture of experts Mixtral,
gqa with normed queries and keys Qwen3, any other gqa Llama. What that architecture cannot express is refused, every
reason at once; nothing is approximated. Nothing of `transformers` is imported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nanochat.attention.mla import MLASpec
from nanochat.core.errors import Problem, SpecError
from nanochat.core.geometry import Geometry
from nanochat.model import export_deepseek, export_llama
from nanochat.model.architecture import Architecture
from nanochat.model.block import Block
from nanochat.model.export_shared import Entries, differs, must_be_off, no_such, part, weight_of
from nanochat.model.transformer import Transformer
from nanochat.norm.rmsnorm import RMSNormSpec
from nanochat.position.rope import RopeSpec


class Checkpoint(NamedTuple):
    """config: what config.json says · tensors: the weights by their names there, in fp32."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def architecture(self) -> str:
        """The class that it is loaded as."""
        return self.config["architectures"][0]


def convert(model: Transformer, architecture: Architecture, *, bos: int) -> Checkpoint:
    """The checkpoint of a `model` that the resolved `architecture` has built.

    bos: the id that begins every text, and so ends the one before. Raises `SpecError` with every reason why no
    architecture of `transformers` is this model.
    """
    vocab = model.embedding.num_embeddings
    config = describe(architecture)
    tied = model.head is None and model.logit_scale == 1
    config |= {
        "vocab_size": vocab,
        "max_position_embeddings": model.context,
        "tie_word_embeddings": tied,
        "bos_token_id": bos,
        "eos_token_id": bos,
        "dtype": "float32",
    }
    found = {"model.embed_tokens.weight": model.embedding.weight, "model.norm.weight": weight_of(model, "norm")}
    if not tied:  # what logits are multiplied by has no name there
        head = model.embedding.weight if model.head is None else model.head.weight
        found["lm_head.weight"] = head * model.logit_scale
    geometry = architecture.geometry(vocab=vocab, context=model.context)
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        tensors = _block(block, architecture, geometry=replace(geometry, layer=layer))
        found |= {f"model.layers.{layer}.{name}": weight for name, weight in tensors.items()}
    return Checkpoint(config, {name: _plain(weight) for name, weight in found.items()})


def describe(architecture: Architecture) -> Entries:
    """What config.json says of a resolved architecture; raises `SpecError` as `convert` does."""
    deepseek = is_deepseek(architecture)
    if deepseek:
        target, kind, name = export_deepseek.TARGET, "deepseek_v3", "DeepseekV3ForCausalLM"
        entries, problems = export_deepseek.entries(architecture)
        entries["num_nextn_predict_layers"] = 0  # those that predict further tokens are of no use after training
    else:
        target = export_llama.target_of(architecture)
        kind, name = export_llama.TYPES[target], f"{target}ForCausalLM"
        entries, problems = export_llama.entries(architecture, target=target)
    problems += _frame_problems(architecture, target=target)
    if problems:
        raise SpecError(problems)
    norm, position = architecture.norm, architecture.position
    assert isinstance(norm, RMSNormSpec) and isinstance(position, RopeSpec)
    return {
        "architectures": [name],
        "model_type": kind,
        "hidden_size": architecture.model.width,
        "num_hidden_layers": architecture.model.depth,
        "rms_norm_eps": norm.eps,
        "rope_theta": position.theta,  # where versions 4 look for it
        "rope_parameters": {"rope_type": "default", "rope_theta": position.theta},
        "attention_bias": False,
        **entries,
    }


def is_deepseek(architecture: Architecture) -> bool:
    """Whether any block has mla."""
    layers = range(architecture.model.depth)
    return any(isinstance(part(architecture.attention, key="", layer=i)[1], MLASpec) for i in layers)


def _block(block: Block, architecture: Architecture, *, geometry: Geometry) -> dict[str, Tensor]:
    """A block's weights by their names there, relative to the block."""
    family = export_deepseek if is_deepseek(architecture) else export_llama
    return {
        "input_layernorm.weight": weight_of(block.attention_norms, "inner"),
        "post_attention_layernorm.weight": weight_of(block.ffn_norms, "inner"),
        **family.tensors(block, architecture, geometry=geometry),
    }


def _frame_problems(architecture: Architecture, *, target: str) -> list[Problem]:
    """What is wrong outside attention and FFN."""
    model, norm, position = architecture.model, architecture.norm, architecture.position
    known = {"depth", "dim", "aspect", "tied", "dropout"}
    problems = must_be_off(model, key="model", known=known, target=target)
    if type(norm) is not RMSNormSpec:
        problems.append(no_such(norm, key="norm", target=target, what="norm", remedy="norm=rmsnorm"))
    else:
        problems += must_be_off(norm, key="norm", known={"eps", "placement", "final"}, target=target)
    for name, right, rule in (
        ("placement", "pre", "norms what a branch reads, and nothing else"),
        ("final", True, "norms what the head reads"),
    ):
        value = getattr(norm, name)
        if value != right:
            problems.append(differs(f"norm.{name}", value, rule=f"{target} {rule}", right=str(right).lower()))
    if type(position) is not RopeSpec:
        problems.append(no_such(position, key="position", target=target, what="position", remedy="position=rope"))
    else:
        problems += must_be_off(position, key="position", known={"theta", "interleaved"}, target=target)
    return problems


def _plain(weight: Tensor) -> Tensor:
    """A copy that shares no memory with another tensor, in fp32 on the CPU."""
    return weight.detach().to(device="cpu", dtype=torch.float32, copy=True).contiguous()
