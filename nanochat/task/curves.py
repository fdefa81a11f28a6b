"""`task=curves`: how runs train or trained, drawn in the terminal or on a page, live while one is at work."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nanochat.core.errors import alternatives, nearest, spec_error
from nanochat.core.spec import Positive, hash_of, load
from nanochat.report import curves_page, curves_terminal
from nanochat.report.curves import Curve, X, panels, read_curve
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import Settings, run_spec, settings
from nanochat.study.compare import CompareSpec
from nanochat.study.reopen import find, look, reopen
from nanochat.task.base import StudyTaskSpec

IN_TERMINAL = ("loss", "grad_norm", "lr", "logits")
ON_PAGE = (*IN_TERMINAL, "logit_entropy", "tokens_per_second", "parts")

# A page holds all of Plotly: it is not written as often as a terminal is drawn.
PAGE_SECONDS = 5.0


@dataclass(frozen=True)
class Chosen:
    """What is shown. title: in words · name: of its page's file · runs: labels by key, as they are when it is called,
    and whether somebody is about to begin more."""

    title: str
    name: str
    runs: Callable[[], tuple[Mapping[str, str], bool]]


class CurvesSpec(StudyTaskSpec):
    """Show loss, gradient norm, rate, logits and whatever else the rows of metrics.csv hold, of any runs.

    Reads only: no run is begun, ended or changed by being watched.
    """

    runs: tuple[str, ...]
    phase: Literal["seed", "tune", "all"]
    panels: tuple[str, ...] | None
    x: X
    smooth: Annotated[float, Field(ge=0, lt=1)]
    live: Literal["auto"] | bool
    every: Positive
    html: str | bool

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        how, console = settings(config), Console(highlight=False)
        chosen = self.choose(config, words, how=how)
        page = self.page(chosen, how=how)
        curves, going_on = self.read(chosen, how=how)
        if not curves and not going_on:
            raise spec_error("task", "curves", f"nothing is to be seen of {chosen.title} yet", "train it first")
        panels(self.panels or (), curves)
        if self.live is True and page is None and not console.is_terminal:
            raise spec_error("task.live", True, "needs a terminal to draw in", "use task.html=true, or task.live=auto")
        if self.live is False or not (self.live is True or console.is_terminal) or not going_on:
            console.print(self.draw(curves, chosen, page=page, console=console, live=False))
            return 0
        with contextlib.suppress(KeyboardInterrupt):
            self.follow(chosen, how=how, page=page, console=console)
        return 0

    def follow(self, chosen: Chosen, *, how: Settings, page: Path | None, console: Console) -> None:
        """Draw again and again until nobody is at work any more; the last picture stays."""
        every = self.every if page is None else max(self.every, PAGE_SECONDS)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                curves, going_on = self.read(chosen, how=how)
                live.update(self.draw(curves, chosen, page=page, console=console, live=going_on), refresh=True)
                if not going_on:
                    return
                time.sleep(every)

    def draw(
        self, curves: Sequence[Curve], chosen: Chosen, *, page: Path | None, console: Console, live: bool
    ) -> RenderableType:
        """What is printed; the page is written where there is to be one. live: this is drawn again, as runs go on."""
        if page is None:
            return curves_terminal.view(
                curves,
                wanted=self.panels or IN_TERMINAL,
                x=self.x,
                smooth=self.smooth,
                width=console.width,
                height=console.height if live else None,
            )
        curves_page.write_page(
            curves,
            page,
            title=chosen.title,
            wanted=self.panels or ON_PAGE,
            x=self.x,
            smooth=self.smooth,
            reload=max(self.every, PAGE_SECONDS) if live else None,
        )
        return Group(curves_terminal.statuses(curves, width=console.width), Text(f"page: {page}", overflow="fold"))

    def read(self, chosen: Chosen, *, how: Settings) -> tuple[list[Curve], bool]:
        """The runs that have something to show, and whether more is to come."""
        labels, more = chosen.runs()
        found = [read_curve(RunFolder(how.paths.runs / key), label=label) for key, label in labels.items()]
        curves = [curve for curve in found if curve.rows or curve.at_work]
        return curves, more or any(curve.at_work for curve in curves)

    def page(self, chosen: Chosen, *, how: Settings) -> Path | None:
        """Where the page goes, None for none."""
        if isinstance(self.html, str):
            return Path(self.html).expanduser().absolute()
        return how.paths.root / "curves" / f"{chosen.name}.html" if self.html else None

    def choose(self, config: Mapping[str, Any], words: Sequence[str], *, how: Settings) -> Chosen:
        """The runs that the command names. Raises `SpecError` where there are none."""
        study = load(config["study"], CompareSpec, at="study")
        named = study.name is not None or study.dir is not None
        if self.runs and named:
            raise spec_error("task.runs", list(self.runs), "a study is named too", "name runs or a study, not both")
        if named:
            return self.of_study(config, words, spec=study, how=how)
        if self.runs:
            keys = list(dict.fromkeys(whole_key(start, runs=how.paths.runs) for start in self.runs))
            name = keys[0] if len(keys) == 1 else hash_of(keys, length=8)
            return Chosen(f"run{'s' if len(keys) > 1 else ''} {', '.join(keys)}", name, lambda: (short(keys), False))
        key = identify(run_spec(config).resolve(), cache=how.paths.cache)
        if not RunFolder(how.paths.runs / key).path.is_dir():
            rule = f"the run that this command describes ({key}) is not in {how.paths.runs}"
            remedy = "name others with task.runs or study.name, or train it: the same command with task=train"
            raise spec_error("task.runs", None, rule, remedy)
        return Chosen(f"run {key}", key, lambda: ({key: key[:8]}, False))

    def of_study(self, config: Mapping[str, Any], words: Sequence[str], *, spec: CompareSpec, how: Settings) -> Chosen:
        """The runs of a study, those at work among them."""
        folder = find(config)
        definition, store, leases = look(folder, url=spec.storage, lease_seconds=spec.lease_seconds)
        if store is None:
            rule = "is needed: the study's trials lie in a database"
            raise spec_error("study.storage", None, rule, "name it, as in the first command")
        # What an unfinished trial runs has no key in the store: it is composed, once.
        keys: dict[int, str] = {}

        def runs() -> tuple[Mapping[str, str], bool]:
            store.refresh()
            found: dict[str, str] = {}
            for trial in store.trials():
                if self.phase not in (trial.phase, "all") or (trial.result is None and not trial.owner):
                    continue
                key = trial.result.get("key") if trial.result else keys.get(trial.id)
                if trial.result is None and key is None:
                    study, _ = reopen(config, words)
                    key = keys[trial.id] = identify(study.runs.of(trial), cache=how.paths.cache)
                if key:
                    found[key] = trial.label
            return found, bool(leases.others())

        phase = {"seed": "confirming runs", "tune": "tuning runs", "all": "runs"}[self.phase]
        return Chosen(f"the {phase} of study {definition.name}", definition.name, runs)


def whole_key(start: str, *, runs: Path) -> str:
    """The key of the one run that begins so. Raises `SpecError` where none or several do."""
    known = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    found = [key for key in known if key.startswith(start)] if start else []
    if len(found) == 1 or start in found:
        return start if start in found else found[0]
    if found:
        rule = f"begins the keys of {len(found)} runs"
        raise spec_error("task.runs", start, rule, f"give more of {alternatives(found)}")
    raise spec_error("task.runs", start, f"there is no such run in {runs}", nearest(start, known))


def short(keys: Sequence[str]) -> dict[str, str]:
    """Labels by key: as much of its beginning as tells it from the others."""
    size = next(n for n in range(8, 65) if len({key[:n] for key in keys}) == len(keys))
    return {key: key[:size] for key in keys}
