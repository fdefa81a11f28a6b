"""`results.html`: a study on one self-contained page that works offline, on a phone and in print."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nanochat.core.artifact import write_text
from nanochat.report import figures
from nanochat.report.frame import Frame


def write_page(frame: Frame, path: Path) -> None:
    """Render the study to `path`, atomically. Plotly lies in the page: nothing is fetched when it is opened."""
    environment = Environment(
        loader=PackageLoader("nanochat.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    slices = [(axis, figures.search_slice(frame, axis)) for axis in figures.searched(frame.runs)]
    page = environment.get_template("results.html.j2").render(
        frame=frame,
        style=Markup(resources.files("nanochat.report").joinpath("templates/style.css").read_text()),
        plotly=Markup(get_plotlyjs()),
        curves=_div(figures.learning_curves(frame)),
        scores=_div(figures.scores(frame)),
        slices=[(axis, _div(figure)) for axis, figure in slices],
    )
    write_text(path, page)


def _div(figure: go.Figure) -> Markup:
    """A figure as an element of the page."""
    config = {"responsive": True, "displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
