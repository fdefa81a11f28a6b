"""accuracy = floor + height/(1 + e^(slope·(bpb − middle))): a task's accuracy from the bits per byte of its answers.

Bhagia et al., 2412.04403, the second of two steps: a law of N and D says the bits per byte, and this the
accuracy. Fit it on the raw accuracy.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import expit

from nanochat.law.form import NOTHING, Array, Coefficients, Columns, Frame, Law, Point, Shapes, geometric_mean


@dataclass(frozen=True)
class Accuracy(Law):
    """Accuracy by a task's bits per byte; `floor` is that of chance. In a frame slope and middle are in standard
    deviations of the bits per byte."""

    title: ClassVar[str] = "accuracy"
    equation: ClassVar[str] = "accuracy = floor + height/(1 + exp(slope (bpb - middle)))"
    source: ClassVar[str] = "Bhagia et al., 2412.04403, the second of two steps"
    inputs: ClassVar[tuple[str, ...]] = ("bpb",)
    shapes: ClassVar[int] = 2
    grid: ClassVar[tuple[tuple[float, ...], ...]] = tuple(itertools.product((0.7, 2.0, 6.0), (-1.5, 0.0, 1.5)))

    height: float
    floor: float
    slope: float
    middle: float

    def loss(self, bpb: Array | float) -> Array | float:
        """The accuracy at `bpb` bits per byte."""
        return self.floor + self.height * expit(self.slope * (self.middle - bpb))

    @classmethod
    def frame(cls, inputs: Mapping[str, Array], y: Array) -> Frame:
        """Bits per byte about their mean, over their standard deviation."""
        bpb = inputs["bpb"]
        centre = float(np.mean(bpb)), float(np.std(bpb)) or 1.0
        return Frame(((bpb - centre[0]) / centre[1],), centre, geometric_mean(y))

    @classmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        slope, short = shape[..., 0, None], shape[..., 1, None] - frame.x[0]
        curve = expit(slope * short)
        by_turn = coefficients[..., 0, None] * curve * (1 - curve)
        return np.stack([curve, np.ones_like(curve)], axis=-1), np.stack([by_turn * short, by_turn * slope], axis=-1)

    @classmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        return np.array([(NOTHING, np.inf), (NOTHING, np.inf), (0.05, 100.0), (-6.0, 6.0)])

    def point(self, frame: Frame) -> Point:
        mean, deviation = frame.centre
        coefficients = self.height / frame.scale, self.floor / frame.scale
        return np.array([*coefficients, self.slope * deviation, (self.middle - mean) / deviation])

    @classmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        height, floor, slope, middle = map(float, point)
        mean, deviation = frame.centre
        return cls(
            height=height * frame.scale,
            floor=floor * frame.scale,
            slope=slope / deviation,
            middle=mean + middle * deviation,
        )
