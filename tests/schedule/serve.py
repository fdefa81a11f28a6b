"""A scheduler of one schedule that fires every second: `serve.py FOLDER MODE GRACE`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.schedule.plans import plan_of, service_of

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    plan = plan_of(folder, sys.argv[2], grace=float(sys.argv[3]))
    sys.exit(service_of(folder, plan).run())
