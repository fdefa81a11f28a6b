"""`results.html`: a study on one self-contained page that works offline, on a phone and in print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nanochat.core.artifact import write_text
from nanochat.report import figures
from nanochat.report.frame import Frame, difference_text, number_text, param_text


def write_page(frame: Frame, path: Path, *, sample: str, dead: Sequence[str]) -> None:
    """Render the study to `path`, atomically. Plotly lies in the page: nothing is fetched when it is opened.

    `dead`: what changed nothing, in words.
    """
    templates = environment()
    templates.filters.update(number=number_text, param=param_text)
    slices = [(axis, figures.search_slice(frame, axis)) for axis in figures.searched(frame.runs)]
    page = templates.get_template("results.html.j2").render(
        frame=frame,
        arms=[(result, difference_text(result)) for result in frame.results],
        sample=sample,
        dead=dead,
        front=div(figures.trade_offs(frame)) if len(frame.definition.objectives) > 1 else None,
        provenance=provenance(frame),
        command=command(frame),
        style=Markup(resources.files("nanochat.report").joinpath("templates/style.css").read_text()),
        plotly=Markup(get_plotlyjs()),
        curves=div(figures.learning_curves(frame)),
        scores=div(figures.scores(frame)),
        slices=[(axis, div(figure)) for axis, figure in slices],
    )
    write_text(path, page)


def environment() -> Environment:
    """Where the templates of pages lie, and how they are read."""
    return Environment(
        loader=PackageLoader("nanochat.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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


def div(figure: go.Figure) -> Markup:
    """A figure as an element of the page."""
    # No bar of buttons: on a phone it covers the legend. Dragging zooms, a double click goes back.
    config = {"responsive": True, "displayModeBar": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
