"""Another FFN from block to block, by a pattern: dense blocks among mixtures of experts, say (GLaM, 2112.06905).

The pattern names one part for each block and begins again where it ends.
"""

from __future__ import annotations

from typing import Self

from nanochat.core.errors import Problem, SpecError
from nanochat.core.geometry import Cost, Geometry
from nanochat.core.layers import check_pattern, part_at
from nanochat.ffn.base import FFN, FFNSpec


class HybridSpec(FFNSpec):
    """parts: FFNs by name · pattern: the part that each block has, in turn; every part must get a block."""

    parts: dict[str, FFNSpec]
    pattern: tuple[str, ...]

    def resolve(self, geometry: Geometry) -> Self:
        check_pattern(self.pattern, parts=self.parts, depth=geometry.depth)
        problems: list[Problem] = []
        parts: dict[str, FFNSpec] = {}
        for name, part in self.parts.items():
            try:
                parts[name] = part.resolve(geometry)
            except SpecError as error:
                problems.extend(error.under(f"parts.{name}").problems)
        if problems:
            raise SpecError(problems)
        return self.replace(parts=parts)

    def check_compile(self, precision: str) -> None:
        for name, part in self.parts.items():
            try:
                part.check_compile(precision)
            except SpecError as error:
                raise error.under(f"parts.{name}") from None

    def cost(self, geometry: Geometry) -> Cost:
        """That of the part which the pattern gives to block `layer`."""
        return self._part(geometry).cost(geometry)

    def build(self, geometry: Geometry) -> FFN:
        return self._part(geometry).build(geometry)

    def _part(self, geometry: Geometry) -> FFNSpec:
        return self.parts[part_at(self.pattern, geometry.layer)]
