"""RunSpec: everything that decides what a run computes; Settings: everything that does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nanochat.attention.base import AttentionSpec
from nanochat.core.errors import SpecError, alternatives, spec_error
from nanochat.core.geometry import Cost
from nanochat.core.spec import Count, Int, Positive, Spec, load
from nanochat.data.base import DataSpec
from nanochat.eval.bits_per_byte import BitsPerByteSpec
from nanochat.ffn.base import FFNSpec
from nanochat.init.base import InitSpec
from nanochat.logger.base import LoggerSpec
from nanochat.lr.base import LRSpec
from nanochat.model.architecture import Architecture
from nanochat.model.transformer import TransformerSpec
from nanochat.norm.base import NormSpec
from nanochat.objective.base import ObjectiveSpec
from nanochat.optimizer.base import OptimizerSpec
from nanochat.position.base import PositionSpec
from nanochat.run.start import StartSpec
from nanochat.tokenizer.base import TokenizerSpec
from nanochat.trainer.spec import TrainerSpec

ARCHITECTURE = tuple(Architecture.model_fields)


class BatchSpec(Spec):
    """One optimizer step: `tokens` in all, `micro` sequences at a time; `isolate` keeps attention within documents."""

    tokens: Count
    micro: Count | None
    isolate: bool

    def resolve(self, *, context: int, micro_tokens: int) -> Self:
        """Check that whole sequences fit, and derive the micro-batch: the largest divisor of the batch's sequences
        whose tokens do not exceed `micro_tokens`."""
        if self.tokens % context:
            below = self.tokens // context * context
            near = alternatives([n for n in (below, below + context) if n])
            raise spec_error("tokens", self.tokens, f"must be a multiple of context={context}", f"try {near}")
        sequences = self.tokens // context
        divisors = [n for n in range(1, sequences + 1) if sequences % n == 0]
        if self.micro is not None and self.micro not in divisors:
            raise spec_error(
                "micro", self.micro, f"must divide the batch's {sequences} sequences", f"try {alternatives(divisors)}"
            )
        fitting = [n for n in divisors if n * context <= micro_tokens]
        return self.replace(micro=self.micro or max(fitting, default=1))


class StopSpec(Spec):
    """When a run ends: after `tokens` or after `steps`, exactly one of them given."""

    tokens: Count | None
    steps: Count | None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.tokens is None) == (self.steps is None):
            found = "both are given" if self.tokens else "neither is given"
            raise spec_error(
                "tokens",
                self.tokens,
                f"exactly one of stop.tokens and stop.steps ends a run; {found}",
                "set one of them to null, e.g. stop.tokens=null stop.steps=100",
            )
        return self

    def resolve(self, *, batch_tokens: int) -> Self:
        """The rule in steps, the last one whole: two ways to say the same are the same run."""
        if self.steps is not None:
            return self
        assert self.tokens is not None
        return self.replace(steps=-(-self.tokens // batch_tokens), tokens=None)


class RunSpec(Spec):
    """One run. Its key is the hash of this Spec once resolved, and of its texts' fingerprint."""

    seed: Int
    context: Count
    batch: BatchSpec
    stop: StopSpec
    start: StartSpec
    grad_clip: Positive | None
    model: TransformerSpec
    attention: AttentionSpec
    ffn: FFNSpec
    norm: NormSpec
    position: PositionSpec
    init: InitSpec
    tokenizer: TokenizerSpec
    data: DataSpec
    optimizer: OptimizerSpec
    lr: LRSpec
    objective: ObjectiveSpec
    eval: BitsPerByteSpec
    trainer: TrainerSpec

    @property
    def architecture(self) -> Architecture:
        """The Specs that make the model."""
        return Architecture(**{name: getattr(self, name) for name in ARCHITECTURE})

    @property
    def cost(self) -> Cost:
        """What the model of a resolved run costs."""
        return self.architecture.cost(vocab=self.tokenizer.ids, context=self.context)

    @property
    def training_cost(self) -> Cost:
        """The same with what the objective adds to the model while it trains."""
        return self.cost + self.objective.cost(self.architecture, vocab=self.tokenizer.ids, context=self.context)

    @property
    def steps(self) -> int:
        """Optimizer steps of a resolved run."""
        assert self.stop.steps is not None, "resolve first"
        return self.stop.steps

    @property
    def tokens(self) -> int:
        """Training tokens of a resolved run, counted from scratch."""
        return self.steps * self.batch.tokens

    @property
    def first_step(self) -> int:
        """Optimizer steps that are done when it begins: those of the run that it continues."""
        return (self.start.tokens or 0) // self.batch.tokens

    @property
    def own_tokens(self) -> int:
        """Training tokens of a resolved run without those of the run that it continues."""
        return self.tokens - (self.start.tokens or 0)

    @property
    def flops(self) -> float:
        """Training FLOPs of a resolved run, counted from scratch."""
        return self.training_cost.flops * self.tokens

    @property
    def own_flops(self) -> float:
        """Training FLOPs of a resolved run without those of the run that it continues."""
        return self.training_cost.flops * self.own_tokens

    @property
    def milestone(self) -> int | None:
        """Training tokens after which a resolved run keeps its state, for longer ones to go on from."""
        step = self.lr.decay_begins(self.steps)
        return step * self.batch.tokens if step is not None and step > self.first_step else None

    def resolve(self) -> Self:
        """Fill every null that means *derived*, and check what depends on more than one part.

        Raises `SpecError` with full keys. Resolving twice changes nothing.
        """
        trainer = _part("trainer", self.trainer.resolve)
        assert trainer.micro_tokens is not None
        batch = _part("batch", self.batch.resolve, context=self.context, micro_tokens=trainer.micro_tokens)
        architecture = self.architecture.resolve(vocab=self.tokenizer.ids, context=self.context)
        _part("attention", architecture.attention.check_device, device=trainer.device)
        if trainer.compile:
            _part("ffn", architecture.ffn.check_compile, precision=trainer.precision)
        _part("objective", self.objective.check, context=self.context)
        stop = self.stop.resolve(batch_tokens=self.batch.tokens)
        assert stop.steps is not None
        _part("lr", self.lr.check, steps=stop.steps)
        decay = self.lr.decay_begins(stop.steps)
        _part("start", self.start.check, batch_tokens=self.batch.tokens, steps=stop.steps, decay=decay)
        return self.replace(
            trainer=trainer,
            batch=batch,
            stop=stop,
            eval=_part("eval", self.eval.resolve, context=self.context),
            **{name: getattr(architecture, name) for name in ARCHITECTURE},
        )


class PathsSpec(Spec):
    """Where things are kept."""

    multirun: str
    experiments: str

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def studies(self) -> Path:
        return self.root / "studies"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def root(self) -> Path:
        return Path(self.multirun).expanduser().absolute()


class Settings(Spec):
    """How runs are carried out: nothing here changes what they compute."""

    code: Literal["refuse", "accept", "rerun"]
    checkpoint: Positive
    milestones: bool
    devices: Count
    samples: Annotated[Int, Field(ge=0)]
    paths: PathsSpec
    logger: LoggerSpec

    @field_validator("logger")
    @classmethod
    def _logger_works(cls, logger: LoggerSpec) -> LoggerSpec:
        logger.check()
        return logger


def run_spec(config: Mapping[str, Any]) -> RunSpec:
    """The RunSpec in a whole composed config. Raises `SpecError` with every problem found."""
    return load({key: config[key] for key in RunSpec.model_fields if key in config}, RunSpec)


def settings(config: Mapping[str, Any]) -> Settings:
    """The Settings in a whole composed config."""
    return load({key: config[key] for key in Settings.model_fields if key in config}, Settings)


def _part(key: str, resolve: Any, **given: Any) -> Any:
    """A part's `resolve`, its errors under the part's key."""
    try:
        return resolve(**given)
    except SpecError as error:
        raise error.under(key) from None
