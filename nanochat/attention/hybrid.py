"""Another attention from block to block, by a pattern: linear blocks among full ones, say (Jamba, 2403.19887).

The pattern names one part for each block and begins again where it ends.
"""

from __future__ import annotations

from typing import Any, Self

from nanochat.attention.base import Attention, AttentionSpec
from nanochat.core.errors import Problem, SpecError
from nanochat.core.geometry import Cost, Geometry
from nanochat.core.layers import check_pattern, part_at
from nanochat.core.spec import option_of
from nanochat.position.base import Position, PositionSpec


class HybridSpec(AttentionSpec):
    """parts: attentions by name · pattern: the part that each block has, in turn; every part must get a block.

    A position scheme acts in the blocks whose part has a use for it, and must fit the part of each of these.
    """

    parts: dict[str, AttentionSpec]
    pattern: tuple[str, ...]

    def uses(self, position: PositionSpec) -> bool:
        return any(part.uses(position) for part in self.parts.values())

    def misfits(self, position: PositionSpec) -> list[Problem]:
        found: list[Problem] = []
        for name, part in self.parts.items():
            found.extend(SpecError(part.misfits(position)).under(f"parts.{name}").problems)
        return found

    def value_width(self, geometry: Geometry) -> int | None:
        return self.in_block(geometry.layer).value_width(geometry)

    def in_block(self, layer: int) -> AttentionSpec:
        return self.parts[part_at(self.pattern, layer)].in_block(layer)

    def check_device(self, device: str) -> None:
        problems: list[Problem] = []
        for name, part in self.parts.items():
            try:
                part.check_device(device)
            except SpecError as error:
                problems.extend(error.under(f"parts.{name}").problems)
        if problems:
            raise SpecError(problems)

    def resolve(self, geometry: Geometry) -> Self:
        check_pattern(self.pattern, parts=self.parts, depth=geometry.depth)
        problems: list[Problem] = []
        parts: dict[str, AttentionSpec] = {}
        for name, part in self.parts.items():
            if _is_pattern(part):
                rule = "is a pattern of its own, whose parts could be left without a block"
                problem = Problem(key=f"parts.{name}", value=option_of(part), rule=rule, remedy="write one pattern")
                problems.append(problem)
                continue
            try:
                parts[name] = part.resolve(geometry)
            except SpecError as error:
                problems.extend(error.under(f"parts.{name}").problems)
        if problems:
            raise SpecError(problems)
        return self.replace(parts=parts)

    def cost(self, geometry: Geometry) -> Cost:
        """That of the part which the pattern gives to block `layer`."""
        return self.in_block(geometry.layer).cost(geometry)

    def build(self, geometry: Geometry, *, position: Position) -> Attention[Any]:
        return self.in_block(geometry.layer).build(geometry, position=position)


def _is_pattern(spec: Any) -> bool:
    """Whether it is a pattern over blocks, or has one inside."""
    return isinstance(spec, HybridSpec) or (isinstance(spec, AttentionSpec) and any(_is_pattern(v) for _, v in spec))
