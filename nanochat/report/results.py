"""`results.html`: a study on one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from nanochat.report import figures
from nanochat.report.frame import Frame, difference_text, number_text, param_text
from nanochat.report.page import div, render


def write_page(frame: Frame, path: Path, *, sample: str, dead: Sequence[str]) -> None:
    """Render the study to `path`, atomically. `dead`: what changed nothing, in words."""
    slices = [(axis, figures.search_slice(frame, axis)) for axis in figures.searched(frame.runs)]
    render(
        "results.html.j2",
        path,
        filters={"number": number_text, "param": param_text},
        frame=frame,
        arms=[(result, difference_text(result)) for result in frame.results],
        sample=sample,
        dead=dead,
        front=div(figures.trade_offs(frame)) if len(frame.definition.objectives) > 1 else None,
        provenance=provenance(frame),
        command=command(frame),
        curves=div(figures.learning_curves(frame)),
        scores=div(figures.scores(frame)),
        slices=[(axis, div(figure)) for axis, figure in slices],
    )


def provenance(frame: Frame) -> list[tuple[str, str]]:
    """Where the numbers come from: corpus, code, packages, machine, as the first confirming run recorded them."""
    if frame.described is None or frame.finished is None:
        return []
    about, corpus = frame.described["provenance"], frame.finished["corpus"]
    coverage = frame.finished["coverage"]
    changed = " with local changes" if about["local_changes"] else ""
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items() if version)
    machine = about["machine"]
    return [
        ("corpus", corpus["describe"]),
        ("its fingerprint", corpus["fingerprint"]),
        ("a run covers", f"{coverage['share']:.1%} of the training split, {coverage['epochs']:.2f} epochs"),
        ("seeds", f"{', '.join(map(str, frame.definition.seeds))}; tuned on {frame.definition.tune_seed}"),
        ("code", f"revision {about['revision'] or 'unknown'}{changed}"),
        ("Python", about["python"]),
        ("packages", packages),
        ("machine", f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"),
    ]


def command(frame: Frame) -> str:
    """The command that makes this study again, wherever its files are to lie."""
    overrides = [text for text in frame.definition.command if not text.startswith("paths.")]
    return shlex.join(["python", "run.py", *overrides, "-m"])
