"""What a model can have beside its parts: the size knob, dropout, soft-capped logits, scalars, value embeddings."""

from __future__ import annotations

import options
import pytest
import torch
from test_model_parts import CONTEXT, VOCAB, build, random_tokens

from nanochat.core.errors import SpecError
from nanochat.core.noise import Dropout, Noise, key_noise
from nanochat.model.transformer import Transformer


@pytest.mark.parametrize(("depth", "dim"), [(1, 32), (2, 64), (12, 384)])
def test_depth_alone_sets_the_size(depth: int, dim: int):
    architecture = options.architecture(f"model.depth={depth}")
    assert architecture.model.dim == dim
    assert architecture.model.aspect is None
    by_hand = options.architecture(f"model.depth={depth}", f"model.dim={dim}", "model.aspect=null")
    assert by_hand == architecture, "how a width came about is no part of a run"
    assert len(build(f"model.depth={depth}").blocks) == depth


def test_a_width_that_nothing_gives():
    with pytest.raises(SpecError, match=r"model\.dim: follows from model\.aspect, which is null too; set one of them"):
        options.architecture("model.aspect=null")


def test_a_soft_cap_bounds_the_logits():
    tokens = random_tokens()
    plain, capped = build(), build("model.soft_cap=0.5")
    expected = 0.5 * torch.tanh(plain(tokens).logits / 0.5)
    torch.testing.assert_close(capped(tokens).logits, expected)
    assert capped(tokens).logits.abs().max() < 0.5


def test_scalars_begin_as_the_plain_model_and_mix_in_the_embedded_tokens():
    tokens = random_tokens()
    plain, mixed = build(), build("model.residual_scalars=true")
    torch.testing.assert_close(mixed(tokens).logits, plain(tokens).logits)
    with torch.no_grad():
        mixed.residual_scale.copy_(torch.tensor([0.5, 2.0]))
        mixed.embedding_scale.copy_(torch.tensor([0.25, -1.0]))
    first = x = plain.embedding(tokens)
    for block, keep, add in zip(plain.blocks, (0.5, 2.0), (0.25, -1.0), strict=True):
        x = block(keep * x + add * first)[0]
    torch.testing.assert_close(mixed(tokens).logits, plain.logits(x, norm=plain.norm))


def test_value_embeddings_are_added_to_the_values_of_their_blocks():
    tokens = random_tokens()
    alternate = build("model.value_embeddings=alternate", "model.depth=3", "model.dim=64")
    assert list(alternate.value_embeddings) == ["0", "2"]
    model = build("model.value_embeddings=all", "attention=mha")
    before = model(tokens).logits
    with torch.no_grad():
        model.value_scale.zero_()
    plain = build("attention=mha")
    torch.testing.assert_close(model(tokens).logits, plain(tokens).logits)
    assert not torch.allclose(before, plain(tokens).logits, atol=1e-3)
    # In one block alone: adding E[token] to the values is adding it to what v_proj makes.
    block = model.blocks[0]
    x = torch.randn(2, CONTEXT, 64, generator=torch.Generator().manual_seed(1))
    values = torch.randn(2, CONTEXT, 64, generator=torch.Generator().manual_seed(2))
    hook = block.attention.v_proj.register_forward_hook(lambda module, given, made: made + values)
    expected = block.attention(x)[0]
    hook.remove()
    torch.testing.assert_close(block.attention(x, values=values)[0], expected)


def test_an_attention_without_values_takes_no_value_embedding():
    message = r"model\.value_embeddings=all: block 0 has attention=mla, which takes no value embedding; use none"
    with pytest.raises(SpecError, match=message):
        options.architecture("attention=mla", "model.value_embeddings=all")


def noisy(share: float = 0.4) -> Transformer:
    return build(f"model.dropout={share}")


def test_dropout_is_off_outside_training_and_keeps_the_mean():
    tokens = random_tokens()
    model = noisy().eval()
    torch.testing.assert_close(model(tokens).logits, build()(tokens).logits)
    dropout = Dropout(0.3)
    key_noise(dropout, seed=1, step=0, sequences=range(4))
    y = dropout(torch.ones(4, 100, 50))
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])


def test_noise_depends_on_seed_step_sequence_and_place_alone():
    model, tokens = noisy().train(), random_tokens(batch=4)

    def logits(rows: slice, *, seed: int = 1, step: int = 7) -> torch.Tensor:
        key_noise(model, seed=seed, step=step, sequences=range(rows.start, rows.stop))
        return model(tokens[rows]).logits

    whole = logits(slice(0, 4))
    torch.testing.assert_close(torch.cat([logits(slice(0, 1)), logits(slice(1, 4))]), whole)
    for other in (logits(slice(0, 4), seed=2), logits(slice(0, 4), step=8)):
        assert not torch.allclose(other, whole, atol=1e-3)
    sources = [module for module in model.modules() if isinstance(module, Noise)]
    key_noise(model, seed=1, step=7, sequences=range(4))
    drawn = [source.uniform(50, batch=4, device=torch.device("cpu")) for source in sources]
    rows = torch.cat(drawn)
    assert len(sources) == 5 and len(rows.unique(dim=0)) == len(rows)
    with pytest.raises(AssertionError, match="drawn once"):
        sources[0].uniform(50, batch=4, device=torch.device("cpu"))


def test_the_branches_of_a_block_lose_different_channels():
    """One after the other, two masks of ½ leave both, one or none of a channel's two additions."""
    model, x = noisy(0.5).train(), torch.zeros(1, CONTEXT, 64)
    block = model.blocks[0]
    key_noise(block, seed=1, step=0, sequences=[0])
    block.attention.forward = lambda *_, **__: (torch.ones_like(x), None)
    block.ffn.forward = lambda _: (torch.ones_like(x), None)
    assert block(x)[0].unique().tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize(
    "overrides",
    [("model.value_embeddings=all",), ("model.dropout=0.5",), ("model.residual_scalars=true",)],
    ids=" ".join,
)
def test_costs_count_what_is_added(overrides: tuple[str, ...]):
    model = build(*overrides)
    cost = options.architecture(*overrides).cost(vocab=VOCAB, context=CONTEXT)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.flops == options.architecture().cost(vocab=VOCAB, context=CONTEXT).flops
