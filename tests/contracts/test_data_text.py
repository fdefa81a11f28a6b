"""Texts of one's own: what is read from each kind of file, and what is said about bad ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from shared_texts import shared_text

from nanochat.core.errors import SpecError
from nanochat.data.corpus import prepare
from nanochat.data.text import TextSpec
from nanochat.tokenizer.byte import ByteSpec


def text(path: Path | str | None, **changes) -> TextSpec:
    fields = {"path": None if path is None else str(path), "field": None, "document": None, "valid": 0.1, "test": 0.1}
    return TextSpec(**{**fields, **changes})


def read(path: Path | str, **changes) -> dict[str, str]:
    documents = list(text(path, **changes).documents())
    assert len({document.name for document in documents}) == len(documents)
    return {document.name: document.text for document in documents}


def refused(path: Path | str | None, match: str, **changes) -> SpecError:
    with pytest.raises(SpecError, match=match) as caught:
        list(text(path, **changes).documents())
    return caught.value


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


class TestTxt:
    def test_lines(self, file):
        path = file("a.txt", "one\r\n\ntwo\u2028still two\n  \nthree")
        expected = {"a.txt:1": "one", "a.txt:3": "two\u2028still two", "a.txt:5": "three"}
        assert read(path, document="line") == expected

    def test_paragraphs(self, file):
        path = file("a.txt", "\n\nA:\n  hello\n \nB:\r\nbye\r\n\r\n\n\nC")
        assert read(path, document="paragraph") == {"a.txt:3": "A:\n  hello", "a.txt:6": "B:\nbye", "a.txt:11": "C"}

    def test_the_file_itself_is_left_as_it_is(self, file):
        assert read(file("a.txt", "\ufeff one\r\n\r\ntwo\n"), document="file") == {"a.txt": " one\r\n\r\ntwo\n"}

    def test_null_is_paragraphs_where_there_are_any(self, file):
        assert list(read(file("a.txt", "one\ntwo\n\nthree\n")).values()) == ["one\ntwo", "three"]

    def test_null_is_lines_where_there_are_no_paragraphs(self, file):
        assert list(read(file("a.txt", "one\ntwo\nthree\n")).values()) == ["one", "two", "three"]

    def test_null_is_files_where_there_are_several(self, file, tmp_path):
        file("b/b.txt", "1\n\n2")
        file("a.txt", "3\n4")
        file(".hidden.txt", "5")
        assert read(tmp_path) == {"a.txt": "3\n4", "b/b.txt": "1\n\n2"}

    def test_has_no_fields(self, file):
        refused(file("a.txt", "x"), "field=title: a .txt file has no fields", field="title")


class TestJsonl:
    ROWS = ({"id": "1", "text": "one"}, {"id": "2", "text": "two \U0001f642"})

    def lines(self, *rows) -> str:
        return "\n".join(json.dumps(row) for row in rows) + "\n"

    def test_text_is_taken_unasked(self, file):
        assert list(read(file("a.jsonl", self.lines(*self.ROWS))).values()) == ["one", "two 🙂"]

    def test_a_named_field(self, file):
        assert list(read(file("a.jsonl", self.lines(*self.ROWS)), field="id").values()) == ["1", "2"]

    def test_the_only_text_field(self, file):
        assert list(read(file("a.jsonl", self.lines({"n": 1, "body": "x"}))).values()) == ["x"]

    def test_several_fields_must_be_told_apart(self, file):
        path = file("a.jsonl", self.lines({"question": "q", "answer": "a", "n": 1}))
        refused(path, "field: must say which field.*try question or answer")

    def test_a_field_that_is_not_there(self, file):
        refused(file("a.jsonl", self.lines(*self.ROWS)), "did you mean 'text'", field="txt")
        path = file("b.jsonl", self.lines({"text": "x"}, {"txet": "y"}))
        refused(path, r"field=text: .*b\.jsonl:2 has no such field")

    def test_a_field_without_text(self, file):
        refused(file("a.jsonl", self.lines({"text": "x"}, {"text": None})), r"holds no text but null.*a\.jsonl:2")

    @pytest.mark.parametrize(("line", "rule"), [("{", "is not JSON"), ("[1]", "is not a JSON object")])
    def test_a_broken_line(self, file, line, rule):
        refused(file("a.jsonl", '{"text": "x"}\n' + line), rf"a\.jsonl:2: {rule}")

    def test_half_a_surrogate_pair(self, file):
        refused(file("a.jsonl", '{"text": "x\\ud800"}'), "half a surrogate pair at character 1")


class TestCsv:
    def test_cells_may_hold_anything(self, file, tmp_path):
        path, cells = tmp_path / "a.csv", ['a "quoted"\r\ncell, long', "x" * 200_000, "last"]
        with path.open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([["id", "text"], *([i, cell] for i, cell in enumerate(cells))])
        before = csv.field_size_limit()
        assert list(read(path).values()) == cells
        assert csv.field_size_limit() == before

    def test_a_column_must_be_named(self, file):
        path = file("a.csv", "id,title\n1,x\n")
        refused(path, "try id or title")
        refused(path, "field=titel.*did you mean 'title'", field="titel")
        assert list(read(path, field="title").values()) == ["x"]

    def test_a_row_of_another_length(self, file):
        refused(file("a.csv", "id,text\n1,a,b\n"), r"a\.csv:2: has 3 cells, the first row has 2")

    def test_broken_quotes(self, file):
        refused(file("a.csv", 'text\n"a" b\n'), r"a\.csv:2: is not CSV")


class TestBadInput:
    def test_no_path(self):
        refused(None, "path: is missing; give a")

    def test_missing_names_what_is_near(self, file, tmp_path):
        file("titles.txt", "x")
        refused(tmp_path / "title.txt", "no such file or folder; did you mean '.*titles.txt'")
        refused(tmp_path / "no" / "where" / "x.txt", "holds titles.txt")

    def test_a_pattern_that_matches_nothing(self, file, tmp_path):
        file("a.txt", "x")
        refused(tmp_path / "*.csv", "matches no file")

    @pytest.mark.parametrize("content", ["", "\n \n"])
    def test_empty(self, file, content):
        refused(file("a.txt", content), r"path=.*a\.txt: holds no text")

    def test_binary(self, file):
        refused(file("a.txt", b"text\0text"), r"path=.*a\.txt: is not text: byte 4 is NUL")
        refused(file("b.txt", "ä".encode() + b"\xff"), r"path=.*b\.txt: is not UTF-8 text: byte 2 is 0xff")

    def test_unknown_extension(self, file, tmp_path):
        path = file("a.parquet", "x")
        refused(path, "must end in .txt, .jsonl or .csv")
        refused(tmp_path, "holds no .txt, .jsonl or .csv file; it holds .parquet")


def test_patterns_and_home(file, tmp_path, monkeypatch):
    file("x/a.txt", "1")
    file("y/b.txt", "2")
    file("y/c.jsonl", '{"text": "3"}')
    assert read(tmp_path / "*" / "*.txt") == {"x/a.txt": "1", "y/b.txt": "2"}
    assert read(tmp_path / "**" / "*.jsonl") == {"y/c.jsonl:1": "3"}
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/x") == {"a.txt:1": "1"}


def test_the_fingerprint_is_of_the_texts(file, tmp_path):
    """Not of names and places; and it follows a change of contents."""
    cache = tmp_path / "cache"
    one = text(file("one/a.txt", "x\ny"), document="line").fingerprint(cache)
    two = text(file("two/b.jsonl", '{"text": "x"}\n{"text": "y"}')).fingerprint(cache)
    assert one == two
    assert text(file("one/a.txt", "x\nyy"), document="line").fingerprint(cache) != one
    assert text(file("one/a.txt", "y\nx"), document="line").fingerprint(cache) != one


def test_the_fingerprint_is_remembered(file, tmp_path, monkeypatch):
    spec = text(file("a.txt", "x\ny"))
    first = spec.contents(tmp_path / "cache")
    monkeypatch.setattr(TextSpec, "documents", lambda self: pytest.fail("read again"))
    assert spec.contents(tmp_path / "cache") == first


@pytest.mark.parametrize(("name", "documents"), [("tinyshakespeare/input.txt", 7222), ("hn_titles/titles.txt", 20_100)])
def test_real_texts_need_no_more_than_a_path(name, documents, tmp_path):
    spec = text(shared_text(name), valid=0.05, test=0.1)
    corpus = prepare(spec, ByteSpec(), cache=tmp_path, context=256)
    assert corpus.train.documents + corpus.valid.documents + corpus.test.documents == documents
    assert 0.08 < corpus.test.bytes / sum(corpus.split_bytes.values()) < 0.12
