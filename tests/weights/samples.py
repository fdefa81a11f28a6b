"""Untrained models with weights large enough to matter, and documents to measure them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.data.corpus import prepare
from nanochat.eval.documents import ScoredDocument, select
from nanochat.weights.examine import initial
from nanochat.weights.sample import Sample
from tests.runs import small


def sample(folder: Path, *overrides: str, bytes: int = 600) -> Sample:  # noqa: A002 - as the task has it
    """A small model, all its matrices drawn anew, and valid documents of unlike lengths, one context at most."""
    spec, how = small(folder, *overrides)
    corpus = prepare(spec.data, spec.tokenizer, cache=how.paths.cache, context=spec.context)
    model, generator = initial(spec), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    documents = select(corpus.valid, tokenizer=corpus.tokenizer, max_bytes=bytes, document_bytes=spec.context - 3)
    documents = [shortened(document, by=i % 5) for i, document in enumerate(documents)]
    return Sample(model, documents, spec=spec, tokenizer=corpus.tokenizer, device="cpu")


def shortened(document: ScoredDocument, *, by: int) -> ScoredDocument:
    """The document without its last bytes, which are tokens here."""
    assert len(document.ids) == document.bytes + 1
    return document._replace(ids=document.ids[: len(document.ids) - by], bytes=document.bytes - by)


def logits(found: Sample) -> Tensor:
    """What the model says of the first document."""
    with torch.no_grad():
        return found.logits(torch.from_numpy(found.documents[0].ids[None, :-1].astype("int64")))


def state(found: Sample) -> dict[str, Any]:
    """A copy of all that the model is, and how many hooks it has."""
    copies = {name: value.clone() for name, value in found.model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in found.model.modules())
    return {"hooks": torch.tensor(hooks), **copies}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
