"""A trained model and the valid documents that it is measured on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nanochat.data.corpus import prepare
from nanochat.eval.bits_per_byte import score
from nanochat.eval.documents import ScoredDocument, select
from nanochat.eval.scores import Scores
from nanochat.model.transformer import Transformer
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.trained import Trained
from nanochat.tokenizer.base import Tokenizer


class Sample:
    """Scores the model, as it is at that moment, on the same valid documents each time: never on test, from which
    nothing may be chosen.

    real: while the model computes, which of its positions hold text, the rest being padding.
    """

    real: Bool[Tensor, "batch time"]

    def __init__(
        self,
        model: Transformer,
        documents: Sequence[ScoredDocument],
        *,
        spec: RunSpec,
        tokenizer: Tokenizer,
        device: str,
    ) -> None:
        self.model = model.to(device).eval()
        self.documents = documents
        self.spec = spec
        self.tokenizer = tokenizer
        self.device = device

    @classmethod
    def open(cls, trained: Trained, *, bytes: int, device: str, settings: Settings) -> Sample:  # noqa: A002 - the field's name
        """The first valid documents that together reach `bytes` UTF-8 bytes, as runs score them."""
        spec = trained.spec
        corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
        documents = select(
            corpus.valid, tokenizer=trained.tokenizer, max_bytes=bytes, document_bytes=spec.eval.document_bytes
        )
        return cls(trained.model, documents, spec=spec, tokenizer=trained.tokenizer, device=device)

    @property
    def tokens(self) -> int:
        """Predicted tokens in one measurement."""
        return sum(len(document.ids) - 1 for document in self.documents)

    def score(self) -> Scores:
        """Bits per byte and more, in the precision that the run was trained in."""
        assert self.spec.eval.overlap is not None, "unresolved"
        return score(
            self.logits,
            self.documents,
            tokenizer=self.tokenizer,
            context=self.spec.context,
            overlap=self.spec.eval.overlap,
            batch=self.spec.eval.batch,
            device=self.device,
        )

    def logits(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        """The model's logits for the token after each of `tokens`."""
        # Windows are padded with the beginning of text, which a text itself has nowhere but in front.
        self.real = tokens != self.tokenizer.bos
        self.real[:, 0] = True
        bf16 = self.spec.trainer.precision == "bf16"
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=bf16):
            return self.model(tokens).logits


def difference(whole: Scores, changed: Scores) -> tuple[float, float]:
    """How many bits per byte the second scoring is above the first, and the standard error of that.

    The error is of another draw of documents: that of a ratio of sums over documents, paired (Cochran 1977,
    "Sampling Techniques", eq. 6.4); NaN with a single document.
    """
    sizes = whole.documents.bytes
    bits = (changed.documents.nats - whole.documents.nats) / math.log(2)
    ratio = float(bits.sum() / sizes.sum())
    n = len(sizes)
    spread = float(np.square(bits - ratio * sizes).sum()) / (n - 1) if n > 1 else math.nan
    return ratio, math.sqrt(n * spread) / float(sizes.sum())
