"""`task=coordinate_check`: does µP hold? How the size of activations follows a model's width in its first updates.

The test of Yang et al. (2203.03466, appendix D.1): where a parametrisation is right, no activation grows or shrinks
with the width, neither at the start nor, which is the point, after some updates at one and the same rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import lightning
import numpy as np
import torch
from pydantic import model_validator
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from nanochat.attention.base import AttentionSpec
from nanochat.core.artifact import write_json
from nanochat.core.errors import spec_error
from nanochat.core.progress import track
from nanochat.core.spec import Count, Positive, dump, hash_of, load, option_of
from nanochat.data.corpus import Corpus, prepare
from nanochat.data.sequences import Sequences
from nanochat.lr.constant import ConstantSpec
from nanochat.model.block import Block
from nanochat.report.coordinates import Coordinates, slope_text, write_page
from nanochat.run.spec import RunSpec, Settings, StopSpec
from nanochat.run.start import StartSpec
from nanochat.run.train import build_module
from nanochat.task.base import TaskSpec
from nanochat.trainer.fit import Batches, fit
from nanochat.trainer.module import LanguageModel


class CoordinateCheckSpec(TaskSpec):
    """widths: values of `model.dim`; what is derived is derived anew at each, but the number of heads stays as at the
    narrowest, so that heads get wider: that is where µP's scale of attention scores matters · steps: updates, at the
    schedule's peak from the first on · seeds: replicates · tolerance: highest |slope| that passes · name: of the
    files, null: init, optimizer and a hash of everything.
    """

    widths: tuple[Count, ...]
    steps: Count
    seeds: Count
    tolerance: Positive
    name: str | None

    @model_validator(mode="after")
    def _widths_differ(self) -> Self:
        if len(set(self.widths)) < 2 or len(set(self.widths)) < len(self.widths):
            raise spec_error("widths", list(self.widths), "must be two or more different widths", "try [64,128,256]")
        return self

    def prepare(self, run: RunSpec) -> RunSpec:
        """The run as it is: its width, and what follows from that, is this task's to choose."""
        return run

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        specs = self.specs(run)
        described = {"task": dump(self), "run": dump(specs[0])}
        name = self.name or f"{option_of(run.init)}_{option_of(run.optimizer)}_{hash_of(described, length=8)}"
        corpus = prepare(run.data, run.tokenizer, cache=settings.paths.cache, context=run.context)
        found = Coordinates(
            name=name,
            parts={part: option_of(getattr(run, part)) for part in ("init", "optimizer", "attention", "ffn")},
            rate=run.lr.peak,
            widths=tuple(spec.model.width for spec in specs),
            tolerance=self.tolerance,
            sizes=self.measure(specs, corpus),
        )
        folder = settings.paths.root / "coordinate_check"
        write_json(folder / f"{name}.json", {"schema": 1, **found.plain(), **described})
        write_page(found, folder / f"{name}.html")
        show(found)
        Console(highlight=False, soft_wrap=True).print(f"page: {folder / name}.html")
        return 0

    def specs(self, run: RunSpec) -> list[RunSpec]:
        """The resolved runs, one for each width, from the narrowest on. Raises `SpecError` where one cannot be."""
        run = run.replace(
            stop=StopSpec(steps=self.steps + 1, tokens=None),
            start=StartSpec(run=None, tokens=None),
            lr=ConstantSpec(peak=run.lr.peak, warmup=0.0, factors=run.lr.factors),
            trainer=run.trainer.replace(compile=False),  # a compiled model's parts cannot be watched
        )
        narrow, *_ = widths = sorted(self.widths)
        first = run.replace(model=run.model.replace(dim=narrow)).resolve()
        attention = load(with_heads(dump(run.attention), dump(first.attention)), AttentionSpec)
        return [run.replace(model=run.model.replace(dim=dim), attention=attention).resolve() for dim in widths]

    def measure(self, specs: list[RunSpec], corpus: Corpus) -> dict[str, np.ndarray]:
        """Mean |x| of each activation: [updates + 1, widths, seeds]."""
        sizes: dict[str, np.ndarray] = {}
        flops = [spec.training_cost.flops for spec in specs for _ in range(self.seeds * (self.steps + 1))]
        progress = track(flops, total=sum(flops), label="training at each width", size=float)
        for i, spec in enumerate(specs):
            for seed in range(self.seeds):
                found = first_updates(spec.replace(seed=spec.seed + seed), corpus, progress=progress)
                for activation, values in found.items():
                    shape = (self.steps + 1, len(specs), self.seeds)
                    sizes.setdefault(activation, np.zeros(shape))[:, i, seed] = values
        next(progress, None)  # which takes the bar away
        return sizes


def with_heads(described: Any, resolved: Any) -> Any:
    """Plain data of an attention, in every part of it a null `heads` replaced by that of the resolved one."""
    if isinstance(described, dict) and isinstance(resolved, dict):
        filled = {key: with_heads(value, resolved.get(key)) for key, value in described.items()}
        return {**filled, "heads": resolved["heads"]} if filled.get("heads", 0) is None else filled
    if isinstance(described, list) and isinstance(resolved, list):
        return [with_heads(*pair) for pair in zip(described, resolved, strict=True)]
    return described


def first_updates(spec: RunSpec, corpus: Corpus, *, progress: Iterator[float]) -> dict[str, list[float]]:
    """Train the resolved run by the ordinary loop; mean |x| of each activation at every step of it, by name.

    `progress` is moved on with every step.
    """
    assert spec.trainer.threads is not None
    torch.set_num_threads(spec.trainer.threads)
    module = build_module(spec)
    watch = Watch(module)
    sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
    batches = Batches(sequences, count=spec.batch.tokens // spec.context, first=0, steps=spec.steps)
    try:
        fit(module, batches=batches, spec=spec.trainer, callbacks=[EachStep(progress)], resume=None)
    except SystemExit as ended:  # Lightning's word for Ctrl-C
        raise KeyboardInterrupt from ended
    return watch.means()


class EachStep(lightning.Callback):
    """Takes an element of `progress` at every training step."""

    def __init__(self, progress: Iterator[float]) -> None:
        self.progress = progress

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        next(self.progress)


class Watch:
    """Notes mean |x| of a model's main activations in the forward passes of its training."""

    def __init__(self, module: LanguageModel) -> None:
        self.module = module
        self.seen: dict[str, list[list[float]]] = {}
        for name, part, pick in activations(module.model):
            part.register_forward_hook(self.hook(name, pick))

    def hook(self, name: str, pick: Callable[[Any], Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        """A forward hook that notes what `pick` takes from the output; one number for each micro-batch of a step."""
        steps = self.seen.setdefault(name, [[] for _ in range(self.module.steps)])

        def note(part: nn.Module, inputs: Any, output: Any) -> None:
            steps[self.module.global_step].append(pick(output).detach().float().abs().mean().item())

        return note

    def means(self) -> dict[str, list[float]]:
        """By name, one number for each step."""
        return {name: [sum(parts) / len(parts) for parts in steps] for name, steps in self.seen.items()}


def activations(model: nn.Module) -> Iterator[tuple[str, nn.Module, Callable[[Any], Tensor]]]:
    """What is watched: a name, the module that makes it, and where in its output it is."""
    yield "embedding", model.get_submodule("dropout"), lambda x: x
    blocks = model.get_submodule("blocks")
    for layer, block in enumerate(blocks.children()):
        assert isinstance(block, Block)
        yield f"block {layer} attention", block.attention, lambda output: output[0]
        yield f"block {layer} ffn", block.ffn, lambda output: output[0]
    yield "stream", model, lambda output: output.stream
    yield "logits", model, lambda output: output.logits


def show(found: Coordinates) -> None:
    """The table and the verdict, at 80 columns."""
    console = Console(highlight=False)
    shown = sorted({0, 1, found.updates})
    table = Table(title="slope of log mean|x| against log width", title_justify="left", box=None, pad_edge=False)
    table.add_column("activation")
    for name in (*(f"update {update}" if update else "start" for update in shown), "steepest"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for name in found.sizes:
        slopes = [found.slope(name, update) for update in shown] + [found.steepest(name)[1]]
        style = None if found.flat(name) else "bold"
        table.add_row(name, *map(slope_text, slopes), found.word(name), style=style)
    console.print(table)
    console.print(found.verdict, markup=False)
