"""The page's part on studies: what was asked of them beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Figures = Mapping[str, Any]
Row = tuple[str, str, str, str]  # what · asked · measured · beside it

NOTES = """\
A share in use is that of slot-seconds spent in runs while there were runs to begin; the runs only sleep. In batches
means that the next runs begin when all of the last ones have ended. Asking and telling includes what the worker does
with every result; the sampler's part is the time inside Optuna's own. Hydra's joblib launcher runs the same 40
configs, two at a time, each composed and run by the same code in a fresh folder, the two sides taking turns.
"""


def text(result: Callable[[str], dict[str, Any] | None]) -> Iterator[str]:
    """The paragraphs. `result`: what is stored of a benchmark, None where it was not run."""
    lines = ["| what | asked | measured | beside it |", "|---|---|---|---|"]
    machines: dict[str, list[str]] = {}
    for name, rows in ROWS.items():
        found = result(name)
        if found is None:
            lines.append(f"| `{name}` | | not measured | |")
            continue
        lines += [
            f"| {what} | {asked} | **{measured}** | {beside} |"
            for what, asked, measured, beside in rows(found["figures"])
        ]
        machines.setdefault(_machine(found), []).append(name)
    for machine, names in machines.items():
        yield f"{machine}: {', '.join(names)}.\n"
    yield "\n".join(lines) + "\n"
    yield NOTES


def _machine(found: Mapping[str, Any]) -> str:
    machine, packages = found["machine"], found["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("optuna", "hydra-core", "torch"))
    return f"{machine['processor']}, {machine['cores']} cores, Python {found['python']}, {versions}"


def _overhead(figures: Figures) -> Iterator[Row]:
    processor = figures.get("processor_seconds_per_trial")
    beside = f"a fresh process takes {figures['fresh_process_s']} s"
    if processor is not None:
        beside = (
            f"{processor} s of one core, {figures['worker_processor_seconds_per_trial']} of them the worker's; {beside}"
        )
    yield "a trial of one step, two slots", "≤ 0.20 s", f"{figures['seconds_per_trial_two_slots']} s", beside


def _slots(figures: Figures) -> Iterator[Row]:
    for slots in (2, 8):
        share, batches = figures[f"in_use_{slots}_slots"], figures[f"in_use_{slots}_slots_in_batches"]
        yield f"{slots} slots in use, lengths spread 1:10", "≥ 97%", f"{share:.1%}", f"in batches {batches:.1%}"


def _latency(figures: Figures) -> Iterator[Row]:
    for name in ("tpe", "random"):
        ours, sampler = ([figures[f"{name}_{part}_ms_{n}"] for n in (100, 10_000)] for part in ("ours", "sampler"))
        yield (
            f"our part of asking and telling, {name}, 10,000 trials against 100",
            "≤ 3×",
            f"{figures[f'{name}_ours_growth']}×",
            f"{ours[0]} and {ours[1]} ms; the sampler {sampler[0]} and {sampler[1]} ms",
        )
        yield f"opening a study of 10,000 trials, {name}", "", f"{figures[f'{name}_opening_s_10000']} s", ""


def _memory(figures: Figures) -> Iterator[Row]:
    sizes = ", ".join(f"{figures[f'worker_mib_at_{n}_trials']:.0f}" for n in (20, 100, 1000))
    yield (
        "the worker's memory after 1,000 trials against 20",
        "flat",
        f"{figures['worker_memory_growth']}×",
        f"{sizes} MiB at 20, 100 and 1,000; {figures['worker_mib_per_1000_trials']} MiB per 1,000",
    )


def _joblib(figures: Figures) -> Iterator[Row]:
    ratio = figures["joblib_launcher_of_study"]
    yield (
        "40 runs, against Hydra's joblib launcher",
        "",
        f"{ratio['median']}× as fast",
        f"{ratio['lowest']} to {ratio['highest']}; {figures['study_s']} s and {figures['joblib_launcher_s']} s",
    )


def _report(figures: Figures) -> Iterator[Row]:
    parts = f"gathering {figures['gathering_s']} s, writing {figures['writing_s']} s"
    yield f"a report over {figures['trials']:,} trials", "≤ 20 s", f"{figures['report_s']} s", parts
    yield "its page", "≤ 15 MB", f"{figures['page_mb']} MB", f"{figures['committed_mb']} MB of files to commit"


def _laws(figures: Figures) -> Iterator[Row]:
    yield f"one fit of {figures['rows']} points", "≤ 0.5 s", f"{figures['fit_s']} s", f"{figures['starts']} starts"
    yield "1,000 refits of rows drawn again", "≤ 15 s", f"{figures['refits_1000_s']} s", ""
    yield (
        "the same fit by the `chinchilla` package",
        "beside",
        f"{figures['chinchilla_of_fit']}× as long",
        f"{figures['chinchilla_s']} s, {figures['chinchilla_starts']} starts; objective "
        f"{figures['chinchilla_objective']:.4e} against {figures['objective']:.4e}",
    )


def _planner(figures: Figures) -> Iterator[Row]:
    for name, told, asked in (
        ("sequential", "points chosen one by one", ".0009%, p90 .0061%"),
        ("grid_parabola", "isoFLOP grid, parabola", ".0068%, p90 .045%"),
        ("grid_fitted", "the same grid, fitted", ""),
    ):
        median, p90 = (figures[f"{name}_regret_{part}_pct"] for part in ("median", "p90"))
        error = figures.get(f"{name}_loss_error_median_pct")
        off = f", loss off by {error}% (median)" if error is not None else ""
        measured = f"{median}%, p90 {p90}%"
        yield f"regret over {figures['worlds']} laws, {told}", asked, measured, f"{figures[f'{name}_runs']} runs{off}"


ROWS: dict[str, Callable[[Figures], Iterator[Row]]] = {
    "study_overhead": _overhead,
    "slots": _slots,
    "latency": _latency,
    "memory": _memory,
    "joblib_sweep": _joblib,
    "report": _report,
    "laws": _laws,
    "planner": _planner,
}
