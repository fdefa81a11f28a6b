"""What a page shows of one law (`templates/law.html.j2`), and the page of a law alone; both from the record alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nanochat.report import law_words as words
from nanochat.report.law_choices import choices_figure, held_out_figure, influences_figure
from nanochat.report.law_figures import frontier_figure, isoflop_figure, residuals_figure
from nanochat.report.law_shapes import TITLES, shape_figure
from nanochat.report.page import div, render
from nanochat.report.provenance import made_by

Record = Mapping[str, Any]


def write_law_page(record: Record, path: Path) -> None:
    """Render the law of a table to `path`, atomically; its provenance says which table."""
    about = record["provenance"]
    name = Path(about["file"]).name
    render(
        "law_alone.html.j2",
        path,
        filters={"cell": _cell},
        name=name,
        verdict=list(_verdict(record)),
        findings=words.findings(record),
        frontier=div(frontier_figure({name: record})) if record["frontier"] else None,
        shown=shown(record),
        checklist=[*words.fitted(record), ("table", f"{about['file']}, sha256 {about['sha256']}"), *made_by(about)],
        columns=[key for key in record["rows"][0] if key != "level"],
        rows=record["rows"],
    )


def shown(record: Record, *, unit: str = "loss") -> dict[str, Any]:
    """Figures as elements, tables as rows of texts; None or empty where there is nothing to draw."""
    whole = [row for row in record["frontier"] if row["params"] is not None]
    told = {key for key, value in record["rows"][0].items() if value is not None}
    return {
        "numbers": words.numbers(record),
        "equation": record["form"]["equation"],
        "at": f"{record['at']:.3g}" if record["at"] else None,
        "certificate": words.certificate(record),
        "isoflop": div(isoflop_figure(record, unit=unit)) if "n" in told and "c" in told else None,
        "refusals": words.refusals(record),
        "shapes": [div(shape_figure(record, what)) for what in TITLES] if whole else [],
        "approaches": [_approach(each) for each in record["approaches"]],
        "disagreement": words.disagreement(record) if record["approaches"] else "",
        "bias": list(_bias(record)),
        "residuals": [div(residuals_figure(record, against)) for against in ("n", "d", "predicted") if against in told],
        "held_out": div(held_out_figure(record)) if record["held_out"] else None,
        "ahead": words.ahead(record),
        "choices": div(choices_figure(record)) if record["sensitivity"] else None,
        "sensitivity": [_choice(row) for row in record["sensitivity"]],
        "influences": div(influences_figure(record)) if record["influences"] else None,
    }


def _verdict(record: Record) -> Iterator[str]:
    if record["at"] is not None:
        of_compute_alone = set(record["answers"]) == {"loss"}
        yield words.loss_there(record) if of_compute_alone else words.answered("the model", record, unit="of loss")
    yield words.ahead(record)


def _cell(value: float | str | None) -> str:
    return value if isinstance(value, str) else words.number(value)


def _approach(each: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"{each['name']} ({each['method']})", *(words.with_span(each[key]) for key in ("a", "params", "tokens")))


def _choice(row: Mapping[str, Any]) -> tuple[str, ...]:
    parts = (words.number(row[key]) for key in ("a", "alpha", "beta", "E", "params", "loss"))
    return (row["choice"], *parts)


def _bias(record: Record) -> Iterator[str]:
    """What approach 2 gets wrong at these places without any noise."""
    for method, off in (record["bias"] or {}).items():
        if off["exponent"] is not None and off["tokens"] is not None:
            yield (
                f"On noise-free losses of the fit at these places {method} would be {off['exponent']:+.3f} off in a "
                f"and {off['tokens']:+.1%} in D*."
            )
