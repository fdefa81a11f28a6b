"""`python run.py --help`: complete, true, narrow, and there at once."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from nanochat.core import help as help_file
from nanochat.core.compose import CONF, compose, groups, parse_overrides
from nanochat.task.base import validate

HEAVY = ("torch", "lightning", "hydra", "omegaconf", "pydantic", "numpy", "optuna", "wandb")

START = """
import sys
import nanochat
import run
sys.argv = ["run.py", "--help"]
assert run.main() == 0
print(*[name for name in sys.modules if name in {heavy}], file=sys.stderr)
"""

EXAMPLES = [
    shlex.split(line.partition("  ")[0])[2:]
    for line in (line.strip() for line in help_file.USAGE.partition("examples\n")[2].splitlines())
    if line
]


def test_it_fits_eighty_columns():
    assert max(map(len, help_file.text().splitlines())) <= 80


def test_it_lists_every_group_and_option():
    lines = help_file.text().splitlines()
    for group, options in groups().items():
        place = next(i for i, line in enumerate(lines) if line.startswith(f"  {group} "))
        rest = lines[place + 1 :]
        ends = next((i for i, line in enumerate(rest) if not line.startswith(" " * 13)), len(rest))
        listed = {word.removeprefix("*") for word in " ".join(rest[:ends]).replace("·", " ").split()}
        assert listed == set(options), group
    assert set(groups()) <= set(help_file.GROUPS), "a new group needs a word of what it decides"


def test_the_starred_options_are_the_defaults():
    config = compose([])
    text = help_file.text()
    for group in set(groups()) - {"experiment", "schedule"}:
        module = config[group]["_target_"].rpartition(".")[0].removeprefix("nanochat.")
        starred = [option for option in groups()[group] if f"*{option}" in text.replace("·", " ").split()]
        assert len(starred) >= 1, group
        assert any(module in (f"{group}.{option}", f"{group}.spec", f"{group}.transformer") for option in starred)


def test_options_of_ones_own_appear(tmp_path):
    (tmp_path / "config.yaml").write_text("defaults:\n  - attention: mine\n  - _self_\nseed: 1\n")
    for name in ("attention/mine", "attention/other", "garden/rose"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("x: 1\n")
    text = help_file.text(tmp_path)
    assert "*mine · other" in text and "garden" in text and "rose" in text
    assert "swiglu" not in text.partition("groups and options")[2]


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_the_examples_work(words):
    several = "-m" in words or "task=cost" in words
    overrides = parse_overrides([word for word in words if word != "-m"])
    assert several or all(override.sweep is None for override in overrides)
    validate(compose([override.text for override in overrides if override.sweep is None]))


def test_it_comes_without_any_heavy_import():
    command = [sys.executable, "-c", START.format(heavy=set(HEAVY))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONF.parent, check=True)
    assert "groups and options" in done.stdout
    assert done.stderr.split() == []
