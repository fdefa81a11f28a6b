"""How documents are read from the text of a .txt, .jsonl or .csv file."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from nanochat.core.errors import SpecError, alternatives, nearest, spec_error

Layout = Literal["file", "line", "paragraph"]

# (text of the file, its path for messages, the chosen field, the chosen layout) -> (line it starts at, document);
# the line is 0 where the document is the whole file.
Reader = Callable[[str, str, "str | None", "Layout | None"], Iterator[tuple[int, str]]]


def read_txt(text: str, file: str, field: str | None, layout: Layout | None) -> Iterator[tuple[int, str]]:
    """The file, its lines or its paragraphs, without the line ends around them."""
    if field is not None:
        raise spec_error("field", field, f"a .txt file has no fields ({file})", "try field=null")
    if layout == "file":
        yield 0, text
        return
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if layout is None:
        layout = "paragraph" if any(not line.strip() for line in lines[:-1]) else "line"
    if layout == "line":
        yield from enumerate(lines, start=1)
        return
    start = 0
    for number, line in enumerate([*lines, ""]):
        if not line.strip():
            if number > start:
                yield start + 1, "\n".join(lines[start:number])
            start = number + 1


def read_jsonl(text: str, file: str, field: str | None, layout: Layout | None) -> Iterator[tuple[int, str]]:
    """The string under `field` in every line, each of which is a JSON object."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = _json_object(line, f"{file}:{number}")
        if field is None:
            field = _only_text_field([key for key, value in row.items() if isinstance(value, str)], list(row), file)
        if field not in row:
            raise _no_such_field(field, list(row), f"{file}:{number}")
        value = row[field]
        if not isinstance(value, str):
            rule = f"holds no text but {json.dumps(value)[:40]} ({file}:{number})"
            raise spec_error("field", field, rule, "choose another field, or remove that line")
        yield number, _well_formed(value, f"{file}:{number}")


def read_csv(text: str, file: str, field: str | None, layout: Layout | None) -> Iterator[tuple[int, str]]:
    """The column `field` of every row; the first row names the columns."""
    rows = _csv_rows(text, file)
    _, header = next(rows, (0, []))
    if field is None:
        field = _only_text_field(header, header, file)
    if field not in header:
        raise _no_such_field(field, header, file)
    column = header.index(field)
    for number, row in rows:
        if len(row) != len(header):
            rule = f"{file}:{number}: has {len(row)} cells, the first row has {len(header)}"
            raise spec_error("path", None, rule, "quote cells that hold commas")
        yield number, row[column]


READERS: dict[str, Reader] = {".txt": read_txt, ".jsonl": read_jsonl, ".csv": read_csv}


def _only_text_field(candidates: Sequence[str], fields: Sequence[str], file: str) -> str:
    """What `field=null` means: `text`, or the only candidate."""
    if "text" in candidates:
        return "text"
    if len(candidates) == 1:
        return candidates[0]
    rule = f"must say which field of {file} is the text"
    raise spec_error("field", None, rule, f"try {alternatives(candidates or fields)}")


def _no_such_field(field: str, fields: Sequence[str], where: str) -> SpecError:
    return spec_error("field", field, f"{where} has no such field", nearest(field, fields))


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise spec_error("path", None, f"{where}: is not JSON ({error.msg})", "mend or remove that line") from None
    if not isinstance(row, dict):
        raise spec_error("path", None, f"{where}: is not a JSON object", 'write {"text": …} on every line')
    return row


def _well_formed(text: str, where: str) -> str:
    """JSON may escape half of a surrogate pair, which is no character and has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        rule = f"{where}: holds half a surrogate pair at character {error.start}, which no text can"
        raise spec_error("path", None, rule, "mend or remove that line") from None
    return text


def _csv_rows(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """All rows with the line each ends at. The csv module's limit of 131,072 characters a cell is lifted meanwhile."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    limit = csv.field_size_limit(sys.maxsize)
    try:
        return iter([(reader.line_num, row) for row in reader if row])
    except csv.Error as error:
        rule = f"{file}:{reader.line_num}: is not CSV ({error})"
        raise spec_error("path", None, rule, "mend or remove that line") from None
    finally:
        csv.field_size_limit(limit)
