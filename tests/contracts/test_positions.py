"""Position schemes, each against its definition and, where there is one, its released form."""

from __future__ import annotations

import itertools
import math

import options
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_model_parts import build, random_tokens

from nanochat.core.errors import SpecError
from nanochat.position.alibi import Alibi, slopes
from nanochat.position.base import Position
from nanochat.position.learned import Learned
from nanochat.position.rope import Rope
from nanochat.position.sinusoidal import Sinusoidal, SinusoidalSpec, sinusoids

CPU = torch.device("cpu")


def test_sinusoids_are_their_definition():
    """Equation by equation, at positions that differ between sequences."""
    spec = SinusoidalSpec(base=50.0, amplitude=0.3)
    x, positions = torch.randn(2, 3, 64), torch.tensor([[0, 1, 2], [7, 31, 0]])
    y = spec.build(options.GEOMETRY).embed(x, positions=positions)
    for row, time, channel in itertools.product(range(2), range(3), range(64)):
        angle = positions[row, time].item() / 50 ** (2 * (channel // 2) / 64)
        wave = math.cos(angle) if channel % 2 else math.sin(angle)
        assert y[row, time, channel].item() == pytest.approx(x[row, time, channel].item() + 0.3 * wave, abs=1e-5)


def test_sinusoids_start_as_large_as_embeddings_and_stay_out_of_checkpoints():
    architecture = options.architecture("position=sinusoidal")
    assert isinstance(architecture.position, SinusoidalSpec)
    assert architecture.position.amplitude == 64**-0.5
    model = build("position=sinusoidal")
    assert isinstance(model.position, Sinusoidal)
    # The root mean square of a wave of amplitude a is a / √2.
    assert model.position.table.square().mean().sqrt().item() == pytest.approx(64**-0.5 / 2**0.5)
    assert model.embedding.weight.square().mean().sqrt().item() == pytest.approx(64**-0.5, rel=0.05)
    assert model.state_dict().keys() == build("position=none").state_dict().keys()


def test_an_odd_width_ends_with_a_sine():
    waves = sinusoids(9, 7, base=10.0)
    assert waves.shape == (9, 7)
    assert waves[:, 6].tolist() == pytest.approx([math.sin(p / 10 ** (6 / 7)) for p in range(9)])


def test_learned_positions_are_rows_of_a_table():
    module = Learned(context=5, dim=3)
    x, positions = torch.randn(2, 2, 3), torch.tensor([[0, 4], [2, 2]])
    y = module.embed(x, positions=positions)
    for row, time in itertools.product(range(2), range(2)):
        expected = x[row, time] + module.table.weight[positions[row, time]]
        torch.testing.assert_close(y[row, time], expected)


@pytest.mark.parametrize("name", ["learned", "sinusoidal"])
def test_positions_of_the_embedding_begin_anew_in_every_document(name: str):
    """The second of two equal documents is read as the first, in one sequence as in two."""
    model, tokens = build(f"position={name}"), random_tokens(batch=1, time=16).repeat(1, 2)
    docs = torch.tensor([[0] * 16 + [1] * 16])
    with torch.no_grad():
        first, second = model(tokens, docs=docs).logits.split(16, dim=1)
        torch.testing.assert_close(first, second)
        assert not torch.allclose(model(tokens).logits[:, 16:], second, atol=1e-3)


@given(heads=st.integers(1, 40), q_len=st.integers(1, 6), past=st.integers(0, 5))
def test_alibi_falls_with_the_distance(heads: int, q_len: int, past: int):
    k_len = q_len + past
    bias = Alibi().bias(q_len, k_len, heads=heads, device=CPU)
    assert bias.shape == (heads, q_len, k_len) and bias.dtype == torch.float32
    for head, query, key in itertools.product(range(heads), range(q_len), range(k_len)):
        expected = -slopes(heads)[head] * (past + query - key)
        assert bias[head, query, key].item() == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 64))
def test_the_slopes_of_alibi(heads: int):
    found = slopes(heads)
    assert len(found) == len(set(found)) == heads
    assert all(2**-8 <= slope < 1 for slope in found)
    if heads & (heads - 1) == 0:
        assert found == [2 ** (-8 * i / heads) for i in range(1, heads + 1)]


def test_the_slopes_of_alibi_by_hand():
    assert slopes(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert slopes(6) == [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]


@pytest.mark.parametrize("heads", [1, 4, 8, 12, 20])
def test_alibi_is_that_of_bloom_and_mpt(heads: int):
    """Theirs has one row for all queries: scores may differ by what is the same for all keys of a query."""
    pytest.importorskip("transformers")
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    ours = Alibi().bias(9, 9, heads=heads, device=CPU)
    bloom = build_alibi_tensor(torch.ones(1, 9), heads, torch.float32)
    for theirs in (bloom, build_mpt_alibi_tensor(heads, 9)):
        difference = ours - theirs
        torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=0, atol=1e-5)


def test_every_nth_block_rotates_nothing():
    model = build("position.nope_every=3", "model.depth=7", "model.dim=64")
    kinds = [type(model.get_submodule(f"blocks.{layer}.attention.position")) for layer in range(7)]
    assert kinds == [Rope, Rope, Position, Rope, Rope, Position, Rope]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("position.nope_every=3",), "nope_every=3: leaves none of the 2 blocks without rotation; use null or try 2"),
        (("position.nope_every=1",), "nope_every=1: leaves no block that rotates; use position=none or try 2"),
        (("position.nope_every=2", "model.depth=1"), "leaves none of the 1 blocks without rotation; use null"),
        # The one block that could rotate is the second, or the first, where the other is linear.
        (("attention=hybrid", "position.nope_every=2"), "leaves no block that rotates; use position=none"),
        (
            ("attention=hybrid", "attention.pattern=[b, a]", "position.nope_every=2"),
            "blocks without rotation; use null",
        ),
    ],
    ids=str,
)
def test_a_nope_every_that_changes_nothing_or_everything_is_refused(overrides: tuple[str, ...], said: str):
    with pytest.raises(SpecError) as error:
        options.architecture(*overrides)
    assert str(error.value).startswith("position.nope_every=") and str(error.value).endswith(said)


def test_attention_without_positions_does_not_know_order_and_a_scheme_tells_it():
    """What the last token reads when two earlier ones change places, in the first block alone."""
    tokens = random_tokens(batch=1)
    other = tokens.clone()
    other[0, 3], other[0, 20] = tokens[0, 20], tokens[0, 3]
    assert other[0, 3] != tokens[0, 3]
    for name in options.names("position"):
        model = build(f"position={name}", "model.depth=1", "model.dim=64")
        with torch.no_grad():
            alike = torch.allclose(model(tokens).logits[:, -1], model(other).logits[:, -1], atol=1e-5)
        assert alike == (name == "none"), name
