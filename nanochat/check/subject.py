"""What is checked: a run's own model, texts and trainer, on sequences short enough to be quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nanochat.check.attempt import Attempt, attempt
from nanochat.core.device import resolve_device
from nanochat.core.noise import key_noise
from nanochat.core.roles import roles
from nanochat.core.spec import dump, load
from nanochat.data.corpus import Corpus, prepare
from nanochat.data.sequences import Sequences
from nanochat.model.block import Block
from nanochat.model.transformer import Output, Transformer
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.train import build_module
from nanochat.trainer.module import Batch, LanguageModel

ROWS = 4
"""Sequences that a check reads."""
TIME = 64
"""Tokens of each, or the run's context where that is less."""

VECTOR_STD = 5e-3
"""What biases and scalars that start at zero are stirred by: enough to act, too little to hide what matrices do."""

Kind = Literal["attention", "ffn"]


class Part(NamedTuple):
    """An attention or an FFN inside the model, and the stream that reaches it when the model reads the batch."""

    name: str
    kind: Kind
    module: nn.Module
    x: Float[Tensor, "batch time dim"]

    def __call__(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        """Its output for `x`, by itself."""
        with torch.no_grad():
            return self.module(x)[0]


@dataclass(frozen=True)
class Subject:
    """A resolved run, its corpus, and the first `ROWS` sequences that it trains on, cut to `TIME` tokens.

    note: what is otherwise than in the run; empty where nothing is.
    """

    spec: RunSpec
    note: str
    corpus: Corpus
    sequences: Sequences
    batch: Batch

    @classmethod
    def open(cls, spec: RunSpec, *, settings: Settings) -> Subject:
        """Prepare the texts. Compiling is left out: it changes nothing that is checked, and takes minutes."""
        exact = in_full_precision(spec)
        note = "" if exact == spec else "kernel=naive stands in for kernel=flash, which knows half precision alone"
        spec = exact.replace(trainer=exact.trainer.replace(compile=False))
        corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
        sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
        device, time = resolve_device(spec.trainer.device), min(spec.context, TIME)
        tokens, docs = (torch.from_numpy(part)[:, : time + 1].to(device) for part in sequences.batch(0, ROWS))
        return cls(spec, note, corpus, sequences, Batch(tokens, docs))

    @property
    def inputs(self) -> Int[Tensor, "batch time"]:
        """The tokens of the batch that the model reads."""
        return self.batch.tokens[:, :-1]

    @property
    def time(self) -> int:
        return self.inputs.shape[1]

    @property
    def vocab(self) -> int:
        return self.spec.tokenizer.ids

    def trainer(self, *, micro: int = ROWS) -> LanguageModel:
        """A new model in its training module, as the run starts with it, that reads `micro` sequences at a time."""
        module = build_module(self.spec).to(self.batch.tokens.device).train()
        module.micro = micro
        setattr(module, "manual_backward", _backward)  # noqa: B010 - Lightning's own asks for its Trainer
        return module

    def model(self) -> Transformer:
        """A new model in evaluation mode, stirred."""
        return stirred(self.trainer().model.eval(), seed=self.spec.seed)

    @cached_property
    def shared(self) -> Transformer:
        """A model as `model` gives, which nobody changes."""
        return self.model()

    def logits(self, tokens: Int[Tensor, "batch time"], **given: Any) -> Float[Tensor, "batch time vocab"]:
        """What the shared model says of `tokens`."""
        with torch.no_grad():
            return self.shared(tokens, **given).logits

    def trained_logits(
        self, tokens: Int[Tensor, "batch time"], *, torch_seed: int = 0
    ) -> Float[Tensor, "batch time vocab"]:
        """The same in training mode, its noise keyed as in step 0; `torch_seed` is of torch's global generator,
        which nothing should draw from."""
        model = self.shared
        key_noise(model, seed=self.spec.seed, step=0, sequences=range(len(tokens)))
        model.train()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_seed)
                return model(tokens).logits
        finally:
            model.eval()

    @cached_property
    def parts(self) -> list[Part]:
        """Every attention and FFN of the shared model, in order."""
        found: list[Part] = []
        handles = []
        for layer, block in enumerate(self.shared.blocks):
            assert isinstance(block, Block)
            places: tuple[tuple[Kind, str, nn.Module], ...] = (
                ("attention", f"attention of block {layer}", block.attention),
                ("ffn", f"FFN of block {layer}", block.ffn),
            )
            for kind, name, module in places:
                handles.append(module.register_forward_pre_hook(_keeper(f"the {name}", kind, found)))
        try:
            self.logits(self.inputs)
        finally:
            for handle in handles:
                handle.remove()
        return found

    @cached_property
    def own_attempt(self) -> Attempt:
        """What learning the batch by heart comes to at the run's own rates."""
        return self.attempt(factor=1.0)

    def attempt(self, *, factor: float) -> Attempt:
        """The same at `factor` times these rates, with a new model."""
        return attempt(self.spec, self.trainer(), self.batch, factor=factor)

    def of_kind(self, kind: Kind) -> Iterator[Part]:
        return (part for part in self.parts if part.kind == kind)

    def forward(self, model: Transformer, tokens: Int[Tensor, "batch time"], **given: Any) -> Output:
        """Without gradients."""
        with torch.no_grad():
            return model(tokens, **given)


def in_full_precision(spec: RunSpec) -> RunSpec:
    """The run with kernels that compute in fp32: exactness shows in no other."""

    def replaced(data: Any) -> Any:
        if isinstance(data, Mapping):
            return {k: "naive" if (k, v) == ("kernel", "flash") else replaced(v) for k, v in data.items()}
        return [replaced(item) for item in data] if isinstance(data, list) else data

    data = dump(spec)
    return spec if replaced(data) == data else load(replaced(data), RunSpec)


def stirred(model: Transformer, *, seed: int) -> Transformer:
    """The model with every all-zero parameter filled: projections, gates and heads that start at zero hide all that
    lies before them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                std = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else VECTOR_STD
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def residual_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The matrices whose outputs are added to the residual stream."""
    role_of = roles(module)
    return [parameter for name, parameter in module.named_parameters() if role_of[name] == "residual"]


def _keeper(name: str, kind: Kind, found: list[Part]) -> Callable[[nn.Module, Any], None]:
    def keep(module: nn.Module, given: Any) -> None:
        found.append(Part(name, kind, module, given[0].detach()))

    return keep


def _backward(loss: Tensor) -> None:
    loss.backward()
