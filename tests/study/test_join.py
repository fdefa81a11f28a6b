"""Who may work on a study together: same code, same texts, same search while somebody is at it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.core.artifact import read_json, write_json
from nanochat.core.errors import SpecError
from nanochat.study.definition import FILE
from nanochat.study.join import CODE
from nanochat.study.lease import Leases
from tests.study import targets
from tests.study.studies import open_small, run_study

STUDY = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=2", "study.name=one")


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """A study of which other code did the first half."""
    folder = run_study(tmp_path, *STUDY, target=targets.complete).study.folder
    code = read_json(folder / CODE)
    write_json(folder / CODE, {**code, "ffn/swiglu.py": "0" * 16, "gone.py": "1" * 16})
    return tmp_path


def test_other_code_is_refused_naming_the_files(other_code: Path) -> None:
    run_study(other_code, *STUDY, target=targets.refusing)  # complete: nothing to run, nothing to refuse
    with pytest.raises(SpecError, match=r"begun by other code: ffn/swiglu\.py, gone\.py") as error:
        run_study(other_code, *STUDY, "study.extend=1", target=targets.refusing)
    assert "code=accept" in str(error.value) and "code=rerun" in str(error.value)


def test_other_code_goes_on_by_the_users_word(other_code: Path) -> None:
    rows = run_study(other_code, *STUDY, "study.extend=1", "code=accept", target=targets.complete).rows
    assert len(rows) == 3 + 2


def test_other_code_begins_a_new_round_by_the_users_word(other_code: Path) -> None:
    before = sorted((other_code / "multirun").glob("begun-*"))
    outcome = run_study(other_code, *STUDY, "study.extend=1", "code=rerun", target=targets.complete)
    assert outcome.complete and outcome.study.definition.round == 1 and len(outcome.rows) == 3 + 2
    counts = [int(path.read_text()) for path in before]
    assert max(counts) == 2, "what had run is run again"
    assert run_study(other_code, *STUDY, target=targets.refusing).again


def test_other_code_is_refused_while_a_worker_is_at_it_whatever_the_word(other_code: Path) -> None:
    folder = open_small(other_code, *STUDY).folder
    other = Leases(folder / "workers", seconds=60.0)
    with other.held(), pytest.raises(SpecError, match="works on it now") as error:
        run_study(other_code, *STUDY, "study.extend=1", "code=rerun", target=targets.complete)
    assert other.owner in str(error.value)


def test_other_texts_are_refused_naming_them(tmp_path: Path) -> None:
    folder = run_study(tmp_path, *STUDY, target=targets.complete).study.folder
    stored = read_json(folder / FILE)
    (arm,) = stored["runs"]
    stored["runs"][arm]["texts"] = "0" * 16
    write_json(folder / FILE, stored)
    with pytest.raises(SpecError, match=r"is another study already[\s\S]*texts: there 0000000000000000, here "):
        open_small(tmp_path, *STUDY)
