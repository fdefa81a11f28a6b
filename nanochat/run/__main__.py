"""`python -m nanochat.run run.json`: carry out one stored run; no composing, no study."""

from __future__ import annotations

import sys
from pathlib import Path

from nanochat.core.artifact import read_json
from nanochat.core.compose import compose
from nanochat.core.errors import MachineError, SpecError
from nanochat.core.spec import load
from nanochat.run.execute import FINAL, execute
from nanochat.run.spec import RunSpec, settings
from nanochat.run.terminal import Terminal


def main(arguments: list[str]) -> int:
    """The first argument is a `run.json`; the others are overrides of the settings, e.g. `paths.multirun=…`."""
    if not arguments or not Path(arguments[0]).is_file():
        print("usage: python -m nanochat.run RUN.json [paths.multirun=… logger=… code=…]", file=sys.stderr)
        return 2
    try:
        spec = load(read_json(Path(arguments[0]))["run"], RunSpec)
        with Terminal() as control:
            result = execute(spec.resolve(), settings=settings(compose(arguments[1:])), control=control)
    except (SpecError, MachineError) as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if result["status"] == "stopped":
        print(f"{result['key']}: stopped {result['reason']}; the same command continues")
        return 130
    print(f"{result['key']}: {result['status']} {result['reason']}".rstrip())
    return 0 if result["status"] in FINAL else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
