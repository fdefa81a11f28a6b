"""How studies stand, at 80 columns: all of them, or one with its running and its failed trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nanochat.report.frame import number_text, param_text
from nanochat.study import table as results
from nanochat.study.dead import dead_knobs
from nanochat.study.definition import Definition
from nanochat.study.store import AGAIN, Store
from nanochat.study.trial import Trial

# Failures are shown in full up to so many; the table has them all.
SHOWN = 5


@dataclass(frozen=True)
class State:
    """A study as it stands. store: None where its trials lie in a database that was not named · workers: those at
    work on it · alive: whether a worker is."""

    folder: Path
    definition: Definition
    store: Store | None
    workers: Sequence[str]
    alive: Callable[[str], bool]

    @property
    def trials(self) -> list[Trial]:
        return self.store.trials() if self.store else []

    @property
    def words(self) -> str:
        """Done, at work, or what stands still."""
        if self.store is None:
            return "in a database; name it with study.storage"
        if self.store.done():
            return "complete"
        if self.workers:
            return f"{len(self.workers)} at work"
        return "stands still"


def overview(states: Sequence[State], *, studies: Path) -> RenderableType:
    """All studies, the newest first, a line each."""
    if not states:
        return Text(f"no study yet in {studies}; a command with -m begins one")
    table = Table(box=None, pad_edge=False)
    for name, side in (("study", "left"), ("trials", "right"), ("arms", "right"), ("failed", "right"), ("", "left")):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for state in states:
        finished, failed = sum(t.finished for t in state.trials), sum(t.failed for t in state.trials)
        trials = f"{finished}/{state.store.total()}" if state.store else "–"
        table.add_row(state.definition.name, trials, str(len(state.definition.arms)), str(failed or ""), state.words)
    return table


def details(state: State, *, runs: Path) -> RenderableType:
    """One study: its arms, what runs, what failed and why, and what to type next."""
    name = state.definition.name
    if state.store is None:
        return Text(f"study {name}: {state.words}")
    finished = sum(trial.finished for trial in state.trials)
    head = Text(f"study {name}: {finished} of {state.store.total()} trials, {state.words}")
    parts: list[RenderableType] = [head, _arms(state), *_running(state), *_failures(state)]
    parts += [Text(f"dead knob: {knob}") for knob in dead_knobs(results.rows(state.trials), runs=runs)]
    parts += [Text(line, style="dim") for line in _next(state)]
    return Group(*parts)


def _arms(state: State) -> Table:
    assert state.store is not None
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "tuned", "ended otherwise", "best valid", "at", "seeds", "test bpb"):
        table.add_column(name, overflow="fold", justify="left" if name in ("arm", "at", "ended otherwise") else "right")
    book = state.store.book
    for arm in state.definition.arms:
        tuning = [*book.imported[arm.name], *book.tuning[arm.name]]
        ends = Counter(trial.status for trial in tuning if trial.finished and trial.status != "complete")
        best = book.best.get(arm.name)
        at = " ".join(f"{key}={param_text(value)}" for key, value in best.params.items()) if best else ""
        seeds = [book.confirmed(arm.name, seed) for seed in state.definition.seeds]
        scores = [trial.score for trial in seeds if trial is not None and trial.score is not None]
        table.add_row(
            Text(arm.name),
            f"{sum(t.finished for t in tuning)}/{state.store.agenda.limit(arm) + len(book.imported[arm.name])}",
            ", ".join(f"{count} {status}" for status, count in sorted(ends.items())),
            number_text(best.score if best else None),
            Text(at),
            f"{len(scores)}/{len(seeds)}",
            number_text(sum(scores) / len(scores) if scores else None),
        )
    return table


def _running(state: State) -> list[RenderableType]:
    """Trials that are begun and not finished, and whether somebody is on them."""
    lines = []
    for trial in state.trials:
        if not trial.finished:
            who = trial.owner or "nobody"
            how = "at work" if state.alive(trial.owner) else "gone; the next worker goes on with it"
            lines.append(Text(f"open: {trial.label} · {who} {how if trial.owner else 'yet'}"))
    return list(lines)


def _failures(state: State) -> list[RenderableType]:
    """Reason and last words of the failed trials."""
    failed = [trial for trial in state.trials if trial.failed]
    lines: list[RenderableType] = []
    for trial in failed[:SHOWN]:
        result = trial.result or {}
        lines.append(Text(f"{trial.label} {result['status']}: {result['reason']}", style="bold"))
        lines += [Text(f"    {line}", style="dim") for line in str(result.get("log") or "").splitlines()]
    if len(failed) > SHOWN:
        lines.append(Text(f"… and {len(failed) - SHOWN} more; results.csv has them all"))
    return lines


def _next(state: State) -> list[str]:
    assert state.store is not None
    name, lines = state.definition.name, []
    if any(trial.status in AGAIN for trial in state.trials):
        lines.append(f"again what failed:  python run.py task=study study.name={name} task.retry=failed")
    if not state.store.done():
        lines.append(f"go on, or join:     python run.py task=worker study.name={name}")
    elif more := state.store.agenda.more(20):
        lines.append(f"more trials:        python run.py task=worker study.name={name} study.trials={more}")
    return lines
