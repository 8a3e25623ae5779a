"""The rule of distributions without a rule of their own: what their support says.

Integers are coded by their masses, real numbers of one dimension by their ``cdf`` on the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import scipy
import torch
from torch import Tensor, distributions
from torch.distributions import constraints

from zoo.codec.grids import HALF_RANGE_OF_LOGARITHMS, Grid, UnitGrid, interval_of, is_half_line
from zoo.codec.rules.finite import FiniteCode, Mapped, Windowed
from zoo.codec.rules.latents import Binned, CumulativeFunction, latent_grid
from zoo.codec.rules.registry import Code, code, codes, no_rule
from zoo.codec.stack import Stack
from zoo.errors import ZooError

MAX_CENTRE = 2.0**30
"""Of the window of an unbounded integer: a value near zero can be coded even if the mean is far from it."""


@codes(distributions.Distribution)
def by_support(fn: Any, grid: Grid | None) -> Code:
    """The code of a distribution over single integers or real numbers."""
    support = fn.support
    if isinstance(support, constraints.integer_interval):
        return _interval(fn, torch.as_tensor(support.lower_bound), torch.as_tensor(support.upper_bound))
    if fn.event_shape:
        raise no_rule(fn)
    if support.is_discrete:
        return Windowed(fn, fn.mean.double().clamp(-MAX_CENTRE, MAX_CENTRE).round())
    if interval_of(fn) is None and not (isinstance(support, type(constraints.real)) or is_half_line(support)):
        raise ZooError(
            f"its values lie in {support}; a latent has a code if it is any real number, positive or bounded"
        )
    if not _has_cdf(fn):
        raise NotImplementedError
    return real_code(fn, fn.cdf, grid)


def real_code(fn: Any, cdf: Callable[[Tensor], Tensor], grid: Grid | None) -> Code:
    """The code of single real numbers: positive ones by their logarithms, bounded ones by bins between the bounds.

    Args:
        fn: their distribution.
        cdf: its cumulative distribution function.
        grid: of latents.

    Raises:
        ZooError: there is no grid, because the numbers are data.
    """
    grid = latent_grid(grid)
    if bounds := interval_of(fn):
        lower, upper = bounds
        size = upper - lower
        if not bool(size.isfinite().all()):
            raise ZooError(f"its bounds should be finite numbers, got {lower.min():g} to {upper.max():g}")
        unit = UnitGrid(2 ** max(1, math.ceil(math.log2(size.max()) + grid.exponent)))
        of_unit = CumulativeFunction(lambda value: cdf((lower + value * size).clamp(lower, upper)), fn.batch_shape)
        return Mapped(Binned(of_unit, unit), lambda value: (value - lower) / size, lambda value: lower + value * size)
    if is_half_line(fn.support):
        of_log = CumulativeFunction(lambda value: cdf(value.exp()), fn.batch_shape)
        return Mapped(Binned(of_log, Grid(grid.exponent, HALF_RANGE_OF_LOGARITHMS)), torch.log, torch.exp)
    return Binned(CumulativeFunction(cdf, fn.batch_shape), grid)


def _has_cdf(fn: Any) -> bool:
    cdf = distributions.TransformedDistribution.cdf
    base = fn.base_dist if getattr(type(fn), "cdf", None) is cdf else fn
    return type(base).cdf is not distributions.Distribution.cdf


def _by_scipy(function: Callable[..., Any], *parameters: Tensor) -> Callable[[Tensor], Tensor]:
    """A function of scipy's as one of its last argument in float64."""
    fixed = [each.detach().double().numpy() for each in parameters]
    return lambda value: torch.as_tensor(function(*fixed, value.detach().double().numpy()), dtype=torch.float64)


@codes(distributions.Beta)
def _beta(fn: Any, grid: Grid | None) -> Code:
    return real_code(fn, _by_scipy(scipy.special.betainc, fn.concentration1, fn.concentration0), grid)


class StickBreaking:
    """Shares that sum to one, under a Dirichlet distribution with this ``concentration``, shape ``(*batch, K)``.

    Each is a fraction v_i ~ Beta(a_i, a_(i+1) + ... + a_K) of what the shares before it leave.
    """

    def __init__(self, concentration: Tensor, grid: Grid | None) -> None:
        after = concentration.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        pairs = zip(concentration[..., :-1].unbind(-1), after.unbind(-1), strict=True)
        self.fractions = [code(distributions.Beta(first, rest), grid) for first, rest in pairs]

    def push(self, stack: Stack, value: Tensor) -> None:
        left, found = torch.ones_like(value[..., 0]), []
        for share in value.unbind(-1)[:-1]:
            found.append(share / left)
            left = left * (1 - found[-1])
        for fraction, each in reversed(list(zip(self.fractions, found, strict=True))):
            fraction.push(stack, each)

    def pop(self, stack: Stack) -> Tensor:
        left, shares = torch.ones((), dtype=torch.float64), []
        for fraction in self.fractions:
            each = fraction.pop(stack)
            shares.append(left * each)
            left = left * (1 - each)
        return torch.stack([*shares, left], -1)


@codes(distributions.Dirichlet)
def _dirichlet(fn: Any, grid: Grid | None) -> Code:
    return StickBreaking(fn.concentration.double(), grid)


@codes(distributions.StudentT)
def _student(fn: Any, grid: Grid | None) -> Code:
    below = _by_scipy(scipy.special.stdtr, fn.df)
    return real_code(fn, lambda value: below((value - fn.loc) / fn.scale), grid)


@codes(distributions.VonMises)
def _von_mises(fn: Any, grid: Grid | None) -> Code:
    turn = _by_scipy(
        lambda loc, concentration, value: scipy.stats.vonmises.cdf(value, concentration, loc), fn.loc, fn.concentration
    )
    start = turn(torch.tensor(-math.pi))
    return real_code(fn, lambda value: turn(value) - start, grid)


def _interval(fn: Any, lower: Tensor, upper: Tensor) -> Code:
    """By the masses of all integers from the least of ``lower`` to the greatest of ``upper``."""
    lowest, levels = int(lower.min()), int(upper.max() - lower.min()) + 1
    values = lowest + torch.arange(levels, dtype=torch.float64).reshape(-1, *[1] * len(fn.batch_shape))
    values = values.expand(levels, *fn.batch_shape)
    inside = (lower <= values) & (values <= upper)
    masses = fn.log_prob(values.clamp(lower, upper)).exp().where(inside, 0.0)
    return Mapped(FiniteCode(masses.movedim(0, -1)), lambda value: value - lowest, lambda symbol: symbol + lowest)
