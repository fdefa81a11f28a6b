"""The one door: compose, validate, hand to the task."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 1 the machine's failure, 130 interrupted."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        from nanochat.core.help import text

        print(text())
        return 0

    # argparse, under Hydra, takes -m before or after all overrides but not among them; people put it anywhere.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing and exiting; we say it in plain words
    import hydra

    from nanochat.core.compose import CONF, blame_experiment, explained, plain, quoted, refuse_nameless
    from nanochat.core.errors import MachineError, SpecError

    sys.argv[1:] = map(quoted, sys.argv[1:])
    words = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    if "task=cost" in words and "-m" not in sys.argv and any("," in word for word in words):
        sys.argv.insert(1, "-m")  # a comparison that costs nothing: several arms need no study
    code, failure = 0, None

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def job(config: object) -> None:
        from nanochat.task.base import perform

        nonlocal code, failure
        try:
            code = perform(plain(config), words)
        except (SpecError, MachineError) as error:  # kept until Hydra is done: it would print a line of its own
            failure = error

    try:
        refuse_nameless(words)
        with explained():
            job()
        if failure is not None:
            raise failure
    except (SpecError, MachineError) as error:
        print(blame_experiment(error, words) if isinstance(error, SpecError) else error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    except SystemExit as ended:
        return int(ended.code or 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
