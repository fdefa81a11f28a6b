"""What the whole model adds to its parts: positions at its input, and one report for all of its blocks."""

from __future__ import annotations

from pathlib import Path

import options
import pytest
import torch

from nanochat.core.spec import load
from nanochat.ffn.base import Aux
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import Transformer, combine

LEARNED = """
from torch import nn
from nanochat.core.geometry import dense_cost
from nanochat.position.base import Position, PositionSpec

class LearnedSpec(PositionSpec):
    hook = "embed"

    def build(self, geometry):
        return Learned(geometry.context, geometry.dim)

    def cost(self, geometry):
        table = geometry.context * geometry.dim
        return dense_cost(table, lookups=table)

class Learned(Position):
    def __init__(self, context, dim):
        super().__init__()
        self.table = nn.Embedding(context, dim)

    def embed(self, x, *, positions):
        return x + self.table(positions)
"""


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Architecture, Transformer]:
    """A model whose positions are embedded at its input, by a component that is not ours."""
    (tmp_path / "users_learned.py").write_text(LEARNED)
    monkeypatch.syspath_prepend(tmp_path)
    data = {**options.config(), "position": {"_target_": "users_learned.LearnedSpec"}}
    architecture = load(data, Architecture).resolve(vocab=options.VOCAB, context=options.CONTEXT)
    return architecture, architecture.build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)


def test_embedded_positions_go_on_in_decoding_and_begin_anew_in_documents(learned):
    architecture, model = learned
    tokens = torch.arange(options.CONTEXT)[None] * 7 % options.VOCAB
    with torch.no_grad():
        whole, first = model(tokens), model(tokens[:, :11])
        rest = model(tokens[:, 11:], state=first.state)
        torch.testing.assert_close(rest.logits, whole.logits[:, 11:], rtol=1e-4, atol=1e-5)
        docs = (torch.arange(options.CONTEXT) >= 11).long()[None]
        packed, alone = model(tokens, docs=docs).logits[:, 11:], model(tokens[:, 11:]).logits
        torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)
    cost = architecture.cost(vocab=options.VOCAB, context=options.CONTEXT)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert [name for name in model.state_dict() if "table" in name] == ["position.table.weight"]


def test_losses_of_blocks_are_summed_and_their_metrics_averaged():
    first = Aux(torch.tensor([1.0, 2.0]), {"load": torch.tensor(0.2), "rare": torch.tensor(5.0)})
    second = Aux(torch.tensor([10.0, 20.0]), {"load": torch.tensor(0.4)})
    total = combine([first, Aux(None, {}), second])
    assert total.loss is not None and total.loss.tolist() == [11.0, 22.0]
    assert {name: value.item() for name, value in total.metrics.items()} == pytest.approx({"load": 0.3, "rare": 5.0})
    assert combine([Aux(None, {})]) == Aux(None, {})


def test_a_sequence_longer_than_the_context_is_a_bug_of_the_caller():
    model = options.architecture().build(vocab=options.VOCAB, context=options.CONTEXT, seed=1)
    with pytest.raises(AssertionError, match="longer than the model's context"):
        model(torch.zeros(1, options.CONTEXT + 1, dtype=torch.int64))
