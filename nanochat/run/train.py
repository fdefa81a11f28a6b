"""What a run does: prepare the texts, build the model, train it, score it, leave its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from nanochat.core.artifact import atomic_path
from nanochat.core.device import peak_memory_mib
from nanochat.core.spec import dump
from nanochat.data.corpus import Corpus, prepare
from nanochat.data.sequences import Sequences
from nanochat.eval.bits_per_byte import Scores
from nanochat.eval.record import write_record
from nanochat.logger.csv import read
from nanochat.run.folder import RunFolder
from nanochat.run.spec import RunSpec, Settings
from nanochat.trainer.callbacks.checkpoint import Checkpoint
from nanochat.trainer.callbacks.first_batch import FirstBatch
from nanochat.trainer.callbacks.guard import Guard
from nanochat.trainer.callbacks.record import Record
from nanochat.trainer.control import Control
from nanochat.trainer.fit import Batches, checkpoint_step, fit
from nanochat.trainer.module import LanguageModel

# Rows of metrics.csv in a run, about.
ROWS = 100


def train(
    spec: RunSpec, *, folder: RunFolder, settings: Settings, control: Control, describe: Callable[[], None]
) -> dict[str, Any]:
    """Run `spec` from the checkpoint in `folder`, or from the start; returns what goes into `result.json`.

    `describe` is called once the texts are known to be good, before anything is spent.
    """
    control.progress("data", tokens=0, total=spec.tokens)
    corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
    describe()
    module = build_module(spec)
    step = checkpoint_step(folder.state_file) if folder.state_file.exists() else 0
    sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
    per_step = spec.batch.tokens // spec.context
    batches = Batches(sequences, count=per_step, first=step, steps=spec.steps)
    evaluate = Evaluation(spec, corpus, module)
    logger = settings.logger.open(folder.path, key=folder.key, step=step, config=dump(spec))
    recorder = Record(
        logger=logger,
        control=control,
        validate=evaluate.valid,
        validate_at=validation_steps(spec),
        every=max(1, spec.steps // ROWS),
        steps=spec.steps,
        batch_tokens=spec.batch.tokens,
        epoch_tokens=sequences.epoch_tokens,
    )
    # The guard comes first: what is not a number is neither logged nor saved.
    callbacks = [
        FirstBatch(decode=corpus.tokenizer.decode, write=folder.log),
        Guard(),
        recorder,
        Checkpoint(folder.state_file, control=control, seconds=settings.checkpoint),
    ]
    folder.log(f"training from step {step} of {spec.steps} ({spec.tokens:,} tokens)")
    try:
        done = fit(
            module, batches=batches, spec=spec.trainer, callbacks=callbacks, resume=folder.state_file if step else None
        )
    finally:
        logger.close()
    progress = {"steps": done, "tokens": done * spec.batch.tokens, "seconds": round(recorder.seconds, 3)}
    if done < spec.steps:
        return {"status": "stopped", "reason": f"stopped at {progress['tokens']:,} tokens", **progress}
    control.progress("test", tokens=spec.tokens, total=spec.tokens)
    return finish(spec, folder=folder, corpus=corpus, evaluate=evaluate, sequences=sequences, progress=progress)
