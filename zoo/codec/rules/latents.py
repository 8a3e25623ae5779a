"""Codes of real latents on a grid: one dimension by differences of its cdf, normal vectors entry by entry.

The rules here are those of multivariate normals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributions

from zoo.codec.grids import BASE, Grid
from zoo.codec.rules.registry import Code, codes
from zoo.codec.stack import Stack
from zoo.errors import ZooError

MIN_CELL_MASS = 1e-30
"""Added to every cell's mass: far in a tail the ``cdf`` is flat in floating point."""


class Binned:
    """Real values of one dimension by the digits of their bin's number, most significant first.

    The distribution ``fn`` needs a ``cdf``. A popped value is the centre of a bin.
    """

    def __init__(self, fn: Any, grid: Grid) -> None:
        self.fn, self.grid = fn, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        index = self.grid.index(value.expand(self.fn.batch_shape))
        start, coded = torch.zeros_like(index), []
        for step in self.steps():
            digit = ((index - start) / step).floor()
            coded.append((digit, self.table(start, step)))
            start = start + digit * step
        for digit, table in reversed(coded):
            stack.push(digit.reshape(-1), table)

    def pop(self, stack: Stack) -> Tensor:
        start = torch.zeros(self.fn.batch_shape, dtype=torch.float64)
        for step in self.steps():
            start = start + step * stack.pop(self.table(start, step)).reshape(start.shape)
        return self.grid.centre(start)

    def steps(self) -> list[int]:
        """The place value of each digit, in bins, most significant first."""
        return [BASE**digit for digit in reversed(range(self.grid.digits))]

    def table(self, start: Tensor, step: int) -> Tensor:
        """The masses of the `BASE` cells of ``step`` bins each from bin ``start``: ``(start.numel(), BASE)``."""
        index = start + step * torch.arange(BASE + 1, dtype=torch.float64).reshape(-1, *[1] * start.dim())
        below = self.fn.cdf(self.grid.edge(index)).double()
        below = torch.where(index <= 0, 0.0, torch.where(index >= self.grid.bins, 1.0, below))
        return (below.diff(dim=0).clamp(min=0) + MIN_CELL_MASS).reshape(BASE, -1).T


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
