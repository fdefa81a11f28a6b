"""Optuna's storage as a study uses it: one Optuna study for each arm's search, one for the confirming runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from nanochat.core.artifact import read_json, write_json
from nanochat.core.errors import spec_error
from nanochat.core.spec import hash_of
from nanochat.study.axes import CONFIRMING, Arm
from nanochat.study.definition import Definition
from nanochat.study.journal import Journal
from nanochat.study.takeover import take_over
from nanochat.study.trial import Trial

HOME = "home.json"


class Backend(Protocol):
    """Where the storage lies, and how to be alone with it."""

    def open(self) -> BaseStorage: ...

    def shown(self) -> BaseStorage: ...

    def exclusive(self) -> AbstractContextManager[None]: ...


def backend(folder: Path, url: str | None) -> Backend:
    """The journal in the study's folder, or the database at `url`.

    Raises `SpecError` where the study's trials lie in the other of the two: two memories would be two studies.
    """
    _check_kind(folder, url)
    if url is None:
        return Journal(folder)
    from nanochat.study.database import Database  # brings SQLAlchemy, which a journal does without

    return Database(folder, url)


def settle(folder: Path, url: str | None) -> str:
    """Note in which of the two the study's trials lie, now that it has opened; returns the id of the study's folder."""
    _check_kind(folder, url)
    about = home(folder)
    if about["storage"] is None:
        write_json(folder / HOME, {**about, "storage": _kind(url)})
    return about["id"]


def _check_kind(folder: Path, url: str | None) -> None:
    known = home(folder)["storage"]
    if known not in (None, _kind(url)):
        remedy = "name it, as in the first command" if known == "database" else "leave study.storage out"
        raise spec_error("study.storage", None, f"the trials of the study in {folder} lie in a {known}", remedy)


def _kind(url: str | None) -> str:
    return "journal" if url is None else "database"


class Storage:
    """The Optuna studies of a study, by arm. Made, written and read inside the backend's `exclusive()`."""

    def __init__(self, optuna: BaseStorage, definition: Definition, *, home_id: str, imports: bool) -> None:
        """home_id: of the study's folder, by which one that another began under this name is told apart · imports:
        whether a new search takes over what earlier ones found."""
        self.optuna = optuna
        self.definition = definition
        self.imports = imports
        self.home = home_id
        self.known = {study.study_name: study._study_id for study in optuna.get_all_studies()}
        self.ids = {CONFIRMING: self._open(f"{definition.name}: {CONFIRMING}{self._round}", {}, objectives=1)}
        self.imported = 0
        for arm in definition.arms:
            if arm.axes:
                self.ids[arm.name] = self._search(arm)

    def read(self) -> Iterator[tuple[str, list[FrozenTrial]]]:
        """Each Optuna study with all its trials; finished ones are read once."""
        for name, study in self.ids.items():
            yield name, self.optuna.get_all_trials(study, deepcopy=False)

    def create(self, trial: Trial, frozen: FrozenTrial) -> FrozenTrial:
        """Add a trial; returns it as stored."""
        study = self.ids[trial.arm if trial.phase == "tune" else CONFIRMING]
        return self.optuna.get_trial(self.optuna.create_new_trial(study, template_trial=frozen))

    def attributes(self) -> dict[str, Any]:
        """What is noted on the study as a whole."""
        return self.optuna.get_study_user_attrs(self.ids[CONFIRMING])

    def write(self, name: str, value: Any) -> None:
        """Note something on the study as a whole."""
        self.optuna.set_study_user_attr(self.ids[CONFIRMING], name, value)

    @property
    def _round(self) -> str:
        return f" (round {self.definition.round})" if self.definition.round else ""

    def _search(self, arm: Arm) -> int:
        """The Optuna study of an arm's search; one that is new takes over what earlier ones found."""
        search = hash_of(self.definition.search(arm), length=6)
        about = {"arm": arm.name, "round": self.definition.round}
        earlier = [
            study
            for study in self.known.values()
            for attrs in [self.optuna.get_study_user_attrs(study)]
            if attrs.get("home") == self.home and {name: attrs.get(name) for name in about} == about
        ]
        name = f"{self.definition.name}: {arm.name} [{search}]{self._round}"
        study = self._open(name, about, objectives=len(self.definition.objectives))
        if self.imports:
            self.imported += take_over(self.optuna, study, arm, earlier=[e for e in earlier if e != study])
        return study

    def _open(self, name: str, about: dict[str, Any], *, objectives: int) -> int:
        if name not in self.known:
            self.known[name] = self.optuna.create_new_study([StudyDirection.MINIMIZE] * objectives, study_name=name)
        study = self.known[name]
        noted = self.optuna.get_study_user_attrs(study)
        if noted.get("home", self.home) != self.home:
            rule = "the storage has one that another folder began"
            remedy = "choose another name, or share the folder that began it"
            raise spec_error("study.name", self.definition.name, rule, remedy)
        for key, value in {**about, "home": self.home}.items():
            if key not in noted:
                self.optuna.set_study_user_attr(study, key, value)
        return study


def home(folder: Path) -> dict[str, Any]:
    """What is known of a study's folder: an id that no other has, and in what its trials are stored, if they are."""
    path = folder / HOME
    if not path.exists():
        write_json(path, {"id": uuid.uuid4().hex, "storage": None})
    return read_json(path)
