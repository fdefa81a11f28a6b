"""What a run does: prepare the texts, build the model, train it, score it, leave its files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch

from nanochat.core.artifact import atomic_path
from nanochat.core.device import peak_memory_mib
from nanochat.core.spec import dump
from nanochat.data.corpus import Corpus, prepare
from nanochat.data.sequences import Sequences
from nanochat.eval.record import write_record
from nanochat.logger.base import About, Logger
from nanochat.run.crew import Crew
from nanochat.run.evaluation import Evaluation, summary
from nanochat.run.folder import RunFolder
from nanochat.run.reports import repeat
from nanochat.run.spec import RunSpec, Settings
from nanochat.trainer.callbacks.checkpoint import Checkpoint
from nanochat.trainer.callbacks.first_batch import FirstBatch
from nanochat.trainer.callbacks.guard import Diverged, Guard
from nanochat.trainer.callbacks.record import Record, logged_step
from nanochat.trainer.control import Control, Interrupted, Silent, heed
from nanochat.trainer.fit import Batches, checkpoint_step, fit
from nanochat.trainer.module import LanguageModel
from nanochat.trainer.ranks import ALONE, Ranks
from nanochat.trainer.sharded import whole

# Rows of metrics.csv in a run, about.
ROWS = 100


def train(
    spec: RunSpec,
    *,
    folder: RunFolder,
    settings: Settings,
    control: Control,
    crew: Crew,
    describe: Callable[[], None],
    about: About | None,
) -> dict[str, Any]:
    """Run `spec` from the checkpoint in `folder`, or from the start; returns what goes into `result.json`.

    `describe` is called once the texts are known to be good, before anything is spent; then the other ranks, where the
    run is spread over several. `about`: the study that it is for.
    """
    control.progress("data", tokens=0, total=spec.tokens)
    corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
    describe()
    step = checkpoint_step(folder.state_file) if folder.state_file.exists() else 0
    ranks = crew.call(spec, folder=folder, settings=settings, step=step)
    module = build_module(spec, ranks=ranks)
    sequences = Sequences(corpus.train, context=spec.context, seed=spec.seed)
    per_step = spec.batch.tokens // spec.context
    batches = Batches(sequences, count=per_step, first=step, steps=spec.steps, ranks=ranks)
    # Ranks validate in step with one another, and are stopped between steps alone.
    evaluate = Evaluation(spec, corpus, module, control=control if ranks.count == 1 else Silent())
    # A row that is due at the checkpoint is logged only now.
    logged = logged_step(folder.state_file) if step else 0
    logger = settings.logger.open(folder.path, key=folder.key, step=logged, config=dump(spec), about=about)
    repeat(folder, control=control)
    validate = validation(evaluate, samples=settings.samples, log=folder.log)
    every = max(1, spec.steps // ROWS)
    recorder = recording(spec, sequences, logger=logger, control=control, validate=validate, every=every)
    checkpoint = saving(spec, folder, settings=settings, control=control, ranks=ranks)
    # The guard comes first: what is not a number is neither logged nor saved.
    callbacks = [FirstBatch(decode=corpus.tokenizer.decode, write=folder.log), Guard(), recorder, checkpoint]
    over = f", over {ranks.count} ranks" if ranks.count > 1 else ""
    folder.log(f"training from step {step} of {spec.steps} ({spec.tokens:,} tokens){over}")
    done = step
    try:
        if ranks.count == 1:
            heed(control)
        done = fit(
            module, batches=batches, spec=spec.trainer, callbacks=callbacks, resume=folder.state_file if step else None
        )
        if done == spec.steps:
            evaluate.module = unsharded(spec, module)
        crew.part()
        if done == spec.steps:
            evaluate.module.to(spec.trainer.device)  # Lightning leaves it on the CPU
            evaluate.control = control  # the other ranks are gone
            recorder.settle(done, device=spec.trainer.device)
            control.progress("test", tokens=spec.tokens, total=spec.tokens)
            scored = finish(spec, folder=folder, corpus=corpus, evaluate=evaluate, sequences=sequences)
            return {"status": "complete", "reason": "", **_progress(spec, done, recorder), **scored}
    except Interrupted:
        pass  # it goes on from the last checkpoint
    finally:
        logger.close()
    progress = _progress(spec, done, recorder)
    return {"status": "stopped", "reason": f"at {progress['tokens']:,} tokens", **progress}


def validation(
    evaluate: Evaluation, *, samples: int, log: Callable[[str], None] = lambda _: None
) -> Callable[[], dict[str, float]]:
    """A validation, with a sample before it where some are wanted: every rank draws it, one logs it."""

    def validate() -> dict[str, float]:
        if samples:
            log(f"greedy sample: {evaluate.greedy(samples)!r}")
        return evaluate.valid()

    return validate


def recording(
    spec: RunSpec,
    sequences: Sequences,
    *,
    logger: Logger,
    control: Control,
    validate: Callable[[], dict[str, float]],
    every: int,
) -> Record:
    """What logs a row `every` so many steps, and validates when the spec says so."""
    return Record(
        logger=logger,
        control=control,
        validate=validate,
        validate_at=validation_steps(spec),
        every=every,
        steps=spec.steps,
        batch_tokens=spec.batch.tokens,
        epoch_tokens=sequences.epoch_tokens,
    )


def saving(spec: RunSpec, folder: RunFolder, *, settings: Settings, control: Control, ranks: Ranks) -> Checkpoint:
    """What keeps the state, for this run to go on from and, at milestones, for longer ones."""
    keep = kept_states(spec, folder, settings=settings)
    return Checkpoint(folder.state_file, keep=keep, control=control, seconds=settings.checkpoint, ranks=ranks)


def _progress(spec: RunSpec, steps: int, recorder: Record) -> dict[str, Any]:
    return {"steps": steps, "tokens": steps * spec.batch.tokens, "seconds": round(recorder.seconds, 3)}


def build_module(spec: RunSpec, *, ranks: Ranks = ALONE) -> LanguageModel:
    """The model of a resolved run with its initial weights, in its training module."""
    assert spec.batch.micro is not None
    model = spec.architecture.build(vocab=spec.tokenizer.ids, context=spec.context, seed=spec.seed)
    extra = spec.objective.build(spec.architecture, vocab=spec.tokenizer.ids, context=spec.context, seed=spec.seed)
    if spec.trainer.compile:
        model.compile()
    return LanguageModel(
        model,
        extra=extra,
        objective=spec.objective,
        optimizer=spec.optimizer,
        lr=spec.lr,
        steps=spec.steps,
        micro=spec.batch.micro,
        grad_clip=spec.grad_clip,
        isolate=spec.batch.isolate,
        seed=spec.seed,
        width=spec.init.parametrization(spec.model.width).width,
        ranks=ranks,
    )


def unsharded(spec: RunSpec, module: LanguageModel) -> LanguageModel:
    """The trained module in this one process: where its parameters were cut in parts, a new one with them whole, which
    every rank has to ask for."""
    if module.device_mesh is None:
        return module
    state = whole(module.model.state_dict())
    gathered = build_module(spec)
    gathered.model.load_state_dict(state)
    return gathered


def validation_steps(spec: RunSpec) -> frozenset[int]:
    """The steps after which a run validates: evenly spaced, the last one its end."""
    count = min(spec.eval.evaluations, spec.steps)
    return frozenset(round(spec.steps * (i + 1) / count) for i in range(count))


def kept_states(spec: RunSpec, folder: RunFolder, *, settings: Settings) -> dict[int, Path]:
    """The steps after which a run keeps its state for longer ones, and where."""
    tokens = spec.milestone if settings.milestones else None
    return {} if tokens is None else {tokens // spec.batch.tokens: folder.milestone_file(tokens)}


def finish(
    spec: RunSpec,
    *,
    folder: RunFolder,
    corpus: Corpus,
    evaluate: Evaluation,
    sequences: Sequences,
) -> dict[str, Any]:
    """Score the trained model, validated already, write record and weights; returns what is to be said of it."""
    test, valid = evaluate.score("test"), evaluate.validated
    assert valid is not None
    for name, scores in (("test", test), ("valid", valid)):
        if not math.isfinite(scores.bits_per_byte):
            raise Diverged(f"bits per byte on the {name} documents are {scores.bits_per_byte}")
    write_record(folder.record_file, test)
    with atomic_path(folder.model_file) as part:
        safetensors.torch.save_model(evaluate.module.model, str(part))
    share, epochs = sequences.covered(spec.tokens)
    cost = spec.cost
    return {
        "params": cost.params,
        "active_params": cost.active_params,
        "non_embedding_params": spec.architecture.non_embedding_params(vocab=spec.tokenizer.ids, context=spec.context),
        "flops": spec.flops,
        "flops_mfu": spec.training_cost.flops_mfu * spec.tokens,
        "flops_spent": spec.own_flops,
        "state_bytes_per_token": cost.state_bytes,
        "test": summary(test),
        "valid": summary(valid),
        "reference": {"unigram_bpb": evaluate.unigram_bits_per_byte(), "entropy_bpb": spec.data.entropy()},
        "coverage": {"share": share, "epochs": epochs, "train_tokens": sequences.epoch_tokens},
        "corpus": {"describe": spec.data.describe(), "fingerprint": corpus.fingerprint},
        "peak_memory_mib": round(peak_memory_mib(evaluate.module.device.type), 1),
    }
