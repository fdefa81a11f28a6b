"""The fingerprint of the code: blind to what is written for people, not to what is run."""

from __future__ import annotations

import json

import pytest

from nanochat.core import provenance

SOURCE = '''"""A module."""

def scale(x, factor=2):
    """Scales."""
    return x * factor  # twice


class Thing:
    """A thing."""

    size = 3
'''

SAME = [
    SOURCE.replace("# twice", "# two times as much"),
    SOURCE.replace('    """Scales."""\n', '    """Scales by a factor.\n\n    More words.\n    """\n'),
    SOURCE.replace('"""A module."""\n', "").replace('    """A thing."""\n', ""),
    SOURCE.replace("x * factor", "(x\n            * factor)").replace("\n\n\n", "\n\n\n\n\n"),
]

OTHER = [
    SOURCE.replace("factor=2", "factor=3"),
    SOURCE.replace("x * factor", "factor * x"),
    SOURCE.replace("size = 3", "size = 3.0"),
    SOURCE.replace("size = 3", 'size = "3"'),
    SOURCE.replace("def scale", "def scaled"),
    SOURCE + "scale(1)\n",
]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one fingerprinted and one other folder."""
    for folder in ("core", "report"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "part.py").write_text(SOURCE)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    provenance.code_fingerprint.cache_clear()
    yield tmp_path
    provenance.code_fingerprint.cache_clear()


def fingerprint() -> dict[str, str]:
    provenance.code_fingerprint.cache_clear()
    return dict(provenance.code_fingerprint())


@pytest.mark.parametrize("source", SAME)
def test_comments_docstrings_and_layout_are_not_code(package, source):
    before = fingerprint()
    assert source != SOURCE
    (package / "core" / "part.py").write_text(source)
    assert fingerprint() == before


@pytest.mark.parametrize("source", OTHER)
def test_code_is_code(package, source):
    before = fingerprint()
    (package / "core" / "part.py").write_text(source)
    provenance.code_fingerprint.cache_clear()
    assert provenance.changed_files(before) == ["core/part.py"]


def test_a_file_that_goes_is_seen_and_one_that_comes_changes_no_run(package):
    before = fingerprint()
    assert set(before) == {"core/part.py"}
    (package / "core" / "deeper").mkdir()
    (package / "core" / "deeper" / "more.py").write_text("x = 1\n")
    (package / "core" / "part.py").unlink()
    provenance.code_fingerprint.cache_clear()
    assert provenance.changed_files(before) == ["core/part.py"]


def test_what_only_chooses_and_shows_runs_is_left_out(package):
    before = fingerprint()
    (package / "report" / "part.py").write_text(OTHER[0])
    assert fingerprint() == before


def test_a_string_that_is_not_a_docstring_counts(package):
    path = package / "core" / "part.py"
    path.write_text('def f():\n    x = 1\n    """one"""\n    return x\n')
    before = fingerprint()
    path.write_text('def f():\n    x = 1\n    return """one"""\n')
    assert fingerprint() != before


# Packages that choose, judge and show runs, and change no number in one.
OUTSIDE = {"stats", "law", "check", "weights", "study", "sampler", "pruner", "report", "schedule", "task"}


def test_every_package_is_either_in_the_fingerprint_or_known_to_change_no_number():
    packages = {path.parent.name for path in provenance.PACKAGE.glob("*/__init__.py")}
    assert packages - set(provenance.FINGERPRINTED) <= OUTSIDE
    assert set(provenance.FINGERPRINTED) <= packages
    assert len(fingerprint()) > 50


def test_provenance_is_plain_data():
    found = provenance.provenance()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"] and found["machine"]["cores"] > 0


def test_outside_a_repository_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = provenance.provenance.__wrapped__()
    assert found["revision"] is None and found["local_changes"] is False


def test_the_command_is_kept_without_passwords() -> None:
    words = ["run.py", "study.storage=postgresql+psycopg://me:open-sesame@host:5432/db", "lr.peak=0.1", "-m"]
    kept = provenance.without_passwords(words)
    assert kept == ["run.py", "study.storage=postgresql+psycopg://me:***@host:5432/db", "lr.peak=0.1", "-m"]
    plain = ["study.storage=postgresql+psycopg://me@host/db", "data.url=https://host/a:b", "a:b@c"]
    assert provenance.without_passwords(plain) == plain
