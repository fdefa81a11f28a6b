"""Scoring a run's model on its held-out documents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nanochat.data.corpus import Corpus
from nanochat.eval.bits_per_byte import Observer, score
from nanochat.eval.documents import select
from nanochat.eval.logits import LogitStatistics
from nanochat.eval.scores import Scores
from nanochat.model.generate import generate
from nanochat.run.spec import RunSpec
from nanochat.trainer.control import Control, heed
from nanochat.trainer.module import LanguageModel


class Evaluation:
    """Scores the model of a run on the documents of its held-out splits.

    A request to stop is heeded between two forward passes: scoring then raises `Interrupted`.
    """

    def __init__(self, spec: RunSpec, corpus: Corpus, module: LanguageModel, *, control: Control) -> None:
        self.spec = spec
        self.corpus = corpus
        self.module = module
        self.control = control
        self.validated: Scores | None = None
        self.documents = {
            split: select(shard, tokenizer=corpus.tokenizer, max_bytes=size, document_bytes=spec.eval.document_bytes)
            for split, shard, size in (
                ("valid", corpus.valid, spec.eval.valid_bytes),
                ("test", corpus.test, spec.eval.test_bytes),
            )
        }

    def score(self, split: str, *, observe: Observer | None = None) -> Scores:
        """The scores on `valid` or `test`, in the precision that the run trains in; `observe` is shown the logits."""
        assert self.spec.eval.overlap is not None
        model = self.module.model
        training = model.training
        model.eval()
        try:
            return score(
                self.logits,
                self.documents[split],
                tokenizer=self.corpus.tokenizer,
                context=self.spec.context,
                overlap=self.spec.eval.overlap,
                batch=self.spec.eval.batch,
                device=self.module.device,
                counts=self.corpus.counts,
                observe=observe,
            )
        finally:
            model.train(training)

    def logits(self, tokens: Tensor) -> Tensor:
        """The model's logits for the token after each of `tokens`."""
        heed(self.control)
        bf16 = self.spec.trainer.precision == "bf16"
        with torch.autocast(self.module.device.type, dtype=torch.bfloat16, enabled=bf16):
            return self.module.model(tokens).logits

    def valid(self) -> dict[str, float]:
        """What a row of metrics.csv holds of a validation; confidence is the mean probability of the likeliest token,
        which a calibrated model gets right as often. The scores themselves stay in `validated`."""
        logits = LogitStatistics()
        scores = self.validated = self.score("valid", observe=logits.add)
        return {
            "valid_loss": scores.nats_per_token,
            "valid_bpb": scores.bits_per_byte,
            "valid_accuracy": scores.accuracy,
            "valid_confidence": scores.mean_confidence,
            **logits.values(),
        }

    def greedy(self, tokens: int) -> str:
        """What the model as it is writes by itself, the likeliest token each time: degeneration shows here first."""
        start = torch.tensor([[self.corpus.tokenizer.bos]], device=self.module.device)
        generator = torch.Generator(self.module.device)
        stream = generate(self.module.model, start, tokens=tokens, temperature=0, top_k=None, generator=generator)
        return self.corpus.tokenizer.decode([int(token) for token in stream])

    def unigram_bits_per_byte(self) -> float:
        """What a model that knows only how often each token occurs in train (plus one) scores on the test documents."""
        counts = self.corpus.counts + 1.0
        surprise = -np.log2(counts / counts.sum())
        documents = self.documents["test"]
        return float(sum(surprise[d.ids[1:]].sum() for d in documents) / sum(d.bytes for d in documents))


def summary(scores: Scores) -> dict[str, float | int]:
    """The headline numbers of a scoring, for `result.json`."""
    return {
        "bpb": scores.bits_per_byte,
        "loss": scores.nats_per_token,
        "perplexity": scores.perplexity,
        "accuracy": scores.accuracy,
        "documents": len(scores.names),
        "bytes": scores.bytes,
        "tokens": scores.tokens,
    }
