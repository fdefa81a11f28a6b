"""The only way a run is run: here, in a study's process, or by `python -m nanochat.run run.json`."""

from __future__ import annotations

import functools
import os
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.utils import deterministic

from nanochat.core.artifact import write_json
from nanochat.core.errors import MachineError, SpecError, spec_error
from nanochat.core.provenance import Origin, changed_files, origin
from nanochat.core.spec import dump
from nanochat.logger.base import About
from nanochat.logger.csv import read
from nanochat.run.crew import Crew
from nanochat.run.folder import RunFolder, identify
from nanochat.run.oom import is_oom
from nanochat.run.ranks import check_ranks
from nanochat.run.reports import repeat
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.train import train
from nanochat.run.trunk import begin, trunk_state
from nanochat.trainer.callbacks.guard import Diverged
from nanochat.trainer.control import Control
from nanochat.trainer.ranks import Ranks

# Results that repeating the run would only repeat.
FINAL = ("complete", "diverged")


def execute(
    spec: RunSpec,
    *,
    settings: Settings,
    control: Control,
    source: Origin | None = None,
    micro: int | None = None,
    about: About | None = None,
    crew: Crew | None = None,
) -> dict[str, Any]:
    """Carry out a resolved run, or what is left of it; returns its `result.json`.

    A run that is final already is not run again. One that another process is writing is waited for. A stopped run
    goes on from its checkpoint. `control` gets the reports of the whole run, whatever of it was done before.

    source: the code and machine it comes from, None for those of this very process · micro: sequences per forward pass
    in place of the Spec's, where those do not fit; it stays the same run but for rounding · about: the study that it
    is for, which only the logger is told · crew: the ranks that were started for it, None where it is to start
    `settings.devices` itself.

    Raises `SpecError` for mistakes that show only now (texts, tokenizer, the run that it continues) and for code that
    changed under `code=refuse`; what goes wrong in training is a status, not an exception.
    """
    crew = crew or Crew(settings.devices)
    check_ranks(spec, count=crew.ranks.count, local_count=crew.ranks.local_count)
    folder = RunFolder(settings.paths.runs / identify(spec, cache=settings.paths.cache))
    source = source or origin()
    while True:
        with folder.lock() as held:
            if held:
                return _execute(
                    spec,
                    folder=folder,
                    settings=settings,
                    control=control,
                    source=source,
                    micro=micro or spec.batch.micro,
                    about=about,
                    crew=crew,
                )
        if control.stop_requested():
            return {"status": "stopped", "reason": "another process was writing this run", "key": folder.key}
        control.progress("wait", tokens=0, total=spec.tokens)
        time.sleep(0.2)


def finished(folder: RunFolder, *, settings: Settings, code: dict[str, str] | None = None) -> dict[str, Any] | None:
    """The result of a run that need not be run again under the code rule, else None.

    Raises `SpecError` naming the files when the code changed since and `code=refuse`.
    """
    result = folder.result()
    description = folder.description()
    if result is None or description is None or result["status"] not in FINAL:
        return None
    if settings.code == "accept":
        return result
    changed = changed_files(description["code"], now=code)
    if not changed:
        return result
    if settings.code == "rerun":
        return None
    raise _code_changed(folder, changed)


def _execute(
    spec: RunSpec,
    *,
    folder: RunFolder,
    settings: Settings,
    control: Control,
    source: Origin,
    micro: int | None,
    about: About | None,
    crew: Crew,
) -> dict[str, Any]:
    known = finished(folder, settings=settings, code=source.code)
    if known is not None:
        repeat(folder, control=control)
        return known
    _meet_earlier_code(folder, settings=settings, code=source.code)
    begins = spec.start.run is not None and not folder.state_file.exists()
    trunk = trunk_state(spec, settings=settings, code=source.code) if begins else None
    use_machine(spec, crew.ranks)
    folder.result_file.unlink(missing_ok=True)
    try:
        describe = functools.partial(_describe, spec, folder, source, trunk)
        used = spec.replace(batch=spec.batch.replace(micro=micro))
        with crew:
            result = train(
                used, folder=folder, settings=settings, control=control, crew=crew, describe=describe, about=about
            )
    except (SpecError, MachineError):  # a mistake or a full disk is no result of this run
        raise
    except Diverged as error:
        result = {"status": "diverged", "reason": str(error), **_reached(spec, folder)}
    except Exception as error:
        status = "oom" if is_oom(error) else "failed"
        result = {"status": status, "reason": _reason(error), **_reached(spec, folder)}
        folder.log(f"{result['status']}: {result['reason']}")
        if result["status"] == "failed":
            folder.log("".join(traceback.format_exception(error)))
    folder.write_result({**result, "micro": micro})
    if result["status"] in FINAL:
        # Nothing is left to resume, and checkpoints would fill the disk of a long study. Only now: until the result
        # stands, the checkpoint is all there is.
        folder.state_file.unlink(missing_ok=True)
    if result["status"] == "diverged":  # no run continues it
        folder.forget_milestones()
    folder.log(f"{result['status']} {result['reason']}".rstrip())
    stored = folder.result()
    assert stored is not None
    return stored


def _meet_earlier_code(folder: RunFolder, *, settings: Settings, code: dict[str, str]) -> None:
    """What an earlier attempt left is gone on with only if it came from this code, or by the user's word."""
    description = folder.description()
    changed = changed_files(description["code"], now=code) if description else []
    if changed and settings.code == "refuse" and folder.state_file.exists():
        raise _code_changed(folder, changed)
    if changed and settings.code != "accept":
        folder.clear()


def _describe(spec: RunSpec, folder: RunFolder, source: Origin, trunk: Path | None) -> None:
    """`run.json`, and the state in `trunk` to go on from: written once the texts are known to be good, so that nothing
    stands for a run that cannot be."""
    write_json(
        folder.spec_file,
        {"schema": 1, "key": folder.key, "run": dump(spec), **source._asdict()},
    )
    if trunk is not None:
        begin(spec, trunk, folder=folder)


def use_machine(spec: RunSpec, ranks: Ranks) -> None:
    """Threads and determinism of this process: a run's curve depends on its Spec alone. Ranks on one machine share the
    threads."""
    assert spec.trainer.threads is not None
    torch.set_num_threads(max(1, spec.trainer.threads // ranks.local_count))
    if spec.trainer.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory would only hide reads of what was never written, at the price of a pass over it.
    setattr(deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - its stub does not list it


def _code_changed(folder: RunFolder, changed: list[str]) -> SpecError:
    listed = ", ".join(changed[:6]) + (" …" if len(changed) > 6 else "")
    return spec_error(
        "code",
        "refuse",
        f"run {folder.key} was made by other code: {listed}",
        "use code=accept to take it as it is, or code=rerun to make it again",
    )


def _reached(spec: RunSpec, folder: RunFolder) -> dict[str, int]:
    """How far a run came that did not end well: up to its last row."""
    rows = read(folder.metrics_file)
    steps = rows[-1]["step"] if rows else spec.first_step
    return {"steps": steps, "tokens": steps * spec.batch.tokens}


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return f"{type(error).__name__}: {first}"
