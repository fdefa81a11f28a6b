"""The program as people use it: `python run.py`, told to stop, killed, continued, and given bad input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanochat.core.compose import CONF
from nanochat.logger.csv import read
from nanochat.run.__main__ import main as run_stored
from nanochat.run.terminal import Terminal
from tests.e2e.conftest import Said
from tests.runs import SMALL

REPOSITORY = CONF.parent

# Long enough to be met in the middle; what the last part of it takes is a few seconds.
LONG = (*SMALL, "stop.steps=600", "eval.evaluations=1", "batch.tokens=128", "checkpoint=0.2")


def only_run(multirun: Path) -> Path:
    [folder] = (multirun / "runs").iterdir()
    return folder


def test_train_again_sample_and_plan(program, tmp_path):
    planned = program("task=plan")
    assert planned.code == 0
    assert "training FLOPs" in planned.out and "not begun" in planned.out
    assert max(map(len, planned.out.splitlines())) <= 80

    sampled = program("task=sample")
    assert sampled.code == 2
    assert "is no complete run here; train it first" in sampled.err

    first = program()
    folder = only_run(tmp_path / "multirun")
    result = json.loads((folder / "result.json").read_text())
    assert first.code == 0
    assert f"run {folder.name} is complete" in first.out
    assert f"{result['test']['bpb']:.4f}" in first.out and str(folder) in first.out

    again = program()
    assert again.code == 0
    assert "was complete already" in again.out
    assert again.out.replace("was complete already", "is complete") == first.out

    texts = [program("task=sample", "task.prompt=ab", "task.tokens=20", f"task.seed={seed}") for seed in (1, 1, 2)]
    assert all(said.code == 0 and said.out.startswith("ab") for said in texts)
    assert texts[0].out == texts[1].out != texts[2].out
    by_key = program(
        "seed=99", "task=sample", "task.prompt=ab", "task.tokens=20", "task.seed=1", f"task.run={folder.name}"
    )
    assert by_key.out == texts[0].out

    assert f"run {folder.name}: complete" in program("task=plan").out
    assert only_run(tmp_path / "multirun") == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["multirun"]


def checkpoints(multirun: Path) -> set[int]:
    """When the checkpoint of the only run was written: a new element for every new one."""
    return {path.stat().st_mtime_ns for path in multirun.glob("runs/*/state.ckpt")}


def await_checkpoint(multirun: Path, alive: Callable[[], bool], *, before: set[int]) -> None:
    while checkpoints(multirun) <= before:
        assert alive(), "ended without a checkpoint"
        time.sleep(0.01)


def signalled(number: signal.Signals, *words: str, multirun: Path) -> Said:
    """`python run.py WORDS` in a process of its own, sent a signal once it has trained up to a new checkpoint."""
    before = checkpoints(multirun)
    process = subprocess.Popen(
        [sys.executable, "run.py", *words, f"paths.multirun={multirun}"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        await_checkpoint(multirun, lambda: process.poll() is None, before=before)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    return Said(process.returncode, out, err)


@contextlib.contextmanager
def sigterm_while_training(multirun: Path) -> Iterator[None]:
    """Send SIGTERM to this process once the run that it trains has written a new checkpoint."""
    before, ended = checkpoints(multirun), threading.Event()

    def send() -> None:
        await_checkpoint(multirun, lambda: not ended.is_set(), before=before)
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def starts(folder: Path) -> list[int]:
    """The steps from which the processes that trained a run began, from its log."""
    words = [line.partition("training from step ")[2].split() for line in (folder / "log.txt").read_text().splitlines()]
    return [int(found[0]) for found in words if found]


@pytest.mark.slow
def test_a_run_that_is_interrupted_and_killed_ends_as_if_it_had_not_been(program, tmp_path, capsys):
    """Ctrl-C, kill -9 and SIGTERM in turn, each time continued; all of it tells in no digit of the result."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    said = signalled(signal.SIGINT, *LONG, multirun=parts)
    folder = only_run(parts)
    stopped = json.loads((folder / "result.json").read_text())
    assert stopped["status"] == "stopped"
    assert said.code == 130
    assert f"stopped at {stopped['tokens']:,} tokens; the same command continues" in said.out
    assert "Traceback" not in said.err and "stopping after a checkpoint" in said.err

    assert signalled(signal.SIGKILL, *LONG, multirun=parts).code == -signal.SIGKILL
    assert not (folder / "result.json").exists()

    stored = [str(folder / "run.json"), f"paths.multirun={parts}", "checkpoint=0.2"]
    with sigterm_while_training(parts):
        assert run_stored(stored) == 130
    assert f"{folder.name}: stopped at" in capsys.readouterr().out
    assert run_stored(stored) == 0
    assert capsys.readouterr().out == f"{folder.name}: complete\n"
    steps = starts(folder)
    assert len(steps) == 4 and steps[0] == 0 and steps == sorted(set(steps)), steps

    assert program(*LONG, multirun=whole).code == 0
    assert only_run(whole).name == folder.name
    expected, found = (json.loads((only_run(path) / "result.json").read_text()) for path in (whole, parts))
    assert (found["test"], found["valid"]) == (expected["test"], expected["valid"])
    rows = [
        [(row["step"], row["train_loss"]) for row in read(only_run(path) / "metrics.csv")] for path in (whole, parts)
    ]
    assert rows[0] == rows[1]


def test_the_second_request_to_stop_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Terminal() as control:
        signal.raise_signal(signal.SIGINT)
        assert control.stop_requested()
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_before_training_is_said_in_a_line(program, monkeypatch):
    def interrupted(config, words):
        raise KeyboardInterrupt

    monkeypatch.setattr("nanochat.task.base.perform", interrupted)
    assert program() == (130, "", "interrupted; the same command continues\n")


# As SMALL, on a file of one's own; two fifths of its documents are held out.
TEXT = (
    *[word for word in SMALL if not word.startswith("data")],
    "data=text",
    "data.valid=0.2",
    "data.test=0.2",
    "context=4096",
    "batch.tokens=4096",
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["attention=gqaa"], "attention=gqaa: no such option; did you mean 'gqa'?"),
        (["attention.kv_head=2"], "attention.kv_head: no such key; did you mean 'attention.kv_heads'?"),
        (["attention.kv_heads=3"], "attention.kv_heads=3: must divide heads=4; try 1, 2 or 4"),
        (
            ["attention=sparse", "attention.local_attn_ctx=64"],
            "attention.local_attn_ctx=64: must be at most context=32",
        ),
        (["attention=sparse", "attention.blocksize=5"], "attention.blocksize=5: must divide context=32"),
        (["stop.tokens=100"], "exactly one of stop.tokens and stop.steps ends a run; both are given"),
        (["model.dim=wide", "lr.peak=-1"], "lr.peak=-1: must be greater than 0"),
        (["seed=1,2"], "seed=1,2: one run takes one value; add -m to make it a study"),
        (["lr=3"], "lr=3: is no name of an option"),
        (["~task"], "task._target_: is missing"),
        (["+sed=1"], "sed: no such key; known at the top level: attention"),
        (["seed=1.5", "code=perhaps"], "code=perhaps: must be 'refuse', 'accept' or 'rerun'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_in_a_few_plain_lines(program, tmp_path, words, said):
    found = program(*words)
    assert found.code == 2
    assert said in found.err
    if not words[0].startswith("--"):
        assert len(found.err.splitlines()) <= 3 and found.out == ""
    assert "Traceback" not in found.err
    assert not (tmp_path / "multirun").exists()


def test_all_that_is_wrong_is_said_at_once(program):
    found = program("model.dim=wide", "lr.peak=-1", "code=perhaps", "+task.x=1")
    assert [line.partition("=")[0].partition(":")[0] for line in found.err.splitlines()] == [
        "model.dim",
        "lr.peak",
        "code",
        "task.x",
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (None, b"", "data.path: is missing; give a .txt, .jsonl or .csv file"),
        ("book.tx", b"", "there is no such file or folder; did you mean"),
        ("book.txt", b"", "holds no text"),
        ("book.txt", b"\n \n", "holds no text"),
        ("book.txt", b"PK\x03\x04\0\0", "is not text: byte 4 is NUL"),
        ("book.txt", b"caf\xe9 " * 100, "is not UTF-8 text: byte 3 is 0xe9"),
        ("book.txt", b"one line\n", "the only document does not fall into this split"),
        ("book.txt", b"".join(b"line %d\n" % i for i in range(60)), "one sequence of context=4096 needs more"),
    ],
)
def test_bad_texts_are_refused_in_a_few_plain_lines(program, tmp_path, name, content, said):
    (tmp_path / "book.txt").write_bytes(content)
    words = [f"data.path={name}"] if name else []
    found = program(*words, base=TEXT)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.splitlines()) <= 3 and found.out == ""
    assert not list((tmp_path / "multirun").glob("runs/*/result.json"))


def test_a_damaged_corpus_is_the_machines_failure(program, tmp_path):
    assert program().code == 0
    [tokens] = (tmp_path / "multirun" / "cache").glob("*/train/tokens.bin")
    damaged = bytearray(tokens.read_bytes())
    damaged[100] ^= 1
    tokens.write_bytes(damaged)
    found = program("seed=2")
    assert found.code == 1
    assert "is not what was written" in found.out + found.err and "have the corpus made again" in found.out + found.err
    assert "Traceback" not in found.out + found.err
    assert program().code == 0  # the finished run stands


def test_a_folder_that_cannot_be_written_is_the_machines_failure(program, tmp_path):
    (tmp_path / "taken").write_text("a file")
    found = program(multirun=tmp_path / "taken")
    assert found.code == 1
    assert "cannot be written" in found.err
    assert len(found.err.splitlines()) == 1 and found.out == ""


def test_a_stored_run_that_is_not_there_is_refused(tmp_path, capsys):
    assert run_stored([]) == 2
    assert run_stored([str(tmp_path / "run.json")]) == 2
    (tmp_path / "run.json").write_text('{"run": ')
    assert run_stored([str(tmp_path / "run.json")]) == 1
    (tmp_path / "run.json").write_text('{"run": {"seed": "one"}}')
    assert run_stored([str(tmp_path / "run.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["usage", "usage"]
    assert "is damaged" in lines[2] and "seed=one: must be a valid integer" in lines


def test_the_program_itself_says_bad_input_plainly():
    """The same through a process of its own: nothing of Hydra's or Python's gets in between."""
    done = subprocess.run(
        [sys.executable, "run.py", "attention=gqaa"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "attention=gqaa: no such option; did you mean 'gqa'?\n"
