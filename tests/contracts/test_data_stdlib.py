"""The standard library as a corpus."""

from __future__ import annotations

import platform

import pytest

from nanochat.core.errors import MachineError
from nanochat.data import stdlib
from nanochat.data.stdlib import StdlibSpec

SPEC = StdlibSpec(valid=0.05, test=0.1, max_bytes=None)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small library in place of the real one."""
    for name, content in {
        "b.py": b"b = 1\n",
        "a/x.py": "x = 'ä'\n".encode(),
        "a/__init__.py": b"",
        "latin.py": b"# \xe9\n",
        "test/t.py": b"left out",
        "a/tests/t.py": b"left out",
        "site-packages/p.py": b"left out",
        "note.txt": b"left out",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setattr(stdlib, "library", lambda: tmp_path)
    return tmp_path


def test_the_real_one():
    documents = {document.name: document.text for document in SPEC.documents()}
    assert documents["json/__init__.py"].startswith('r"""JSON (JavaScript Object Notation)')
    assert 4e6 < sum(len(text) for text in documents.values()) < 40e6
    assert not any("site-packages" in name or "/test" in name for name in documents)
    assert platform.python_version() in SPEC.describe()


def test_one_document_per_file_by_name(library):
    expected = [("a/x.py", "x = 'ä'\n"), ("b.py", "b = 1\n")]
    assert [tuple(document) for document in SPEC.documents()] == expected


def test_max_bytes_keeps_whole_files():
    capped = list(SPEC.replace(max_bytes=300_000).documents())
    sizes = sum(len(document.text.encode()) for document in capped)
    assert 100_000 < sizes <= 300_000
    assert [document.name for document in capped] == sorted(document.name for document in capped)
    assert {document.name for document in SPEC.replace(max_bytes=200_000).documents()} < {d.name for d in capped}


def test_a_python_without_sources_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(stdlib, "library", lambda: tmp_path)
    with pytest.raises(MachineError, match="no source text"):
        list(SPEC.documents())
