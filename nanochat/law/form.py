"""What a form of law tells the fit: columns, link and coordinates. One form a file; the fit knows none of them.

Every form here is separable: once a few shapes (exponents and the like) are given, u = Σ coefficient · column is linear
in the rest, and the prediction is a link of u. In a `Frame` the inputs are logs about their means, where a coefficient
and its exponent hardly pull at each other, and the loss is in units of its geometric mean, so that no unit matters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Array = Float[ndarray, "runs"]

# A point holds a form's coefficients, then its shapes: one number for each field of the law, in the fields' order.
Point = Float[ndarray, "numbers"]
Points = Float[ndarray, "*many numbers"]
Shapes = Float[ndarray, "*many shapes"]
Coefficients = Float[ndarray, "*many coefficients"]
Values = Float[ndarray, "*many runs"]
Columns = Float[ndarray, "*many runs _"]

# Exponents between these; what lies beyond is a constant or a step.
LOWEST, HIGHEST = 0.01, 3.0

# A coefficient that must not be negative is at least so much of the loss: laws can then be solved in logs.
NOTHING = 1e-12


@dataclass(frozen=True)
class Frame:
    """x: the inputs as the form's columns read them · centre: what was taken off or divided by · scale: the geometric
    mean of the loss."""

    x: tuple[Array, ...]
    centre: tuple[float, ...]
    scale: float


@dataclass(frozen=True)
class Law(ABC):
    """A law with its numbers in the data's units. The fields: coefficients first, shapes last.

    title · equation · source: for reports · inputs: the columns it reads · shapes: how many of its last fields are
    shapes · grid: where the fit begins, as points of the shapes.
    """

    title: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    shapes: ClassVar[int]
    grid: ClassVar[tuple[tuple[float, ...], ...]]

    @abstractmethod
    def loss(self, *inputs: Any, **named: Any) -> Any:
        """What the law predicts at `inputs`, in the order of the class's `inputs`."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Its free numbers."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def frame(cls, inputs: Mapping[str, Array], y: Array) -> Frame:
        """The rows in logs about their means."""
        logs = [np.log(inputs[name]) for name in cls.inputs]
        centre = tuple(float(np.mean(log)) for log in logs)
        return Frame(tuple(log - mean for log, mean in zip(logs, centre, strict=True)), centre, geometric_mean(y))

    @classmethod
    @abstractmethod
    def columns(cls, frame: Frame, coefficients: Coefficients, shape: Shapes) -> tuple[Columns, Columns]:
        """The columns of u, and u's derivative by each shape. Any number of points at once, along the first axes."""

    @classmethod
    def link(cls, u: Values, shape: Shapes) -> tuple[Values, Values, Columns | None]:
        """The log of the prediction, its derivative by u, and by each shape (None: it does not depend on them)."""
        u = np.where(u > 0, u, np.nan)
        return np.log(u), 1 / u, None

    @classmethod
    def unlink(cls, y: Array, shape: Shapes) -> Array:
        """The u of which `y`, over its geometric mean, is the prediction."""
        return y

    @classmethod
    @abstractmethod
    def bounds(cls, frame: Frame, y: Array) -> Float[ndarray, "numbers 2"]:
        """Lowest and highest of each coordinate; `y` is over its geometric mean."""

    @abstractmethod
    def point(self, frame: Frame) -> Point:
        """The coordinates of this law in a frame."""

    @classmethod
    @abstractmethod
    def at(cls, point: Point, frame: Frame) -> Self:
        """The law at a point: the inverse of `point`."""


def geometric_mean(y: Array) -> float:
    return float(np.exp(np.mean(np.log(y))))


def predict(form: type[Law], frame: Frame, points: Points) -> tuple[Values, Columns]:
    """Logs of the predictions over the geometric mean, and their Jacobian by the coordinates."""
    coefficients, shape = points[..., : -form.shapes], points[..., -form.shapes :]
    columns, slopes = form.columns(frame, coefficients, shape)
    u = np.matmul(columns, coefficients[..., None])[..., 0]
    log, by_u, by_shape = form.link(u, shape)
    slopes = slopes * by_u[..., None]
    if by_shape is not None:
        slopes = slopes + by_shape
    return log, np.concatenate([columns * by_u[..., None], slopes], axis=-1)


def exp(x: float) -> float:
    """e^x as a positive float, however far the data lie from 1."""
    return math.exp(min(max(x, -700.0), 700.0))


def powers(x: Array, exponent: Float[ndarray, "*many"]) -> Values:
    """exp(−exponent · x): the column of a power law, x in logs."""
    return np.exp(-exponent[..., None] * x)
