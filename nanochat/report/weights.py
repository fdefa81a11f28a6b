"""The page of an examination of trained weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from nanochat.report.figures import COLOURS, DASHES, styled
from nanochat.report.page import div, render
from nanochat.weights.dead import FAINT
from nanochat.weights.findings import ENERGIES, TOLERANCE, Effect, Findings, MatrixFound, percent
from nanochat.weights.matrices import KINDS

POINTS = 48
"""Points of a drawn line: more cannot be told apart, and hundreds of lines share a page."""

LOWEST = 1e-6
"""Share of the largest value below which a logarithmic axis shows nothing: rounding lies there."""


def write_page(found: Findings, path: Path) -> None:
    """Render the examination to `path`, atomically, on one self-contained page."""
    effects = {
        "branches": effects_figure(found, "attention branch", "ffn branch"),
        "heads": effects_figure(found, "head"),
        "experts": effects_figure(found, "expert", "shared expert"),
    }
    render(
        "weights.html.j2",
        path,
        filters={"percent": lambda share: "–" if share is None else percent(share), "label": label},
        found=found,
        tolerance=f"{TOLERANCE:.0%}",
        energies=ENERGIES,
        faint=f"{FAINT:g}",
        effects={name: figure and div(figure) for name, figure in effects.items()},
        spectra=div(spectra(found)),
        ranks=div(ranks(found)),
        units=div(contributions(found)) if found.units else None,
        pruning=div(pruning(found)),
    )


def pruning(found: Findings) -> go.Figure:
    """Bits per byte against the share of weights removed, by magnitude and at random."""
    figure = go.Figure()
    for i, (rule, points) in enumerate(found.curves.items()):
        drawn = [(share, bpb) for share, bpb in points if math.isfinite(bpb)]
        figure.add_scatter(
            x=[100 * share for share, _ in drawn],
            y=[bpb for _, bpb in drawn],
            mode="lines+markers",
            name={"magnitude": "smallest first", "random": "at random"}[rule],
            line={"color": COLOURS[i], "width": 1.5, "dash": DASHES[i]},
            marker={"size": 5},
            hovertemplate="%{x:.3g}% removed<br>%{y:.4f} bpb<extra></extra>",
        )
    figure.add_hline(y=found.bpb * (1 + TOLERANCE), line={"color": "#888", "width": 1, "dash": "dot"})
    figure.update_xaxes(ticksuffix="%")
    return styled(figure, x="weights removed", y="bits per byte (valid)")


def effects_figure(found: Findings, *kinds: str) -> go.Figure | None:
    """What bits per byte rise by without each part of some kinds, block after block; None where there is none.

    Bars of a block stand side by side in the order of their numbers, ± two standard errors.
    """
    effects = [effect for effect in found.of_kind(*kinds) if math.isfinite(effect.rise)]
    if not effects:
        return None
    most = max(len([1 for each in effects if each.layer == layer]) for layer in {each.layer for each in effects})
    figure = go.Figure()
    for kind in kinds:
        own = [effect for effect in effects if effect.kind == kind]
        figure.add_bar(
            x=[_place(effect, effects, most=most) for effect in own],
            y=[100 * effect.rise / found.bpb for effect in own],
            error_y={
                "array": [200 * effect.error / found.bpb if math.isfinite(effect.error) else 0 for effect in own],
                "thickness": 1,
                "width": 2,
            },
            width=0.8 / most,
            name=kind.removesuffix(" branch"),
            text=[_told(effect) for effect in own],
            textposition="none",
            marker={"color": COLOURS[kinds.index(kind)], "line": {"width": 0}},
            hovertemplate="%{text}<br>%{y:+.2f}%<extra></extra>",
        )
    blocks = sorted({effect.layer for effect in effects})
    figure.update_xaxes(tickvals=blocks, ticktext=[str(layer) for layer in blocks])
    figure.update_yaxes(ticksuffix="%")
    figure.update_layout(showlegend=len({effect.kind for effect in effects}) > 1, barmode="overlay")
    return styled(figure, x="block", y="rise of bits per byte", height=320)


def _place(effect: Effect, effects: list[Effect], *, most: int) -> float:
    """Where its bar stands: around its block's number, in the order of the block's parts."""
    beside = [each for each in effects if each.layer == effect.layer]
    return effect.layer + (beside.index(effect) - (len(beside) - 1) / 2) * 0.86 / most


def _told(effect: Effect) -> str:
    routed = "" if effect.routed is None else f", {percent(effect.routed)} of choices"
    return effect.name + routed


def spectra(found: Findings) -> go.Figure:
    """Singular values over the largest against their place over the rank: a line a matrix."""
    figure = go.Figure()
    shown: set[str] = set()
    for matrix in found.matrices:
        values = matrix.trained.values
        if matrix.trained.zero:
            continue
        index = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).round().astype(int))
        y = values[index] / values[0]
        index, y = index[y > LOWEST], y[y > LOWEST]
        figure.add_scatter(
            x=np.round(index / max(1, len(values) - 1), 4).tolist(),
            y=[float(f"{value:.4g}") for value in y],
            mode="lines",
            name=matrix.kind,
            legendgroup=matrix.kind,
            showlegend=matrix.kind not in shown,
            line={"color": _colour(matrix), "width": 1.2, "dash": DASHES[(matrix.layer or 0) % len(DASHES)]},
            opacity=0.8,
            hovertemplate=f"{label(matrix)}<br>%{{y:.3g}} of the largest<extra></extra>",
        )
        shown.add(matrix.kind)
    figure.update_yaxes(type="log", dtick=1, exponentformat="power")
    return styled(figure, x="place, first to last", y="σ / largest σ", height=420)


def ranks(found: Findings) -> go.Figure:
    """Effective rank, as a share of the full one, trained against initial: a dot a matrix."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        line={"color": "#888", "width": 1, "dash": "dot"},
        showlegend=False,
        hoverinfo="skip",
    )
    for kind in KINDS:
        own = [matrix for matrix in found.matrices if matrix.kind == kind and not matrix.initial.zero]
        if not own:
            continue
        figure.add_scatter(
            x=[100 * matrix.initial.effective_rank / matrix.initial.full for matrix in own],
            y=[100 * matrix.trained.effective_rank / matrix.trained.full for matrix in own],
            mode="markers",
            name=kind,
            text=[label(matrix) for matrix in own],
            marker={"color": COLOURS[KINDS.index(kind)], "size": 8, "opacity": 0.75},
            hovertemplate="%{text}<br>%{x:.1f}% → %{y:.1f}%<extra></extra>",
        )
    figure.update_xaxes(ticksuffix="%", range=_range(found, "initial"))
    figure.update_yaxes(ticksuffix="%", range=_range(found, "trained"))
    return styled(figure, x="effective rank at the start", y="effective rank trained", height=420)


def _range(found: Findings, when: str) -> list[float]:
    """What an axis of ranks shows: all dots, with room around them."""
    shares = [
        100 * spectrum.effective_rank / spectrum.full
        for spectrum in (getattr(matrix, when) for matrix in found.matrices if not matrix.initial.zero)
    ] or [0.0, 100.0]
    room = max(2.0, 0.08 * (max(shares) - min(shares)))
    return [min(shares) - room, max(shares) + room]


def contributions(found: Findings) -> go.Figure:
    """What hidden units add, over the median unit, the largest first: a line an FFN or expert."""
    figure = go.Figure()
    for units in found.units:
        ordered = np.sort(units.contributions)[::-1]
        middle = float(np.median(ordered))
        if not middle:
            continue
        index = np.unique(np.linspace(0, len(ordered) - 1, min(POINTS, len(ordered))).round().astype(int))
        y = ordered[index] / middle
        figure.add_scatter(
            x=np.round(100 * index[y > 0] / max(1, len(ordered) - 1), 2).tolist(),
            y=[float(f"{value:.4g}") for value in y[y > 0]],
            mode="lines",
            name=f"block {units.layer}",
            legendgroup=f"block {units.layer}",
            showlegend=units.expert in (None, 0) and units.layer < len(COLOURS),
            line={
                "color": COLOURS[units.layer % len(COLOURS)],
                "width": 1.2,
                "dash": DASHES[units.layer // len(COLOURS) % len(DASHES)],
            },
            hovertemplate=f"{units.name}<br>%{{y:.3g}} of the median<extra></extra>",
        )
    figure.add_hline(y=FAINT, line={"color": "#888", "width": 1, "dash": "dot"})
    figure.update_xaxes(ticksuffix="%")
    figure.update_yaxes(type="log", dtick=1, exponentformat="power")
    return styled(figure, x="units, largest first", y="contribution / median", height=340)


def label(matrix: MatrixFound) -> str:
    """Its name with its shape."""
    return f"{matrix.label} {matrix.shape[0]}×{matrix.shape[1]}"


def _colour(matrix: MatrixFound) -> str:
    return COLOURS[KINDS.index(matrix.kind)]
