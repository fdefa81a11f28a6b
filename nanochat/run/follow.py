"""What every rank but the first does: the same steps on its share of each batch, in silence."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from nanochat.core.spec import load
from nanochat.data.corpus import prepare
from nanochat.data.sequences import Sequences
from nanochat.logger.base import Logger, Row
from nanochat.run.crew import LIFELINE, await_call, meet
from nanochat.run.evaluation import Evaluation
from nanochat.run.execute import use_machine
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.train import build_module, recording, saving, unsharded, validation
from nanochat.trainer.callbacks.guard import Diverged, Guard
from nanochat.trainer.control import Silent
from nanochat.trainer.fit import Batches, fit
from nanochat.trainer.ranks import Ranks


def follow(spec: RunSpec, ranks: Ranks) -> None:
    """Train the resolved `spec` with the first rank, if it calls.

    Signals are for the first rank, which has a checkpoint made and all ranks stop at the same step. What goes wrong
    here is raised: the end of this process ends the run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if LIFELINE in os.environ:
        threading.Thread(target=_end_with_the_first, daemon=True).start()
    store = meet()
    request = await_call(store, ranks)
    if request is None:
        return
    spec = spec.replace(batch=spec.batch.replace(micro=request["micro"]))
    use_machine(spec, ranks)
    ranks.join(store, device=spec.trainer.device)
    try:
        train_along(
            spec,
            ranks,
            folder=RunFolder(Path(request["folder"])),
            settings=load(request["settings"], Settings),
            step=request["step"],
        )
    except Diverged:  # as the first rank did at the same step, and says
        pass
    finally:
        ranks.leave()


def train_along(spec: RunSpec, ranks: Ranks, *, folder: RunFolder, settings: Settings, step: int) -> None:
    """As `nanochat.run.train.train` from `step` on, writing nothing.

    It validates as the first rank does: sharded weights are gathered by all, and nobody waits for long.
    """
    corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
    module = build_module(spec, ranks=ranks)
    sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
    per_step = spec.batch.tokens // spec.context
    batches = Batches(sequences, count=per_step, first=step, steps=spec.steps, ranks=ranks)
    control = Silent()
    evaluate = Evaluation(spec, corpus, module, control=control)

    validate = validation(evaluate, samples=settings.samples)
    recorder = recording(spec, sequences, logger=Nowhere(), control=control, validate=validate, every=spec.steps)
    saver = saving(spec, folder, settings=settings, control=control, ranks=ranks)
    resume = folder.state_file if step else None
    done = fit(module, batches=batches, spec=spec.trainer, callbacks=[Guard(), recorder, saver], resume=resume)
    if done == spec.steps:
        unsharded(spec, module)


class Nowhere(Logger):
    """Takes rows that the first rank logs."""

    def log(self, row: Row) -> None:
        pass

    def close(self) -> None:
        pass


def _end_with_the_first() -> None:
    """Standard input closes when the first rank ends, however it ends."""
    while os.read(0, 1):
        pass
    os._exit(1)
