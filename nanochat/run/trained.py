"""A complete run's model and tokenizer, loaded from its folder."""

from __future__ import annotations

from dataclasses import dataclass

import safetensors.torch
import torch

from nanochat.core.errors import spec_error
from nanochat.core.spec import load
from nanochat.data.corpus import prepare
from nanochat.model.generate import generate
from nanochat.model.transformer import Transformer
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings
from nanochat.tokenizer.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run made: on CPU, in evaluation mode."""

    spec: RunSpec
    model: Transformer
    tokenizer: Tokenizer

    def sample(self, prompt: str, *, tokens: int, temperature: float, top_k: int | None, seed: int) -> str:
        """A continuation of `prompt` (empty: of nothing but the beginning of text), up to the text's end."""
        ids = [self.tokenizer.bos, *self.tokenizer.encode(prompt).tolist()]
        stream = generate(
            self.model,
            torch.tensor([ids]),
            tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            generator=torch.Generator().manual_seed(seed),
        )
        new: list[int] = []
        for token in stream:
            if int(token) == self.tokenizer.bos:  # the beginning of another text: this one is over
                break
            new.append(int(token))
        return self.tokenizer.decode(new)


def load_trained(folder: RunFolder, *, settings: Settings) -> Trained:
    """Load a complete run. Raises `SpecError` when it is not there or not complete."""
    description = folder.description()
    if description is None or folder.complete() is None:
        raise spec_error(
            "task.run", folder.key, "is no complete run here", "train it first: the same command with task=train"
        )
    spec = load(description["run"], RunSpec)
    corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
    model = spec.architecture.build(vocab=spec.tokenizer.ids, context=spec.context, seed=spec.seed)
    safetensors.torch.load_model(model, str(folder.model_file))
    return Trained(spec=spec, model=model.eval(), tokenizer=corpus.tokenizer)
