"""How long an arm's runs take on this machine: a few steps of each are trained, as its runs will be, and timed.

The arms are timed side by side in all of the worker's slots, as they will later be run: what runs at the same time
shares caches, memory and clock. Nothing of it enters `multirun/runs`; the times are kept in `multirun/cache`.
"""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean
from typing import Any

from nanochat.core.artifact import read_json, writable, write_json
from nanochat.core.device import cores
from nanochat.core.errors import MachineError, SpecError
from nanochat.core.progress import track
from nanochat.core.provenance import Origin, origin, provenance
from nanochat.core.spec import dump, hash_of, load
from nanochat.data.corpus import prepare
from nanochat.logger.csv import CSVSpec
from nanochat.run.evaluation import Evaluation
from nanochat.run.execute import execute
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.train import build_module, validation_steps
from nanochat.study.pool import PRELOAD, Pool
from nanochat.study.slots import Slot
from nanochat.trainer.control import Silent

# The first steps of a run fill caches and choose kernels.
WARM_STEPS = 2
# Then at least so many are timed, for at least so long.
STEPS, SECONDS = 3, 2.0
# Scoring is timed on as much text as training reads in this time; scoring reads about three times as fast.
SCORING_SECONDS = 1.5

# A run that trains for ever, as far as a calibration can see; its validations are far away.
FOR_EVER = 10**9


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The seconds that parts of a run take.

    start: before the first step and after the last, up to the process's end; that the first steps are slow belongs
    here too · step: one optimizer step · save: one checkpoint · valid: one validation · test: scoring the test
    documents · documents: how many those are.
    """

    start: float
    step: float
    save: float
    valid: float
    test: float
    documents: int

    def run(self, spec: RunSpec, *, checkpoint: float) -> float:
        """Seconds of a whole run that saves a checkpoint every `checkpoint` seconds; its texts are prepared."""
        training = (spec.steps - spec.first_step) * self.step
        scoring = len(validation_steps(spec)) * self.valid + self.test + self.valid
        return self.start + training + self.save * (training // checkpoint) + scoring

    def of(self, spec: RunSpec, *, checkpoint: float) -> tuple[float, float]:
        """Seconds of a token, and of what a run takes however long it is."""
        token = (self.step + self.save * self.step / checkpoint) / spec.batch.tokens
        return token, self.start + len(validation_steps(spec)) * self.valid + self.test + self.valid


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A run whose pace could not be measured, and why."""

    reason: str


def calibrate(
    runs: Mapping[str, RunSpec], *, slots: Sequence[Slot], settings: Settings, preload: Sequence[str] = PRELOAD
) -> dict[str, Pace | Unknown]:
    """The pace of each named, resolved run in these slots. Takes a few seconds a run, the second time nothing.

    Raises the `SpecError` or `MachineError` with which a run refuses to begin.
    """
    files = {name: _file(spec, slots=slots, settings=settings) for name, spec in runs.items()}
    new = {files[name]: spec for name, spec in runs.items() if not files[name].exists()}
    found: dict[Path, Pace | Unknown] = {}
    if new:
        folder = settings.paths.cache / "calibration"
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="running-", dir=folder, ignore_cleanup_errors=True) as scratch:
            found = _measured(new, slots=slots, settings=settings, scratch=Path(scratch), preload=preload)
        for file, pace in found.items():
            if isinstance(pace, Pace):
                write_json(file, asdict(pace))
    return {name: found[file] if file in found else Pace(**read_json(file)) for name, file in files.items()}


def _file(spec: RunSpec, *, slots: Sequence[Slot], settings: Settings) -> Path:
    """Where the pace of a run is kept: a file for all that decides it. Seed, length and rates do not."""
    run = {name: value for name, value in dump(spec).items() if name not in ("seed", "stop", "lr")}
    machine = {
        **provenance()["machine"],
        "free": cores(),
        "gpus": sorted({slot.environment.get("CUDA_VISIBLE_DEVICES", "") for slot in slots}),
        "slots": len(slots),
        "pinned": sum(bool(slot.cores) for slot in slots),
    }
    return settings.paths.cache / "calibration" / f"{hash_of([run, machine, origin().code])}.json"


def _measured(
    runs: Mapping[Path, RunSpec], *, slots: Sequence[Slot], settings: Settings, scratch: Path, preload: Sequence[str]
) -> dict[Path, Pace | Unknown]:
    """Measure every run, some twice where there are more slots than runs: no slot is to be idle meanwhile."""
    jobs = list(itertools.islice(itertools.cycle(runs), max(len(runs), len(slots))))
    requests = [
        _request(runs[file], folder=scratch / str(number), settings=settings) for number, file in enumerate(jobs)
    ]
    results: dict[Path, list[Pace | Unknown]] = {file: [] for file in runs}
    ended = _all_ended(list(zip(jobs, requests, strict=True)), slots=slots, preload=preload)
    for file, result in track(ended, total=len(jobs), label="timing a few steps of each arm"):
        results[file].append(result)
    return {file: _mean(each) for file, each in results.items()}


def _mean(results: Sequence[Pace | Unknown]) -> Pace | Unknown:
    paces = [asdict(result) for result in results if isinstance(result, Pace)]
    if not paces:
        return results[0]
    return Pace(**{name: type(value)(fmean(pace[name] for pace in paces)) for name, value in paces[0].items()})


def _request(spec: RunSpec, *, folder: Path, settings: Settings) -> dict[str, Any]:
    """A run with a folder of its own for all that it leaves, but the study's cache."""
    with writable(folder):
        folder.mkdir()
        (folder / "cache").symlink_to(settings.paths.cache, target_is_directory=True)
    how = settings.replace(
        code="accept",
        checkpoint=float(FOR_EVER),
        samples=0,
        paths=settings.paths.replace(multirun=str(folder)),
        logger=CSVSpec(),
    )
    return {"spec": dump(spec), "settings": dump(how), "source": origin()._asdict()}


def _all_ended(
    jobs: Sequence[tuple[Path, dict[str, Any]]], *, slots: Sequence[Slot], preload: Sequence[str]
) -> Iterator[tuple[Path, Pace | Unknown]]:
    """Run every job, as many at a time as there are slots; each as it ends."""
    waiting = list(jobs)
    pool = Pool(measure, slots=slots, preload=preload)
    try:
        while waiting or pool.children:
            while waiting and pool.free:
                file, request = waiting.pop(0)
                pool.start(request, tag=file)
            for child, messages, ended in pool.events(10.0):
                for message in messages:
                    child.hear_last(message)
                if ended:
                    exiting = time.monotonic() - child.last_at
                    yield child.tag, _result(child.last, exiting=exiting, death=child.death())
    finally:
        pool.close()


def _result(message: Mapping[str, Any] | None, *, exiting: float, death: str) -> Pace | Unknown:
    """What an ended process told; the seconds it took to exit are spent on every run."""
    if message is None:
        return Unknown(reason=death)
    if message["kind"] == "refused":
        if message["exit_code"] == SpecError.exit_code:
            raise SpecError(message["problems"])
        raise MachineError(message["reason"])
    if message["kind"] == "unknown":
        return Unknown(reason=message["reason"])
    pace = message["pace"]
    return Pace(**{**pace, "start": pace["start"] + exiting})


class Stopwatch:
    """Control of a run that is only timed: notes when each step ends, and stops it when that is enough."""

    def __init__(self, channel: Connection, *, steps: int) -> None:
        """`steps`: of the run that is planned; of a short one no more need be timed."""
        self.channel = channel
        self.steps = steps
        self.ends: list[float] = []
        self.stopped_at = 0.0  # by the clock that files have

    def progress(
        self, phase: str, *, tokens: int, total: int, loss: float | None = None, bpb: float | None = None
    ) -> None:
        if phase == "train":
            self.ends.append(time.monotonic())

    def report(self, *, tokens: int, bpb: float) -> None:
        pass

    def stop_requested(self) -> bool:
        timed = self.ends[WARM_STEPS - 1 :]
        enough = len(timed) > STEPS and (timed[-1] - timed[0] > SECONDS or len(timed) > self.steps)
        self.stopped_at = time.time()
        return enough or self.channel.poll()  # nothing is ever sent: the pipe is closed, its owner gone

    def step(self) -> float:
        """Seconds of one step."""
        timed = self.ends[WARM_STEPS - 1 :]
        return (timed[-1] - timed[0]) / (len(timed) - 1)


def measure(request: dict[str, Any], channel: Connection) -> None:
    """What a calibrating process calls: times the run in `request` (`spec`, `settings`, `source`: plain data)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["NANOCHAT_QUIET"] = "1"
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    spec, settings = load(request["spec"], RunSpec), load(request["settings"], Settings)
    try:
        channel.send(_timed(spec, settings=settings, source=Origin(**request["source"]), channel=channel))
    except SpecError as error:
        channel.send({"kind": "refused", "exit_code": error.exit_code, "problems": error.problems})
    except MachineError as error:
        channel.send({"kind": "refused", "exit_code": error.exit_code, "reason": str(error)})


def _timed(spec: RunSpec, *, settings: Settings, source: Origin, channel: Connection) -> dict[str, Any]:
    corpus = prepare(spec.data, spec.tokenizer, cache=settings.paths.cache, context=spec.context)
    watch = Stopwatch(channel, steps=spec.steps)
    # From scratch: a step costs the same wherever the run begins.
    endless = spec.replace(stop=spec.stop.replace(steps=FOR_EVER), start=spec.start.replace(run=None, tokens=None))
    began = time.monotonic()
    result = execute(endless, settings=settings, control=watch, source=source)
    ended = time.monotonic()
    if result["status"] != "stopped" or len(watch.ends) < WARM_STEPS + STEPS:
        return {"kind": "unknown", "reason": f"{result['status']}: {result['reason']}"}
    step, save = watch.step(), _saving(RunFolder(settings.paths.runs / result["key"]), since=watch.stopped_at)
    evaluate = Evaluation(spec, corpus, build_module(spec).to(spec.trainer.device), control=Silent())
    size = {split: sum(document.bytes for document in documents) for split, documents in evaluate.documents.items()}
    rate = _scoring_seconds(evaluate, size=_bytes_of(SCORING_SECONDS / step * spec.batch.tokens, evaluate))
    pace = Pace(
        start=max(0.0, ended - began - len(watch.ends) * step - save),
        step=step,
        save=save,
        valid=rate * size["valid"],
        test=rate * size["test"],
        documents=len(evaluate.documents["test"]),
    )
    return {"kind": "pace", "pace": asdict(pace)}


def _saving(folder: RunFolder, *, since: float) -> float:
    """Seconds from `since` until the checkpoint bore its name."""
    return max(0.0, folder.state_file.stat().st_ctime - since)


def _bytes_of(tokens: float, evaluate: Evaluation) -> float:
    """How many bytes of text so many tokens stand for."""
    train = evaluate.corpus.train
    return tokens * train.bytes / train.tokens


def _scoring_seconds(evaluate: Evaluation, *, size: float) -> float:
    """Seconds to score a byte, timed on the first documents of the valid split, `size` bytes of them or a few more."""
    documents, total = [], 0
    for document in evaluate.documents["valid"]:
        documents.append(document)
        total += document.bytes
        if total >= size:
            break
    evaluate.documents["valid"] = documents
    began = time.monotonic()
    evaluate.score("valid")
    return (time.monotonic() - began) / total


def told_by_run(spec: RunSpec, *, settings: Settings) -> float | None:
    """Seconds that this very run took, if it is complete here and was never stopped between."""
    folder = RunFolder(settings.paths.runs / identify(spec, cache=settings.paths.cache))
    result, description = folder.complete(), folder.description()
    if result is None or description is None or description["provenance"]["machine"] != provenance()["machine"]:
        return None
    # The one is written when the texts are ready, the other last; a resumed run writes the first anew.
    seconds = folder.result_file.stat().st_mtime - folder.spec_file.stat().st_mtime
    return seconds if seconds >= result["seconds"] else None
