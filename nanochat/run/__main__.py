"""`python -m nanochat.run run.json`: carry out one stored run; no composing, no study.

`torchrun -m nanochat.run run.json` spreads it over ranks.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from nanochat.core.artifact import read_json
from nanochat.core.compose import compose
from nanochat.core.errors import MachineError, SpecError
from nanochat.core.spec import load
from nanochat.run.crew import Crew
from nanochat.run.execute import FINAL, execute
from nanochat.run.follow import follow
from nanochat.run.ranks import launched
from nanochat.run.spec import RunSpec, settings
from nanochat.run.terminal import Terminal
from nanochat.trainer.ranks import Ranks


def main(arguments: list[str]) -> int:
    """The first argument is a `run.json`; the others are overrides of the settings, e.g. `paths.multirun=…`."""
    if not arguments or not Path(arguments[0]).is_file():
        print("usage: python -m nanochat.run RUN.json [paths.multirun=… logger=… code=…]", file=sys.stderr)
        return 2
    try:
        spec = load(read_json(Path(arguments[0]))["run"], RunSpec).resolve()
        place = launched()
        if place is not None and not place.first:
            follow(spec, place)
            return 0
        with Terminal() as control, _crew(place) as crew:
            result = execute(spec, settings=settings(compose(arguments[1:])), control=control, crew=crew)
    except (SpecError, MachineError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if result["status"] == "stopped":
        print(f"{result['key']}: stopped {result['reason']}; the same command continues")
        return 130
    print(f"{result['key']}: {result['status']} {result['reason']}".rstrip())
    return 0 if result["status"] in FINAL else 1


@contextlib.contextmanager
def _crew(place: Ranks | None) -> Iterator[Crew | None]:
    """Those that `torchrun` started, who are let go if there is nothing for them to do; None where it did not."""
    crew = None if place is None or place.count == 1 else Crew(place.count, launched=place)
    try:
        yield crew
    finally:
        if crew is not None:
            crew.release()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
