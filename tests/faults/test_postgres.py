"""A study in PostgreSQL: the journal's table, shared by workers, and a server that goes and comes back."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from nanochat.core.errors import MachineError, SpecError
from nanochat.run import child
from nanochat.study import database
from nanochat.study.budget import Budget
from nanochat.study.lease import Leases
from nanochat.study.outage import Unreachable
from nanochat.study.store import Store
from nanochat.study.watch import Watch
from tests.faults.postgres import Server
from tests.study import targets
from tests.study.definitions import definition, deserved, plans
from tests.study.studies import lasting, open_small, run_study

pytestmark = pytest.mark.slow

TUNED = ("lr.peak=tag(log, interval(1e-3, 1e-1))", "seed=1,2", "study.trials=5", "study.lag=2", "sampler.startup=2")
REAL = (*TUNED, "stop.steps=80", "eval.evaluations=4", "pruner=median", "pruner.startup=1")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Not under pytest's own folder, which another user may not enter.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        server = Server(Path(name) / "server")
        server.start()
        yield server
        server.stop()


def test_the_table_is_that_of_a_journal(server: Server, tmp_path: Path) -> None:
    storage = f"study.storage={server.url}"
    rows = run_study(tmp_path / "database", *TUNED, storage, "study.name=a", target=targets.complete).rows
    assert lasting(list(rows)) == lasting(list(run_study(tmp_path / "journal", *TUNED, target=targets.complete).rows))
    again = run_study(tmp_path / "database", *TUNED, storage, "study.name=a", target=targets.refusing)
    assert again.again, "it is known by the database alone"
    with pytest.raises(SpecError, match="lie in a database; name it"):
        run_study(tmp_path / "database", *TUNED, "study.name=a", target=targets.complete)
    with pytest.raises(SpecError, match="the storage has one that another folder began"):
        run_study(tmp_path / "elsewhere", *TUNED, storage, "study.name=a", target=targets.complete)
    stored = (tmp_path / "database" / "multirun" / "studies" / "a" / "study.json").read_text()
    assert "secret" not in stored and "postgresql" not in stored


def test_a_server_that_goes_and_comes_back_costs_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Watch, "say", lambda self, text: said.append(text))

    def interrupt() -> None:
        runs = tmp_path / "rough" / "multirun" / "runs"
        while not list(runs.glob("*/metrics.csv")):
            time.sleep(0.05)
        server.stop()
        time.sleep(4.0)
        server.start()

    plug = threading.Thread(target=interrupt)
    plug.start()
    storage = f"study.storage={server.url}"
    rough = run_study(tmp_path / "rough", *REAL, storage, "study.name=b", target=child.main)
    plug.join()
    calm = run_study(tmp_path / "calm", *REAL, target=child.main)
    assert rough.complete and lasting(list(rough.rows)) == lasting(list(calm.rows))
    assert any("does not answer" in text and "runs go on" in text for text in said)
    assert "the storage answers again" in said
    assert not any("secret" in text for text in said)


def test_one_that_refuses_or_never_answers_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        for sock in (silent, closed):
            url = f"postgresql+psycopg://me:secret@127.0.0.1:{sock.getsockname()[1]}/postgres"
            with pytest.raises(MachineError) as error:
                run_study(tmp_path, *TUNED, f"study.storage={url}", "study.name=c", target=targets.complete)
            text = str(error.value)
            assert text.startswith("study.storage=postgresql+psycopg://me:***@127.0.0.1") and "does not answer" in text
            assert "\n" not in text and "secret" not in text
    assert run_study(tmp_path, *TUNED, "study.name=c", target=targets.complete).complete, "nothing had begun there"


def test_a_claim_whose_answer_was_lost_is_made_again(server: Server, tmp_path: Path) -> None:
    """The server takes a new trial, and is gone before the worker hears of it."""
    leases = Leases(tmp_path / "workers", seconds=60.0)
    with leases.held():
        store = Store(tmp_path, definition(), leases=leases, plans=plans(definition()), url=server.url)
        store.grow(Budget(2))
        optuna = store.storage.optuna
        create = optuna.create_new_trial

        def create_and_go(*args: Any, **named: Any) -> int:
            made = create(*args, **named)
            server.stop()
            return made

        optuna.create_new_trial = create_and_go
        with pytest.raises(Unreachable):
            store.claim()
        optuna.create_new_trial = create
        server.start()
        seen = []
        while not store.done():
            trial = store.claim()
            assert trial is not None, "nobody works on it, and nobody can have it"
            seen.append(trial.label)
            result, values = deserved(trial)
            assert store.tell(trial, result, values=values)
    assert len(seen) == len(set(seen)) == store.total()


@pytest.mark.parametrize("url", ["sqlite:///study.db", "nonsense", "mysql://u:secret@h/d"])
def test_a_storage_that_cannot_be_shared_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SpecError, match="is no storage that serves several workers") as error:
        open_small(tmp_path, *TUNED, f"study.storage={url}")
    assert "secret" not in str(error.value)


def test_two_workers_share_it(server: Server, tmp_path: Path) -> None:
    words = (*TUNED, f"study.storage={server.url}", "study.name=d")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_work, [tmp_path] * 2, [words] * 2)) == [True, True]
    rows = run_study(tmp_path, *words, target=targets.refusing).rows
    assert len(rows) == 5 + 2, "the budget is never exceeded"
    begun = [int(path.read_text()) for path in (tmp_path / "multirun").glob("begun-*")]
    assert set(begun) == {1}, "no trial was run twice"
    alone = run_study(tmp_path / "alone", *TUNED, target=targets.complete).rows
    assert lasting(list(rows)) == lasting(list(alone))


def _work(folder: Path, words: tuple[str, ...]) -> bool:
    return run_study(folder, *words, target=targets.complete).complete
