"""`task=law`: a scaling law from a table of runs, anyone's or a study's, with its intervals and its held-out error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.console import Console

from nanochat.core.artifact import sha256_file, write_json
from nanochat.core.errors import SpecError, alternatives, spec_error
from nanochat.core.provenance import provenance
from nanochat.core.spec import Int, Positive, dump, hash_of
from nanochat.law.checks import Finding, insist
from nanochat.law.fit import Options
from nanochat.law.forms import FORMS, of_shape
from nanochat.law.record import tell
from nanochat.law.table import Points, Where, read_points, read_table
from nanochat.report.law_page import write_law_page
from nanochat.run.spec import settings
from nanochat.study import table
from nanochat.study.definition import read_definition
from nanochat.study.reopen import find
from nanochat.task.base import StudyTaskSpec
from nanochat.task.telling import show

# Inputs of forms that need not be above zero.
SIGNED = ("s2",)


class LawSpec(StudyTaskSpec):
    """Fit a law to a CSV table of runs, or to the results of `study.name`; write it as JSON and as a page."""

    form: Literal["hoffmann", "kaplan", "repeated", "annealing", "clark", "compute_only", "accuracy"]
    data: str | None
    arm: str | None
    loss: str | None
    n: str
    d: str | None
    c: str | None
    unique: str
    experts: str
    s1: str
    s2: str
    bpb: str
    cluster: str | None
    delta: Positive | None
    residuals: Literal["log", "raw"]
    flops: Positive | None
    resamples: Annotated[Int, Field(ge=40)]
    seed: Int
    out: str | None
    page: str | None

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        folder = None if self.data else find(config)
        path = Path(self.data or "").expanduser() if folder is None else folder / table.FILE
        points = self.points(path, where=self._arm_of(folder) if folder else None)
        try:
            record = tell(
                points,
                at=self.flops,
                form=FORMS[self.form],
                options=Options(delta=float("inf") if self.delta is None else self.delta, on=self.residuals),
                resamples=self.resamples,
                seed=self.seed,
                compute="measured" if points.measured and of_shape(FORMS[self.form]) else "six",
                definitions=self.definitions(),
            )
        except SpecError as error:
            raise _of_file(error, path) from None
        insist([Finding(**finding) for finding in record["findings"]], key="task.data", value=str(path))
        about = {"file": str(path), "sha256": sha256_file(path), "options": dump(self), **provenance()}
        name = f"{hash_of([about['sha256'], about['options']])}.json"
        out = Path(self.out).expanduser() if self.out else settings(config).paths.root / "laws" / name
        told = {**record, "provenance": about}
        write_json(out, told)
        page = Path(self.page).expanduser() if self.page else out.with_suffix(".html")
        write_law_page(told, page)
        console = Console(highlight=False)
        show(record, console)
        console.print(f"law: {out}", soft_wrap=True)
        console.print(f"page: {page}", soft_wrap=True)
        return 0

    @property
    def column(self) -> str:
        """The column of the loss."""
        return self.loss or ("loss" if self.data else "test_bpb")

    def points(self, path: Path, *, where: Where | None = None) -> Points:
        """The rows, with the columns that the form reads. Raises `SpecError` where they are not there."""
        inputs = FORMS[self.form].inputs
        if of_shape(FORMS[self.form]):
            return read_points(path, n=self.n, d=self.d, loss=self.column, c=self.c, cluster=self.cluster, where=where)
        further = {name: str(getattr(self, name)) for name in inputs if name not in ("n", "d", "c")}
        by_sizes = "n" in inputs or (inputs == ("c",) and self.c is None)
        try:
            points = read_table(
                path,
                n=self.n if by_sizes else None,
                d=self.d if "d" in inputs or (by_sizes and inputs == ("c",)) else None,
                c=self.c,
                loss=self.column,
                cluster=self.cluster,
                inputs=list(further.values()),
                where=where,
                signed=[further[name] for name in SIGNED if name in further],
            )
        except SpecError as error:
            raise _by_field(error, further) from None
        named = {name: points.inputs[column] for name, column in further.items()}
        return replace(points, inputs=named)

    def _arm_of(self, folder: Path) -> Where | None:
        """Which rows of a study count: arms have laws of their own. Raises `SpecError` where it is not told."""
        arms = {arm.name: arm.alone for arm in read_definition(folder).arms}
        names = list(dict.fromkeys(arms.values()))
        if self.arm is None and len(names) == 1:
            return None
        if self.arm not in names:
            rule = "the study has no such arm" if self.arm else "the study has several arms"
            raise spec_error("task.arm", self.arm, rule, f"try {alternatives(names)}")
        return lambda row: arms.get(row["arm"]) == self.arm

    def definitions(self) -> dict[str, str]:
        """What the numbers are, as far as the names of columns tell."""
        told = {"n": f"column {self.n}", "d": f"column {self.d}" if self.d else f"column {self.c} / 6N"}
        return {**told, "loss": f"column {self.column}"}


def _of_file(error: SpecError, path: Path) -> SpecError:
    """The same problems with the file that they are about."""
    return SpecError([replace(p, value=str(path)) if p.key == "task.data" else p for p in error.problems])


def _by_field(error: SpecError, further: Mapping[str, str]) -> SpecError:
    """Problems of a further column under the field that names it."""
    keys = {column: f"task.{name}" for name, column in further.items()}
    return SpecError([replace(p, key=keys[p.value]) if p.key == "task.inputs" else p for p in error.problems])
