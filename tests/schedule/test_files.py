"""Schedule files: the shipped ones work, and of others every mistake is told at once, before anything starts."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from rich.console import Console

import run
from nanochat.core.compose import CONF, compose, parse_overrides, with_sweeps
from nanochat.core.errors import SpecError
from nanochat.core.spec import TARGET, load
from nanochat.schedule import gpus
from nanochat.schedule.spec import ScheduleSpec
from nanochat.schedule.state import Entry
from nanochat.schedule.table import schedules_table
from nanochat.task.base import validate
from nanochat.task.schedule import checked_schedules
from tests.runs import SMALL
from tests.schedule.plans import plan_of

SHIPPED = sorted((CONF / "schedule").glob("*.yaml"))
NIGHTLY = yaml.safe_load((CONF / "schedule" / "nightly.yaml").read_text())


def write(folder: Path, name: str, **changes) -> None:
    folder.mkdir(exist_ok=True)
    small = {"experiment": None, "overrides": list(SMALL)}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**NIGHTLY, **small, **changes}))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_schedule_names_a_study_that_composes(path: Path) -> None:
    data = yaml.safe_load(path.read_text())
    assert set(data) - {TARGET} == set(ScheduleSpec.model_fields)
    spec = load(data, ScheduleSpec)
    assert spec.experiment is None or (CONF / "experiment" / f"{spec.experiment}.yaml").is_file()
    assert not spec.enabled, "an example runs nothing by itself"
    overrides = parse_overrides(with_sweeps(spec.words))
    assert any(override.sweep for override in overrides), "a study has arms, ranges or seeds"
    validate(compose([override.text for override in overrides if override.sweep is None]))


def test_every_field_is_explained_in_the_first_example() -> None:
    lines = (CONF / "schedule" / "nightly.yaml").read_text().splitlines()
    assert {line.partition(":")[0] for line in lines if re.search(r"^\w+:.*\S +# \S", line)} == set(
        ScheduleSpec.model_fields
    )
    assert all(field.is_required() for field in ScheduleSpec.model_fields.values())


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a", cron="0 0 30 2 *", hours=0)
    write(tmp_path, "b", experiment="demmo")
    write(tmp_path, "c", overrides=["lr.peek=3"])
    write(tmp_path, "d", overrides=["task=cost"], timezone="Europe/Atlantis")
    write(tmp_path, "e", overrides=["attention.heads=3,5"], extra=1)
    write(tmp_path, "f", experiment=None, overrides=["attention.heads=3,5"])
    write(tmp_path, "g", overrides=["task=cost"])
    write(tmp_path, "h", overrides=["-m"])
    (tmp_path / "i.yaml").write_text("a: [")
    (tmp_path / "j.yaml").write_text("just words")
    with pytest.raises(SpecError) as error:
        checked_schedules(tmp_path)
    said = str(error.value)
    for line in (
        r"schedule\.a\.cron=0 0 30 2 \*: never comes",
        r"schedule\.a\.hours=0: must be greater than 0",
        r"schedule\.b\.experiment=demmo: no such experiment; did you mean 'demo'\?",
        r"schedule\.c\.overrides\.lr\.peek: no such key; did you mean 'lr\.peak'\?",
        r"schedule\.d\.timezone=Europe/Atlantis: is no time zone",
        r"schedule\.e\.extra: ScheduleSpec has no such key",
        r"schedule\.f\.overrides\.attention\.heads=3: must divide",
        r"schedule\.g\.overrides\.task=cost: a schedule works on studies",
        r"schedule\.h\.overrides: -m: cannot be read",
        r"schedule\.i: .*i\.yaml cannot be read",
        r"schedule\.j=just words: must be a section",
    ):
        assert re.search(line, said), f"{line}\n{said}"


def test_no_file_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"task\.folder=.*: holds no schedule"):
        checked_schedules(tmp_path)


def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str) -> int:
    monkeypatch.setattr(
        sys,
        "argv",
        ["run.py", "task=schedule", f"paths.multirun={tmp_path}/multirun", f"task.folder={tmp_path}/s", *words],
    )
    return run.main()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.once=nihgt"], r"task\.once=nihgt: there is no such schedule; did you mean 'night'\?"),
        (["lr.peak=3"], r"lr\.peak: does not apply to task=schedule"),
        ([], r"every schedule in .*/s is off; set enabled: true"),
    ],
)
def test_a_command_that_cannot_serve_is_refused(monkeypatch, capsys, tmp_path, words, message) -> None:
    write(tmp_path / "s", "night")
    assert command(monkeypatch, tmp_path, *words) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "multirun" / "schedule").exists()


def test_the_list_fits_80_columns_and_writes_nothing(monkeypatch, capsys, tmp_path) -> None:
    write(tmp_path / "s", "night", enabled=True, experiment=None)
    assert command(monkeypatch, tmp_path, "task.list=true") == 0
    head, line = capsys.readouterr().out.splitlines()[:2]
    assert head.split("  ")[0] == "schedule" and max(len(head), len(line)) <= 80
    assert re.match(r"night +0 22 \* \* 1-5 +\w{3} \d\d \w{3} 22:00 +– +10 +never", line), line
    assert not (tmp_path / "multirun" / "schedule").exists()


def test_the_table_says_how_the_last_window_ended(tmp_path: Path) -> None:
    ended = Entry(rule="", since=0.0, begun=1.0, ends=None, ended=86400.0 * 365, outcome="paused")
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(schedules_table({"test": plan_of(tmp_path, "quick")}, {"test": ended}))
    text = console.export_text()
    assert "paused" in text and re.search(r"\d Jan \d\d:\d\d", text), text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_idle_gpus_without_a_gpu_are_refused_naming_the_key(tmp_path: Path) -> None:
    write(tmp_path, "night", idle_gpus=True, enabled=True, experiment="demmo")
    write(tmp_path, "off", idle_gpus=True, enabled=False, experiment="demmo")
    with pytest.raises(SpecError, match=r"schedule\.night\.idle_gpus=True: there is no NVIDIA GPU") as error:
        checked_schedules(tmp_path)
    found = [problem.key for problem in error.value.problems]
    assert found == ["schedule.night.experiment", "schedule.night.idle_gpus", "schedule.off.experiment"]


@pytest.mark.parametrize(
    ("percent", "processes", "idle"), [(0, 0, True), (4, 0, True), (5, 0, False), (0, 1, False), (None, 0, True)]
)
def test_a_gpu_is_idle_without_processes_and_work(percent: int | None, processes: int, idle: bool) -> None:
    """NVML's own functions stand behind these names; here they answer as a machine with two GPUs would."""
    import pynvml

    def utilisation(device: int) -> SimpleNamespace:
        if percent is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=percent if device else 0)

    nvml = SimpleNamespace(
        NVMLError=pynvml.NVMLError,
        NVMLError_NotSupported=pynvml.NVMLError_NotSupported,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlDeviceGetUtilizationRates=utilisation,
        nvmlDeviceGetComputeRunningProcesses=lambda device: [None] * processes * device,
    )
    assert gpus.busy(nvml) == ([] if idle else [f"GPU 1: {processes} processes, {percent}%"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_this_machines_gpus_answer() -> None:
    assert all(word.startswith("GPU ") for word in gpus.busy())
