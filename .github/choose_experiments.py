"""Which experiments a job works on, as a line `experiments=[…]`: what was asked for, is nightly, or was changed.

What comes from outside comes by environment, and only names of files in conf/experiment go out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path("conf/experiment")


def main() -> int:
    event = os.environ.get("EVENT", "")
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if event == "push":
        wanted = changed(os.environ.get("BEFORE", ""))
    else:
        wanted = {os.environ.get("NIGHTLY" if event == "schedule" else "ASKED", "")} - {""}
        if unknown := wanted - set(known):
            print(f"{unknown.pop()!r} is no experiment; there are {', '.join(known)}", file=sys.stderr)
            return 2
    print(f"experiments={json.dumps([name for name in known if name in wanted])}")
    return 0


def changed(before: str) -> set[str]:
    """Names of changed files in conf/experiment and of changed folders in experiments."""
    paths: list[str] = []
    for since in filter(None, (before, "HEAD^")):  # a new branch has nothing before it, a forced push nothing known
        command = ["git", "diff", "--name-only", "-z", f"{since}..HEAD", "--", str(FOLDER), "experiments"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            paths = done.stdout.split("\0")
            break
    return {Path(path).stem if path.startswith(f"{FOLDER}/") else path.split("/")[1] for path in paths if path}


if __name__ == "__main__":
    sys.exit(main())
