"""`make fault-test`: the long storm. Kills runs and workers, then compares the table with calm; minutes."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from nanochat.run import child
from tests.faults.storm import STUDY, Storm, table, weights
from tests.study.studies import run_study


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="of runs and workers together, a fifth of them workers")
    parser.add_argument("--trials", type=int, default=30, help="tuning trials of the study")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the storm")
    options = parser.parse_args()
    workers = options.kills // 5
    print(f"seed {options.seed}: {options.trials} trials, {options.kills} kills", flush=True)
    with tempfile.TemporaryDirectory() as name:
        calm, rough = Path(name) / "calm", Path(name) / "rough"
        run_study(calm, *STUDY, f"study.trials={options.trials}", target=child.main)
        print("calm:", dict(Counter(row["status"] for row in table(calm))), flush=True)
        storm = Storm(rough, options.trials, random.Random(options.seed), say=lambda text: print(text, flush=True))
        storm.rage(runs=options.kills - workers, workers=workers, pause=(0.05, 0.6))
        same = table(rough) == table(calm) and weights(rough) == weights(calm)
        print(f"{sum(storm.kills.values())} kills ({dict(storm.kills)}), no orphans")
        print(f"moments with two writers of a folder: {len(storm.writers)}")
        print("the table and the weights are those of calm, bit for bit" if same else "THE TABLE DIFFERS FROM CALM")
        for row, other in zip(table(rough), table(calm), strict=False):
            if row != other:
                print(f"  storm {row}\n  calm  {other}")
    return 0 if same and not storm.writers and sum(storm.kills.values()) >= min(30, options.kills) else 1


if __name__ == "__main__":
    sys.exit(main())
