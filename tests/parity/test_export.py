"""Exported models give the same logits in `transformers`, and what cannot be exported is refused with every reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from options import VOCAB, architecture, names
from test_transformers import randomize
from torch import Tensor

from nanochat.attention.gqa import GQASpec
from nanochat.core.errors import MachineError, SpecError
from nanochat.ffn.router import Sigmoid
from nanochat.init.base import Parametrization
from nanochat.init.truncated_normal import TruncatedNormalSpec
from nanochat.model.architecture import Architecture
from nanochat.model.export import Checkpoint, convert, describe
from nanochat.model.transformer import Transformer
from nanochat.run.exported import CONFIG, WEIGHTS, write
from nanochat.tokenizer.byte import ByteSpec
from nanochat.tokenizer.pretrained import pretrained_files
from nanochat.tokenizer.sentencepiece import SentencePieceSpec

transformers: Any = pytest.importorskip("transformers")

CONTEXT = 32
BOS = 7
SIGMOID = ("ffn=moe", "ffn.router=sigmoid", "ffn.shared=2", "ffn.routed_scaling=2.5")
V3 = ("model.depth=3", "ffn=hybrid", "ffn.pattern=[a,b,b]", "ffn.parts.b.router=sigmoid", "ffn.parts.b.shared=1")
MUP = ("init=mup", "init.base_dim=16")

LLAMA, QWEN, MIXTRAL, DEEPSEEK = (f"{name}ForCausalLM" for name in ("Llama", "Qwen3", "Mixtral", "DeepseekV3"))

EXPORTED = [
    (LLAMA, "attention=gqa"),
    (LLAMA, "attention=gqa", "attention.kv_heads=1", "attention.head_dim=24", "position.theta=500"),
    (LLAMA, "attention=mha", "position.interleaved=true", "norm.eps=0.01"),
    (LLAMA, "attention=gqa", "ffn=geglu", "model.tied=true"),
    (LLAMA, "attention=gqa", "ffn=hybrid", "ffn.parts.b.experts=1", "ffn.pattern=[a]", "~ffn.parts.b"),
    (LLAMA, "attention=wgqa", "attention.kv_heads=2"),
    (LLAMA, "attention=wgqa", "attention.kv_heads=1", "position.interleaved=true", *MUP),
    (QWEN, "attention=gqa", "attention.qk_norm=head"),
    (QWEN, "attention=gqa", "attention.qk_norm=head", "attention.qk_norm_eps=0.1", "position.interleaved=true", *MUP),
    (QWEN, "attention=wgqa", "attention.qk_norm=plain", "attention.qk_norm_eps=0.1", "model.tied=true"),
    (MIXTRAL, "attention=gqa", "ffn=moe"),
    (MIXTRAL, "attention=mha", "ffn=moe", "ffn.router=gumbel", "ffn.top_k=3", "ffn@ffn.expert=geglu", *MUP),
    (DEEPSEEK, "attention=mla"),
    (DEEPSEEK, "attention=mla", "position.interleaved=true", "model.tied=true"),
    (DEEPSEEK, "attention=mla", "attention.q_lora_rank=12", "attention.v_head_dim=10", *MUP),
    (DEEPSEEK, "attention=mla", "attention.q_lora_rank=12", "position.interleaved=true", *SIGMOID),
    (DEEPSEEK, "attention=mla", "ffn.renormalize=false", *SIGMOID, *MUP),
    (DEEPSEEK, "attention=mla", *V3),
]


class Pair(NamedTuple):
    """A model of ours and what `transformers` made of its export."""

    ours: Transformer
    theirs: Any
    checkpoint: Checkpoint


def random_model(spec: Architecture) -> Transformer:
    """A model of random weights, the biases of routers too."""
    model = spec.build(vocab=VOCAB, context=CONTEXT, seed=1).eval()
    randomize(model)
    for module in model.modules():
        if isinstance(module, Sigmoid):
            module.bias.copy_(torch.randn(module.bias.shape, generator=torch.Generator().manual_seed(4)) / 4)
    return model


def export(spec: Architecture, folder: Path) -> Pair:
    """A random model, exported and loaded."""
    model = random_model(spec)
    checkpoint = convert(model, spec, bos=BOS)
    safetensors.torch.save_file(checkpoint.tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(checkpoint.config))
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return Pair(model, theirs.eval(), checkpoint)


def logits(pair: Pair, tokens: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return pair.ours(tokens).logits, pair.theirs(tokens).logits


def equal(pair: Pair) -> None:
    tokens = torch.randint(VOCAB, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    ours, theirs = logits(pair, tokens)
    assert ours.std() > 0.05, "all but constant logits would prove nothing"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "overrides"), [(name, rest) for name, *rest in EXPORTED], ids=str)
def test_an_exported_model_gives_the_same_logits(tmp_path, name: str, overrides: list[str]):
    pair = export(architecture(*overrides), tmp_path)
    assert pair.checkpoint.architecture == type(pair.theirs).__name__ == name
    equal(pair)
    config = pair.theirs.config
    assert (config.bos_token_id, config.eos_token_id, config.max_position_embeddings) == (BOS, BOS, CONTEXT)
    assert {parameter.dtype for parameter in pair.theirs.parameters()} == {torch.float32}


class Scaled(TruncatedNormalSpec):
    """A parametrisation that divides logits by 2 and scores by width^0.7, the head tied or not."""

    def parametrization(self, dim: int) -> Parametrization:
        return Parametrization(width=2.0, head_power=0.7)


@pytest.mark.parametrize("tied", ["true", "false"])
@pytest.mark.parametrize("attention", ["gqa", "mla"])
def test_what_multiplies_logits_and_scores_goes_into_the_weights(tmp_path, attention: str, tied: str):
    """A tied head is then written out, since the embedding must stay what it is."""
    spec = architecture(f"attention={attention}", f"model.tied={tied}").replace(init=Scaled(gain=1.0, cut=3.0))
    pair = export(spec, tmp_path)
    assert not pair.theirs.config.tie_word_embeddings
    equal(pair)


def test_it_decodes_to_the_same_tokens(tmp_path):
    pair = export(architecture("attention=mla", *V3), tmp_path)
    prompt = torch.tensor([[BOS, 3, 5]])
    found = pair.theirs.generate(prompt, max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0)
    ours = prompt
    for _ in range(8):
        ours = torch.cat([ours, logits(pair, ours)[0][:, -1:].argmax(-1)], dim=1)
    assert found.tolist() == ours.tolist()


@pytest.mark.parametrize(
    ("group", "option"),
    [(group, name) for group in ("attention", "ffn", "norm", "position", "init") for name in names(group)],
    ids=str,
)
def test_every_option_is_exported_exactly_or_refused(tmp_path, group: str, option: str):
    """No component can come to be exported as something that it is not."""
    spec = architecture(f"{group}={option}")
    try:
        describe(spec)
    except SpecError as error:
        assert {problem.key.split(".")[0] for problem in error.problems} <= {group, "position"}
        assert option not in {"gqa", "mha", "mqa", "wgqa", "mla", "swiglu", "geglu", "moe", "rmsnorm", "rope"}
        assert group != "init"
    else:
        equal(export(spec, tmp_path))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["attention=linear"], "attention=linear: Llama has no such attention; train with attention=gqa, wgqa or mla"),
        (["attention=gqa", "attention.window=8"], "attention.window=8: Llama has no such thing"),
        (["attention=gqa", "attention.sinks=true"], "attention.sinks=true: Llama has no such thing"),
        (["attention=gqa", "attention.qk_norm=vector"], "attention.qk_norm=vector: Llama has no such thing"),
        (["attention=gqa", "attention.soft_cap=5", "attention.kernel=naive"], "attention.soft_cap=5.0: Llama has no"),
        (["attention=gqa", "attention.heads=3", "attention.kv_heads=3", "attention.head_dim=8"], "divide dim=64"),
        (["attention=gqa", "ffn=mlp"], "ffn=mlp: Llama has no such FFN; train with ffn=swiglu or geglu"),
        (["norm.placement=post"], "norm.placement=post: Llama norms what a branch reads"),
        (["norm.final=false"], "norm.final=false: Llama norms what the head reads; train with norm.final=true"),
        (["norm=layernorm"], "norm=layernorm: Llama has no such norm"),
        (["position.nope_every=2"], "position.nope_every=2: Llama has no such thing"),
        (["position=none"], "position=none: Llama has no such position; train with position=rope"),
        (["model.soft_cap=30"], "model.soft_cap=30.0: Llama has no such thing; train with model.soft_cap=null"),
        (["model.residual_scalars=true"], "train with model.residual_scalars=false"),
        (["model.value_embeddings=all"], "train with model.value_embeddings=none"),
        (["ffn=moe", "ffn.shared=1"], "ffn.shared=1: Mixtral has no shared experts"),
        (["ffn=moe", "ffn.renormalize=false"], "ffn.renormalize=false: Mixtral divides"),
        (["ffn=moe", "ffn.router=sigmoid"], "ffn.router=sigmoid: Mixtral weighs experts by a softmax"),
        (["ffn=moe", "ffn@ffn.expert=mlp"], "ffn.expert=mlp: Mixtral has no such FFN"),
        (["ffn=moe", "attention.qk_norm=head"], "attention.qk_norm=head: Mixtral has no such thing"),
        (["ffn=hybrid"], "ffn.parts.a=swiglu: Mixtral has mixtures of experts alone"),
        (["attention=mla", "ffn=moe", "ffn.shared=1"], "ffn.router=softmax: DeepSeek-V3 scores experts by a sigmoid"),
        (["attention=mla", "ffn=moe", "ffn.router=sigmoid"], "ffn.shared=0: DeepSeek-V3 has at least one shared"),
        (["attention=mla", *V3, "ffn.pattern=[b,a]"], "ffn.pattern: DeepSeek-V3 has its dense blocks before"),
        (["attention=hybrid", "attention@attention.parts.b=mla"], "DeepSeek-V3 has no such attention"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_transformers_cannot_express_is_refused_with_its_key(overrides: list[str], said: str):
    with pytest.raises(SpecError) as caught:
        describe(architecture(*overrides))
    assert said in str(caught.value)
    assert len(caught.value.problems) == len({problem.key for problem in caught.value.problems})


class Other(GQASpec):
    """Grouped-query attention with a twist that export knows nothing of."""


def test_a_kind_of_attention_that_is_new_is_refused():
    spec = architecture("attention=gqa")
    spec = spec.replace(attention=Other(**{name: getattr(spec.attention, name) for name in GQASpec.model_fields}))
    with pytest.raises(SpecError, match="Llama has no such attention"):
        describe(spec)


def test_blocks_of_different_shapes_are_refused():
    spec = architecture("attention=hybrid", "attention@attention.parts.a=gqa", "attention@attention.parts.b=gqa")
    describe(spec)
    assert hasattr(spec.attention, "parts")
    parts = spec.attention.parts
    other = parts["a"].replace(kv_heads=1)
    spec = spec.replace(attention=spec.attention.replace(parts={"a": parts["a"], "b": other}))
    with pytest.raises(SpecError, match="blocks differ in num_key_value_heads, those of Llama may not"):
        describe(spec)


def test_all_reasons_are_said_at_once():
    spec = architecture("attention=linear", "ffn=mlp", "norm.placement=sandwich", "norm.final=false")
    with pytest.raises(SpecError) as caught:
        describe(spec)
    assert [problem.key for problem in caught.value.problems] == [
        "attention",
        "ffn",
        "norm.placement",
        "norm.final",
        "position",  # which linear attention has no use for
    ]


def test_nothing_is_written_where_transformers_disagrees(tmp_path):
    spec = architecture("attention=gqa")
    model = random_model(spec)
    checkpoint = convert(model, spec, bos=BOS)
    with torch.no_grad():
        model.embedding.weight[0] += 1
    with pytest.raises(MachineError, match=r"logits that differ by .* from ours; nothing was written"):
        write(tmp_path / "out", checkpoint, key="k", model=model, tokenizer={})
    assert list(tmp_path.iterdir()) == []


TEXTS = [
    "def f(x):\n    return x + 1\n",
    "  two  spaces   and\ttab\n\n\n end ",
    "naïve café — 中文 🙂\x00\x7f\xad",
    " lead",
    "",
    *(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))),
]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mixtral", "deepseek_v3"])
@pytest.mark.parametrize("name", ["byte", "bpe"])
def test_auto_tokenizer_gives_the_same_ids_after_a_beginning_of_text(tmp_path, kind: str, name: str):
    spec = ByteSpec() if name == "byte" else pieces("bpe")
    tokenizer = spec.prepare(lambda: TEXTS, tmp_path / "cache")
    out = tmp_path / "out"
    out.mkdir()
    for file, content in pretrained_files(spec, tokenizer).items():
        (out / file).write_bytes(content)
    (out / CONFIG).write_text(json.dumps({"model_type": kind}))
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.bos_token_id == theirs.eos_token_id == tokenizer.bos
    for text in TEXTS:
        ids = tokenizer.encode(text).tolist()
        assert theirs(text)["input_ids"] == [tokenizer.bos, *ids]
        assert theirs.decode([tokenizer.bos, *ids], skip_special_tokens=True) == text


def test_a_unigram_model_is_written_where_auto_tokenizer_does_not_mistake_it(tmp_path):
    tokenizer = pieces("unigram").prepare(lambda: TEXTS, tmp_path)
    [(name, content)] = pretrained_files(pieces("unigram"), tokenizer).items()
    assert name == "sentencepiece.model"
    assert content == (tmp_path / name).read_bytes()


def pieces(kind: Any) -> SentencePieceSpec:
    return SentencePieceSpec(vocab_size=400, kind=kind, sample_bytes=None, character_coverage=1.0)
