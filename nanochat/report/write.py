"""Everything that follows from a study's files in the notebook, written beside them."""

from __future__ import annotations

from pathlib import Path

from nanochat.core.artifact import read_json, write_json, write_text
from nanochat.report import law_words, scaling_words, words
from nanochat.report.analysis import Analysis
from nanochat.report.frame import number_text, param_text, read_frame
from nanochat.report.notebook import LAW, PAGE, PICTURE, README, VERDICTS
from nanochat.report.page import environment
from nanochat.report.picture import write_picture
from nanochat.report.provenance import command, sources
from nanochat.report.scaling import SCHEMA as LAW_SCHEMA
from nanochat.report.scaling import Scaling
from nanochat.report.scaling_page import write_scaling_page
from nanochat.report.scaling_picture import write_scaling_picture
from nanochat.report.study_page import write_page
from nanochat.report.verdicts import SCHEMA, verdicts


def write_report(folder: Path) -> Analysis | Scaling:
    """`report.html`, `README.md`, its picture, and `verdicts.json` or `law.json`, from the other files in `folder`, and
    the index of the notebook that it lies in."""
    frame = read_frame(folder)
    found = Analysis(frame) if frame.definition.design is None else Scaling(frame)
    if isinstance(found, Scaling):
        _write_scaling(found, folder)
    else:
        _write_comparison(found, folder)
    write_index(folder.parent)
    return found


def _write_comparison(analysis: Analysis, folder: Path) -> None:
    write_json(folder / VERDICTS, verdicts(analysis))
    pictured = write_picture(analysis, folder / PICTURE)
    write_text(folder / README, _text("readme.md.j2", analysis=analysis, picture=PICTURE if pictured else None))
    write_page(analysis, folder / PAGE)


def _write_scaling(scaling: Scaling, folder: Path) -> None:
    asked = {"question": scaling_words.question(scaling), "verdict": scaling_words.verdict(scaling)}
    write_json(folder / LAW, {**scaling.data(), **asked})
    pictured = write_scaling_picture(scaling, folder / PICTURE)
    write_text(folder / README, _text("scaling.md.j2", scaling=scaling, picture=PICTURE if pictured else None))
    write_scaling_page(scaling, folder / PAGE)


def write_index(notebook: Path) -> None:
    """`README.md` of the notebook: every study with its question and its verdict."""
    found = []
    paths = [path for name in (VERDICTS, LAW) for path in notebook.glob(f"*/{name}")]
    for path in sorted(paths):
        data = read_json(path)
        if data.get("schema") == (SCHEMA if path.name == VERDICTS else LAW_SCHEMA):
            found.append({"folder": path.parent.name, **data})
    write_text(notebook / README, _text("index.md.j2", studies=found))


def _text(template: str, **values: object) -> str:
    templates = environment()
    templates.autoescape = False  # Markdown
    templates.filters.update(number=number_text, param=param_text, difference=words.difference_text)
    shared = {
        "words": words,
        "scaling_words": scaling_words,
        "law_words": law_words,
        "command": command,
        "sources": sources,
    }
    return templates.get_template(template).render(**shared, **values)
