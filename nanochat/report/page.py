"""Pages: self-contained HTML files that work offline, on a phone and in print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nanochat.core.artifact import write_text
from nanochat.core.spec import hash_of


def render(
    template: str, path: Path, *, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any
) -> None:
    """Write a page atomically. `template` extends `base.html.j2`: Plotly lies in the page, so nothing is fetched when
    it is opened, and under every figure (`div`) a link gives its data as CSV."""
    templates = environment()
    templates.filters.update(filters or {})
    shared = {"style": _text("style.css"), "script": _text("page.js"), "plotly": Markup(get_plotlyjs())}
    write_text(path, templates.get_template(template).render(**shared, **values))


def environment() -> Environment:
    """Where templates lie, and how they are read."""
    return Environment(
        loader=PackageLoader("nanochat.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def div(figure: go.Figure) -> Markup:
    """A figure as an element of the page."""
    # No bar of buttons: on a phone it covers the legend. Dragging zooms, a double click goes back.
    config = {"responsive": True, "displayModeBar": False}
    # Named by what it shows: Plotly's own names are drawn anew each time, and no page would be made again as it was.
    name = f"figure-{hash_of(figure.to_json())}"
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config, div_id=name))


def _text(name: str) -> Markup:
    return Markup(resources.files("nanochat.report").joinpath(f"templates/{name}").read_text())
