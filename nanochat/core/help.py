"""`python run.py --help`: groups and options, read from the folders, without Hydra's second of imports."""

from __future__ import annotations

import textwrap
from pathlib import Path

from nanochat.core.compose import CONF, groups

# What each group decides, in the order in which people ask.
GROUPS = {
    "experiment": "a named set of overrides",
    "schedule": "when task=schedule works on which study",
    "model": "size",
    "attention": "how tokens look at each other",
    "ffn": "what each token computes by itself",
    "norm": "normalisation",
    "position": "how order is known",
    "init": "initial weights",
    "tokenizer": "text to ids",
    "data": "the corpus",
    "optimizer": "how gradients become updates",
    "lr": "learning rate over a run",
    "objective": "what is minimised",
    "eval": "how models are scored",
    "trainer": "device and precision",
    "logger": "where metrics go",
    "task": "what run.py does",
    "study": "what -m does",
    "sampler": "how a study chooses what to try",
    "pruner": "when it gives a trial up",
}

USAGE = """\
nanochat: find out, with evidence, which small language model to train

  python run.py [group=option …] [key=value …]   train one model
  python run.py … -m                             a study: tune it, or compare
                                                 what is listed with commas
  python run.py … --cfg job                      show every field of the config

examples
  python run.py attention=mla ffn=moe
  python run.py attention=mla ffn=moe -m
  python run.py attention=mla,gqa ffn=moe,swiglu seed=1,2,3 -m
  python run.py attention=mla,gqa 'lr.peak=tag(log, interval(3e-4, 3e-2))' -m
  python run.py data=text data.path=book.txt model=micro stop.tokens=1e7
  python run.py task=sample task.prompt='def '   text from the trained model
  python run.py attention=mla task=plan          what it costs, before spending
  python run.py task=cost attention=mla,gqa      models' costs, side by side
  python run.py task=check attention=mla         sanity checks, in seconds
  python run.py task=export                      the model, for transformers
  python run.py study=ablation attention=mla,gqa -m   matched, tuned, confirmed
  python run.py task=report study.name=demo      its page, from its files
  python run.py task=curves                      how a run trains, live
  python run.py task=weights                     which trained weights matter
  python run.py task=study                       studies, and how they stand
  python run.py task=worker study.name=demo      join one, or go on with it
  python run.py task=law task.data=runs.csv      a scaling law, with intervals
  python run.py task=schedule task.list=true     studies by the clock
"""


def text(conf: Path = CONF) -> str:
    """The whole help text, at most 80 columns wide."""
    found = groups(conf)
    lines = [USAGE, "groups and options (option marked * is the default)"]
    defaults = _defaults(conf)
    for group in [*GROUPS, *sorted(set(found) - set(GROUPS))]:
        options = [f"*{name}" if defaults.get(group) == name else name for name in found.get(group, [])]
        if options:
            head = f"  {group:<11}{GROUPS.get(group, '')}"
            lines.append(head)
            lines.extend(textwrap.wrap(" · ".join(options), 66, initial_indent=" " * 13, subsequent_indent=" " * 13))
    lines.append("\nEach option is a file: attention=mla is conf/attention/mla.yaml (its keys) and")
    lines.append("nanochat/attention/mla.py (its code). Hydra's own flags: run.py --hydra-help")
    return "\n".join(lines)


def _defaults(conf: Path) -> dict[str, str]:
    """The default option of each group, from the defaults list of config.yaml."""
    found: dict[str, str] = {}
    for line in (conf / "config.yaml").read_text().splitlines():
        entry = line.removeprefix("  - ")
        if line.startswith("  - ") and ": " in entry and not entry.startswith("override"):
            group, _, option = entry.partition(": ")
            found[group] = option
        elif found and not line.startswith("  "):
            break
    return found
