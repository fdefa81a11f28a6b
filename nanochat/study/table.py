"""What a study found: its runs as rows, and one summary for each arm. All of it is read from the trials."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from nanochat.core.compose import Interval
from nanochat.stats.paired import Verdict, verdicts
from nanochat.study.axes import Axis
from nanochat.study.definition import Definition
from nanochat.study.store import Trial, best_of

# A best value nearer than this share of the range to one of its ends may have its optimum beyond.
EDGE = 0.05


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finished trial, a line of `results.csv`; None where a run that failed has no number.

    phase: tune | seed · number: of the tuning trial, or of the seed in order · valid_bpb, test_bpb: bits per byte ·
    loss: nats per token on the test documents · key: of the run · seconds: of training, alone not reproducible.
    """

    arm: str
    phase: str
    number: int
    seed: int
    params: dict[str, Any]
    status: str
    reason: str
    tokens: int | None
    valid_bpb: float | None
    test_bpb: float | None
    loss: float | None
    key: str | None
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is concluded of one arm.

    params: the best of its tuning · runs: how many of its `seeds` are complete · test_bpb, sd: mean and standard
    deviation over them (sd: None below two) · edges: keys whose best value lies at an end of its range.
    """

    arm: str
    params: dict[str, Any]
    edges: tuple[str, ...]
    runs: int
    seeds: int
    test_bpb: float | None
    sd: float | None
    verdict: Verdict


def rows(trials: Sequence[Trial]) -> list[Row]:
    """The finished trials as rows, in the order of the table."""
    return [_row(trial, trial.result) for trial in trials if trial.result is not None]


def to_csv(found: Sequence[Row]) -> str:
    """The text of `results.csv`: a column for each searched key, floats in full precision, seconds last."""
    keys = list(dict.fromkeys(key for row in found for key in row.params))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    tail = ("status", "reason", "tokens", "valid_bpb", "test_bpb", "loss", "key", "seconds")
    writer.writerow(["arm", "phase", "number", "seed", *keys, *tail])
    for row in found:
        params = [row.params.get(key, "") for key in keys]
        writer.writerow([row.arm, row.phase, row.number, row.seed, *params, *(getattr(row, name) for name in tail)])
    return text.getvalue()


def summarise(definition: Definition, trials: Sequence[Trial]) -> list[Summary]:
    """One summary for each arm, in order. Verdicts are read from the test scores of the confirming runs alone."""
    scores = np.full((len(definition.arms), len(definition.seeds)), np.nan)
    index = {arm.name: i for i, arm in enumerate(definition.arms)}
    for trial in trials:
        if trial.phase == "seed" and trial.score is not None:
            scores[index[trial.arm], trial.number] = trial.score
    found = []
    for arm, arm_scores, verdict in zip(definition.arms, scores, verdicts(scores), strict=True):
        best = best_of([trial for trial in trials if trial.phase == "tune" and trial.arm == arm.name])
        params = best.params if best else {}
        complete = arm_scores[np.isfinite(arm_scores)]
        found.append(
            Summary(
                arm=arm.name,
                params=params,
                edges=tuple(axis.key for axis in arm.axes if axis.key in params and at_edge(axis, params[axis.key])),
                runs=len(complete),
                seeds=len(definition.seeds),
                test_bpb=float(complete.mean()) if len(complete) else None,
                sd=float(complete.std(ddof=1)) if len(complete) > 1 else None,
                verdict=verdict,
            )
        )
    return found


def at_edge(axis: Axis, value: Any) -> bool:
    """Whether a value lies within 5% of an end of its range, on the log scale of a log range."""
    domain = axis.domain
    if not isinstance(domain, Interval):
        return False
    scale = math.log if domain.log else float
    share = (scale(value) - scale(domain.low)) / (scale(domain.high) - scale(domain.low))
    return not EDGE <= share <= 1 - EDGE


def to_table(summaries: Sequence[Summary]) -> Table:
    """The summaries as a table that fits on 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("arm", "best", "runs", "test bits/byte", "behind the leader", "verdict"):
        table.add_column(name, overflow="fold")
    for summary in summaries:
        mean = "" if summary.test_bpb is None else f"{summary.test_bpb:.4f}"
        table.add_row(
            summary.arm,
            "\n".join(f"{key}={_brief(value)}{'*' if key in summary.edges else ''}" for key, value in summary.params.items()),
            f"{summary.runs}/{summary.seeds}",
            mean if summary.sd is None else f"{mean} ± {summary.sd:.4f}",
            _gap(summary.verdict),
            summary.verdict.word,
        )
    return table


def notes(summaries: Sequence[Summary]) -> list[str]:
    """What the table needs said: starred values, and what the numbers are."""
    found = ["± is the standard deviation over seeds; [ ] a 95% interval of the difference, all pairs covered."]
    if all(summary.seeds < 3 for summary in summaries):
        found = ["Fewer than three seeds decide nothing: list three or more, e.g. seed=1,2,3."]
    if edged := sorted({key for summary in summaries for key in summary.edges}):
        found.append(f"* at the end of its range: the optimum may lie beyond; widen {', '.join(edged)}.")
    return found


def _row(trial: Trial, result: Any) -> Row:
    return Row(
        arm=trial.arm,
        phase=trial.phase,
        number=trial.number,
        seed=trial.seed,
        params=trial.params,
        status=result["status"],
        reason=result["reason"],
        **{name: result.get(name) for name in ("tokens", "valid_bpb", "test_bpb", "loss", "key", "seconds")},
    )


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _gap(verdict: Verdict) -> str:
    gap = verdict.difference
    if gap is None:
        return ""
    interval = "" if gap.low is None or gap.high is None else f" [{gap.low:.4f}, {gap.high:.4f}]"
    return f"{gap.mean:+.4f}{interval}"
