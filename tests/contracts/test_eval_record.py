"""`eval.parquet`: what is written is read again, and nothing else is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nanochat.core.errors import MachineError
from nanochat.eval.bits_per_byte import score
from nanochat.eval.documents import ScoredDocument
from nanochat.eval.record import SCHEMA, read_record, write_record
from nanochat.eval.scores import Scores
from nanochat.tokenizer.byte import Byte


@pytest.fixture
def scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(257, 257, generator=generator)
    documents = [
        ScoredDocument(f"näme {i}", f"{i:016x}", np.array([256, *text.encode()]), len(text.encode()))
        for i, text in enumerate(["one", "three words here", "ü"])
    ]
    return score(lambda tokens: table[tokens], documents, tokenizer=Byte(), context=8, overlap=4, batch=2)


def test_what_is_written_is_read(scores, tmp_path):
    write_record(tmp_path / "eval.parquet", scores)
    again = read_record(tmp_path / "eval.parquet")
    assert (again.names, again.hashes) == (scores.names, scores.hashes)
    assert again.bits_per_byte == scores.bits_per_byte
    for kind in ("position", "frequency", "confidence"):
        before, after = getattr(scores, kind), getattr(again, kind)
        np.testing.assert_array_equal(after.low, before.low)
        np.testing.assert_array_equal(after.high, before.high)
    pairs = [(scores.documents, again.documents)]
    pairs += [(getattr(scores, kind).tally, getattr(again, kind).tally) for kind in ("position", "confidence")]
    for before, after in pairs:
        for name in before._fields:
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)


def test_the_schema_is_what_it_says(scores, tmp_path):
    write_record(tmp_path / "eval.parquet", scores)
    schema = pq.read_schema(tmp_path / "eval.parquet")
    assert schema.metadata[b"nanochat.eval"] == b"1"
    assert schema.remove_metadata() == SCHEMA.remove_metadata()
    assert SCHEMA.names == ["kind", "name", "hash", "low", "high", "tokens", "bytes", "nats", "correct", "confidence"]


def test_another_version_is_refused(scores, tmp_path):
    path = tmp_path / "eval.parquet"
    write_record(path, scores)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"nanochat.eval": "0"}), path)
    with pytest.raises(MachineError, match="schema version 0, this program reads 1"):
        read_record(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(MachineError, match="schema version none"):
        read_record(path)


@pytest.mark.parametrize("harm", ["cut", "missing"])
def test_a_damaged_record_is_refused(scores, tmp_path, harm):
    path = tmp_path / "eval.parquet"
    write_record(path, scores)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.unlink()
    with pytest.raises(MachineError, match=r"eval\.parquet: is missing or damaged"):
        read_record(path)
