"""The options that conf/ offers for a model's parts, and the Specs that they describe."""

from __future__ import annotations

from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nanochat.core.compose import CONF
from nanochat.core.errors import Problem
from nanochat.core.geometry import Geometry
from nanochat.core.spec import load
from nanochat.model.architecture import Architecture
from nanochat.position.base import PositionSpec

PARTS = {
    "model": "nano",
    "attention": "gqa",
    "ffn": "swiglu",
    "norm": "rmsnorm",
    "position": "rope",
    "init": "truncated_normal",
}
# What an option of another group has to be, where an option cannot go with the default.
NEEDED = {"init=mup": ("model.tied=false",), "init=zero_out": ("model.tied=false",)}
VOCAB = 61
CONTEXT = 32
GEOMETRY = Geometry(dim=64, depth=2, layer=0, vocab=VOCAB, context=CONTEXT)


def names(group: str) -> list[str]:
    """Every option of a config group: its YAML files."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def config(*overrides: str) -> dict[str, Any]:
    """The parts of a model as plain data, composed by Hydra from conf/ alone."""
    chosen = dict(item.split("=", 1) for item in overrides if item.split("=", 1)[0] in PARTS)
    needed = [item for override in overrides for item in NEEDED.get(override, ())]
    rest = [*needed, *(item for item in overrides if item.split("=", 1)[0] not in PARTS)]
    picks = [f"+{group}={chosen.get(group, default)}" for group, default in PARTS.items()]
    return _config((*picks, *rest))


@cache
def _config(overrides: tuple[str, ...]) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = OmegaConf.to_container(compose(overrides=list(overrides)), resolve=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def architecture(*overrides: str, vocab: int = VOCAB, context: int = CONTEXT) -> Architecture:
    """The resolved architecture that these overrides describe."""
    return load(config(*overrides), Architecture).resolve(vocab=vocab, context=context)


@cache
def refusals() -> dict[tuple[str, str], tuple[Problem, ...]]:
    """The pairs of an attention and a position scheme that do not go together, each with its problems."""
    schemes = {name: load(config(f"position={name}")["position"], PositionSpec) for name in names("position")}
    found = {}
    for name in names("attention"):
        attention = architecture(f"attention={name}", "position=none").attention
        found |= {(name, scheme): tuple(attention.misfits(spec)) for scheme, spec in schemes.items()}
    return {pair: problems for pair, problems in found.items() if problems}
