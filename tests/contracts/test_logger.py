"""Loggers: rows that survive being killed, and W&B offline, without an account and without a network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import options
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nanochat.core.compose import compose
from nanochat.core.errors import MachineError, SpecError
from nanochat.core.spec import load
from nanochat.logger.base import About, LoggerSpec
from nanochat.logger.csv import COLUMNS, CSVLogger, read
from nanochat.logger.tensorboard import TensorboardSpec
from nanochat.logger.wandb import WandbLogger, WandbSpec
from nanochat.run.spec import settings
from tests.runs import run_small

KEY = "0123456789abcdef"
NOBODY = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture(autouse=True)
def nobodys_wandb(tmp_path, monkeypatch):
    """No account, no settings, no server: whatever this machine has of them is out of sight."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY)
    (tmp_path / "home").mkdir()
    wandb.teardown()
    yield tmp_path / "home"
    wandb.teardown()


def row(step: int, **more: float) -> dict[str, float]:
    return {"step": step, "tokens": 256 * step, "train_loss": 1 / step, **more}


def rows_of(path: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["train_loss"]) for row in read(path)]


def write(path: Path, steps: range, *, after: int = 0) -> None:
    logger = CSVLogger(path, step=after)
    for step in steps:
        logger.log(row(step))
    logger.close()


@pytest.mark.parametrize("name", options.names("logger"))
def test_every_logger_leaves_metrics_csv(name, tmp_path):
    spec = load(compose([f"logger={name}"])["logger"], LoggerSpec)
    spec.check()
    logger = spec.open(tmp_path, key=KEY, step=0, config={"seed": 1}, about=None)
    logger.log(row(1, valid_bpb=2.5))
    logger.log(row(2))
    logger.close()
    found = read(tmp_path / "metrics.csv")
    assert [(row["step"], row["valid_bpb"]) for row in found] == [(1, 2.5), (2, None)]
    assert list(found[0]) == list(COLUMNS)


def test_numbers_are_read_as_they_were_written(tmp_path):
    loss = 0.1 + 0.2
    logger = CSVLogger(tmp_path / "a.csv", step=0)
    logger.log({"step": 1, "tokens": 2**40, "train_loss": loss, "z_router": 1e-30, "a_router": 2.0})
    logger.close()
    [found] = read(tmp_path / "a.csv")
    assert found["tokens"] == 2**40 and isinstance(found["tokens"], int)
    assert (found["train_loss"], found["z_router"]) == (loss, 1e-30)
    assert list(found)[-2:] == ["a_router", "z_router"]


def test_a_row_is_there_as_soon_as_it_is_logged(tmp_path):
    logger = CSVLogger(tmp_path / "a.csv", step=0)
    logger.log(row(1))
    assert rows_of(tmp_path / "a.csv") == [(1, 1.0)]
    logger.close()


@pytest.mark.parametrize("torn", ["", "7,17", "7,1792,,,,0.14\n8,20", "\n"])
def test_resuming_drops_later_rows_and_a_torn_last_line(tmp_path, torn):
    path = tmp_path / "a.csv"
    write(path, range(1, 7))
    with path.open("a") as file:
        file.write(torn)
    write(path, range(5, 9), after=4)
    assert rows_of(path) == [(step, 1 / step) for step in range(1, 9)]
    assert path.read_text().count("step") == 1


@pytest.mark.parametrize("text", ["", "step,tok", ",".join(COLUMNS) + "\n", ",".join(COLUMNS) + "\n1,25"])
def test_resuming_from_a_file_without_a_whole_row(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert read(path) == []
    write(path, range(5, 7), after=4)
    assert rows_of(path) == [(5, 1 / 5), (6, 1 / 6)]


def test_resuming_a_file_of_fewer_columns_adds_the_others(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,tokens,train_loss,router\n1,256,1.0,0.5\n")
    logger = CSVLogger(path, step=1)
    logger.log(row(2, router=0.25, logit_mean=3.0))
    logger.close()
    found = read(path)
    assert list(found[0]) == [*COLUMNS, "router"]
    assert [(r["step"], r["router"], r["logit_mean"]) for r in found] == [(1, 0.5, None), (2, 0.25, 3.0)]


def test_starting_anew_forgets_what_was_there(tmp_path):
    write(tmp_path / "a.csv", range(1, 7))
    write(tmp_path / "a.csv", range(1, 3))
    assert rows_of(tmp_path / "a.csv") == [(1, 1.0), (2, 0.5)]


def test_no_file_has_no_rows(tmp_path):
    assert read(tmp_path / "a.csv") == []


def test_a_place_that_cannot_be_written_is_said_plainly(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(MachineError, match="cannot be written"):
        CSVLogger(tmp_path / "taken" / "metrics.csv", step=0)


def test_wandb_offline_writes_a_run_whose_id_is_the_key(tmp_path, capfd):
    _, folder = run_small(tmp_path, "logger=wandb", "logger.project=tests", "stop.steps=2")
    [offline] = (folder.path / "wandb").glob("offline-run-*")
    assert offline.name.endswith(f"-{folder.key}")
    [record] = offline.glob("*.wandb")
    assert record.name == f"run-{folder.key}.wandb"
    content = record.read_bytes()
    for part in (b"tests", b"train_loss", b"valid_bpb", b"TransformerSpec"):
        assert part in content
    assert [row["step"] for row in read(folder.path / "metrics.csv")] == [1, 2]
    assert "wandb" not in "".join(capfd.readouterr())


def test_wandb_sorts_the_runs_of_a_study(tmp_path, capfd):
    spec = load(compose(["logger=wandb"])["logger"], LoggerSpec)
    about = About(study="attentions", arm="gqa " + "x" * 80, phase="confirm", number=3, seed=2)
    logger = spec.open(tmp_path, key=KEY, step=0, config={}, about=about)
    assert isinstance(logger, WandbLogger)
    found = (logger.run.group, logger.run.job_type, sorted(logger.run.tags))
    logger.log(row(1))
    logger.close()
    wandb.teardown()  # waits for the file
    assert found == ("attentions", "confirm", ["confirm", about.arm[:64]])
    content = next(tmp_path.glob("wandb/offline-run-*/*.wandb")).read_bytes()
    assert b"attentions" in content and b"confirm" in content
    assert capfd.readouterr() == ("", "")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_shows_the_rows_of_metrics_csv(tmp_path):
    _, folder = run_small(tmp_path, "logger=tensorboard")
    shown, rows = scalars(folder.path), read(folder.metrics_file)
    assert set(shown) == set(rows[0]) - {"step"}
    for name, points in shown.items():
        assert points == [(row["step"], pytest.approx(row[name])) for row in rows if row[name] is not None]


def test_tensorboard_shows_no_step_of_a_resumed_run_twice(tmp_path):
    """A killed writer, and rows after the checkpoint that are trained again."""
    spec = load(compose(["logger=tensorboard"])["logger"], LoggerSpec)
    for after, last, scale in ((0, 6, 1.0), (4, 7, 2.0), (0, 3, 3.0), (2, 5, 4.0)):
        logger = spec.open(tmp_path, key=KEY, step=after, config={}, about=None)
        for step in range(after + 1, last + 1):
            logger.log({"step": step, "tokens": 256 * step, "train_loss": scale})
        if after == 4:  # otherwise killed: nothing more is written
            logger.close()
            assert scalars(tmp_path)["train_loss"] == [(s, 1.0 if s <= 4 else 2.0) for s in range(1, 8)]
    assert scalars(tmp_path)["train_loss"] == [(1, 3.0), (2, 3.0), (3, 4.0), (4, 4.0), (5, 4.0)]


def test_without_tensorboard_it_is_refused_before_anything_is_spent(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError) as error:
        TensorboardSpec().check()
    assert "pip install 'nanochat[tensorboard]'" in str(error.value.under("logger"))


@pytest.mark.parametrize("name", [name for name in options.names("logger") if name != "csv"])
def test_the_logger_does_not_change_the_run(tmp_path, name):
    plain, _ = run_small(tmp_path / "csv", "stop.steps=2")
    logged, _ = run_small(tmp_path / name, "stop.steps=2", f"logger={name}")
    assert (logged["key"], logged["test"]) == (plain["key"], plain["test"])


def online(**changes) -> WandbSpec:
    return WandbSpec(**{"mode": "online", "project": "tests", "entity": None, "timeout": 2.0, **changes})


def test_wandb_online_without_an_account_is_refused_before_anything_is_spent(capfd):
    with pytest.raises(SpecError) as error:
        settings(compose(["logger=wandb", "logger.mode=online"]))
    assert str(error.value) == (
        "logger.mode=online: no W&B account is configured; run `wandb login`, or use logger.mode=offline"
    )
    assert capfd.readouterr() == ("", "")


def test_an_account_is_found_where_wandb_login_leaves_it(nobodys_wandb, monkeypatch, capfd):
    netrc = nobodys_wandb / "netrc"
    netrc.write_text(f"machine {NOBODY.removeprefix('http://')}\n  login user\n  password {'0' * 40}\n")
    netrc.chmod(0o600)
    online().check()
    netrc.unlink()
    wandb.teardown()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    online().check()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("key", ["0" * 40, "too-short"])
def test_wandb_online_without_a_network_or_a_good_key_ends_in_one_line(tmp_path, monkeypatch, key, capfd):
    monkeypatch.setenv("WANDB_API_KEY", key)
    spec = online()
    spec.check()
    with pytest.raises(MachineError, match=r"logger\.mode=online: W&B cannot be reached \(.+\); use") as error:
        spec.open(tmp_path, key=KEY, step=0, config=json.loads("{}"), about=None)
    assert len(str(error.value).splitlines()) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_timeout_is_positive():
    with pytest.raises(SpecError, match="timeout"):
        load({**compose(["logger=wandb"])["logger"], "timeout": 0}, LoggerSpec)
