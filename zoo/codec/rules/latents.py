"""Codes of real latents on a grid: one dimension by differences of its cdf, normal vectors entry by entry.

The rules here are those of multivariate normals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, distributions

from zoo.codec.grids import Bins, Grid
from zoo.codec.rules.registry import Code, codes
from zoo.codec.stack import Stack
from zoo.errors import ZooError

BASE = 32
"""A bin's number is coded digit by digit in this base, which keeps tables short."""
REACH = 8.0
"""Deviations from the mean within which a normal number is coded by a `Window`: 1e-15 of its mass lies beyond them."""
MIN_CELL_MASS = 1e-30
"""Added to every cell's mass: far in a tail the ``cdf`` is flat in floating point."""


class Cumulative(Protocol):
    """What `Binned` needs of a distribution of single numbers."""

    @property
    def batch_shape(self) -> torch.Size:
        """Of the numbers."""

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most ``value``, whose shape broadcasts with the batch shape."""


@dataclass(frozen=True)
class CumulativeFunction:
    """A `Cumulative` from a function."""

    cdf: Callable[[Tensor], Tensor]
    batch_shape: torch.Size


class Binned:
    """Real values of one dimension by the digits of their bin's number, most significant first.

    A popped value is the centre of a bin.
    """

    def __init__(self, fn: Cumulative, bins: Bins) -> None:
        self.fn, self.bins = fn, bins

    def push(self, stack: Stack, value: Tensor) -> None:
        index = self.bins.index(value.expand(self.fn.batch_shape))
        start, coded = torch.zeros_like(index), []
        for step, cells in self.digits():
            digit = ((index - start) / step).floor()
            coded.append((digit, self.table(start, step, cells)))
            start = start + digit * step
        for digit, table in reversed(coded):
            stack.push(digit.reshape(-1), table)

    def pop(self, stack: Stack) -> Tensor:
        start = torch.zeros(self.fn.batch_shape, dtype=torch.float64)
        for step, cells in self.digits():
            start = start + step * stack.pop(self.table(start, step, cells)).reshape(start.shape)
        return self.bins.centre(start)

    def digits(self) -> list[tuple[int, int]]:
        """The place value of each digit, in bins, and the number of its values; most significant first."""
        digits, step = [], 1
        while step < self.bins.bins:
            digits.append((step, min(BASE, self.bins.bins // step)))
            step *= BASE
        return digits[::-1]

    def table(self, start: Tensor, step: int, cells: int) -> Tensor:
        """The masses of the ``cells`` of ``step`` bins each from bin ``start``: ``(start.numel(), cells)``."""
        index = start + step * torch.arange(cells + 1, dtype=torch.float64).reshape(-1, *[1] * start.dim())
        below = self.fn.cdf(self.bins.edge(index)).double()
        below = torch.where(index <= 0, 0.0, torch.where(index >= self.bins.bins, 1.0, below))
        return (below.diff(dim=0).clamp(min=0) + MIN_CELL_MASS).reshape(cells, -1).T


@dataclass(frozen=True)
class Window:
    """Some of a grid's bins around each of some numbers; the two outermost take all others.

    Args:
        grid: the bins.
        first: the number of the first of them for each number, any shape.
        bins: how many, a power of two.
    """

    grid: Grid
    first: Tensor
    bins: int

    @classmethod
    def around(cls, fn: Any, grid: Grid) -> Window:
        """Those of a normal's numbers, up to `REACH` deviations from the mean."""
        half = REACH * float(fn.stddev.max()) / grid.width + 1
        bins = 2 ** math.ceil(math.log2(2 * half))
        return cls(grid, grid.index(fn.mean) - bins // 2, bins)

    def index(self, value: Tensor) -> Tensor:
        """The number of the bin around ``value``, from 0: float64, same shape."""
        return (self.grid.index(value) - self.first).clamp(0, self.bins - 1)

    def centre(self, index: Tensor) -> Tensor:
        """The value that stands for a bin."""
        return self.grid.centre(index + self.first)

    def edge(self, index: Tensor) -> Tensor:
        """The lower edge of a bin."""
        return self.grid.edge(index + self.first)


class CholeskyNormal:
    """A normal vector with covariance L Lᵀ, each entry given the ones before it.

    Shapes: ``loc`` is ``(*batch, d)``; L is lower triangular, ``(*batch, d, d)``.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor, grid: Grid) -> None:
        self.loc, self.L, self.grid = loc, scale_tril, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        noise, entries = torch.zeros_like(value), []
        for i in range(value.shape[-1]):
            conditional = self.conditional(noise, i)
            entries.append(Binned(conditional, self.grid))
            noise[..., i] = (value[..., i] - conditional.mean) / conditional.stddev
        for i, entry in reversed(list(enumerate(entries))):
            entry.push(stack, value[..., i])

    def pop(self, stack: Stack) -> Tensor:
        value, noise = torch.zeros_like(self.loc), torch.zeros_like(self.loc)
        for i in range(value.shape[-1]):
            conditional = self.conditional(noise, i)
            value[..., i] = Binned(conditional, self.grid).pop(stack)
            noise[..., i] = (value[..., i] - conditional.mean) / conditional.stddev
        return value

    def conditional(self, noise: Tensor, i: int) -> Any:
        """Entry ``i`` given the standardised entries before it."""
        return distributions.Normal(self.loc[..., i] + (self.L[..., i, :i] * noise[..., :i]).sum(-1), self.L[..., i, i])


@codes(distributions.MultivariateNormal)
@codes(distributions.LowRankMultivariateNormal)
def _multivariate_normal(fn: Any, grid: Grid | None) -> Code:
    L = torch.linalg.cholesky(fn.covariance_matrix)
    return CholeskyNormal(fn.loc.expand(fn.batch_shape + fn.event_shape), L, latent_grid(grid))


def latent_grid(grid: Grid | None) -> Grid:
    """The grid, for a rule that needs one.

    Raises:
        ZooError: there is none, because the distribution is one of data.
    """
    if grid is None:
        raise ZooError("real data have no lossless code: only latents are rounded to a grid")
    return grid
