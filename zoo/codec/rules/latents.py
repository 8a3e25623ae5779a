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
from torch.distributions import Normal

from zoo.codec.grids import Bins, Grid
from zoo.codec.rules.registry import Code, codes
from zoo.codec.stack import Stack
from zoo.errors import ZooError

BASE = 32
"""A bin's number is coded digit by digit in this base, which keeps tables short."""
REACH = 8.0
"""Deviations from the mean within which a `NearNormal` has bins: 1e-15 of its mass lies beyond them."""
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


class NearNormal:
    """Normal numbers by bins near their means, each a single symbol: all of them in one call of compiled code.

    A popped value is the centre of a bin up to about `REACH` deviations of the widest of them from its mean. A value
    that lies farther is pushed as the nearest such bin, and with ``beyond`` also as a symbol of its own (`Binned`).

    Without ``beyond``, numbers are coded in reverse order. The symbol that was pushed last leaves bits that say how
    likely it was, so that a number popped from them under a similar distribution would be as unlikely; pushed in its
    turn at the same place, it would pass this on to the next.

    Args:
        fn: the normal distributions, of any batch shape.
        grid: of the values.
        beyond: true for numbers that are pushed and then popped, false for those that are popped and then pushed back.
    """

    def __init__(self, fn: Normal, grid: Grid, *, beyond: bool) -> None:
        self.fn, self.grid, self.beyond = fn, grid, beyond
        self.middle = grid.index(fn.mean)
        self.half = math.ceil(REACH * float(fn.stddev.max()) / grid.width) + 1

    def push(self, stack: Stack, value: Tensor) -> None:
        away = (self.grid.index(value) - self.middle).clamp(-self.half, self.half)
        if bool((far := self._far(away)).any()):
            self._tail(far).push(stack, value[far])
        stack.push_normal(self._in_order(away), *self._units(), self.half)

    def pop(self, stack: Stack) -> Tensor:
        away = self._in_order(stack.pop_normal(*self._units(), self.half)).reshape(self.middle.shape)
        value = self.grid.centre(self.middle + away)
        if bool((far := self._far(away)).any()):
            value[far] = self._tail(far).pop(stack)
        return value

    def _units(self) -> tuple[Tensor, Tensor]:
        """Means from the middle and deviations, in bins."""
        mean = (self.fn.mean - self.grid.centre(self.middle)) / self.grid.width
        return self._in_order(mean), self._in_order(self.fn.stddev / self.grid.width)

    def _in_order(self, values: Tensor) -> Tensor:
        return values.flatten() if self.beyond else values.flatten().flip(0)

    def _far(self, away: Tensor) -> Tensor:
        """Of which values the symbol says only that they lie far away."""
        return (away.abs() == self.half) & self.beyond

    def _tail(self, far: Tensor) -> Binned:
        return Binned(Normal(self.fn.mean[far], self.fn.stddev[far]), self.grid)


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
