"""Everything that follows from a study's files in the notebook, written beside them."""

from __future__ import annotations

from pathlib import Path

from nanochat.core.artifact import read_json, write_json, write_text
from nanochat.report import words
from nanochat.report.analysis import Analysis
from nanochat.report.frame import number_text, param_text, read_frame
from nanochat.report.notebook import PAGE, PICTURE, README, VERDICTS
from nanochat.report.page import environment
from nanochat.report.picture import write_picture
from nanochat.report.provenance import command, sources
from nanochat.report.study_page import write_page
from nanochat.report.verdicts import SCHEMA, verdicts


def write_report(folder: Path) -> Analysis:
    """`report.html`, `README.md`, its picture and `verdicts.json` from the other files in `folder`, and the index of
    the notebook that it lies in."""
    analysis = Analysis(read_frame(folder))
    write_json(folder / VERDICTS, verdicts(analysis))
    pictured = write_picture(analysis, folder / PICTURE)
    write_text(folder / README, _text("readme.md.j2", analysis=analysis, picture=PICTURE if pictured else None))
    write_page(analysis, folder / PAGE)
    write_index(folder.parent)
    return analysis


def write_index(notebook: Path) -> None:
    """`README.md` of the notebook: every study with its question and its verdict."""
    found = []
    for path in sorted(notebook.glob(f"*/{VERDICTS}")):
        data = read_json(path)
        if data.get("schema") == SCHEMA:
            found.append({"folder": path.parent.name, **data})
    write_text(notebook / README, _text("index.md.j2", studies=found))


def _text(template: str, **values: object) -> str:
    templates = environment()
    templates.autoescape = False  # Markdown
    templates.filters.update(number=number_text, param=param_text, difference=words.difference_text)
    shared = {"words": words, "command": command, "sources": sources}
    return templates.get_template(template).render(**shared, **values)
