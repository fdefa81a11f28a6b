"""A pattern over the blocks of a model: which of several named parts each block has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nanochat.core.errors import alternatives, spec_error


def part_at(pattern: Sequence[str], layer: int) -> str:
    """The part of block `layer`: the pattern, begun again wherever it ends."""
    return pattern[layer % len(pattern)]


def check_pattern(pattern: Sequence[str], *, parts: Collection[str], depth: int) -> None:
    """Raises `SpecError` on `pattern` where it is empty, names what is no part, or leaves a part without a block."""
    shown = "[" + ", ".join(pattern) + "]"
    unknown = [name for name in pattern if name not in parts]
    if unknown or not pattern:
        rule = "must name parts, one for each block in turn"
        raise spec_error("pattern", shown, rule, f"the parts are {alternatives(sorted(parts))}")
    used = {part_at(pattern, layer) for layer in range(depth)}
    idle = sorted(set(parts) - used)
    if idle:
        rule = f"leaves part {alternatives(idle)} without any of the {depth} blocks"
        remedy = f"try [{', '.join(sorted(parts))}]" if depth >= len(parts) else f"raise model.depth to {len(parts)}"
        raise spec_error("pattern", shown, rule, remedy)
