"""The rule of distributions without a rule of their own: what their support says.

Integers are coded by their masses, real numbers of one dimension by their ``cdf`` on the grid.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributions
from torch.distributions import constraints

from zoo.codec.grids import Grid, is_half_line
from zoo.codec.rules.finite import FiniteCode, Mapped, Windowed
from zoo.codec.rules.latents import Binned, latent_grid
from zoo.codec.rules.registry import Code, codes, no_rule
from zoo.errors import ZooError


@codes(distributions.Distribution)
def by_support(fn: Any, grid: Grid | None) -> Code:
    """The code of a distribution over single integers or real numbers."""
    support = fn.support
    if isinstance(support, constraints.integer_interval):
        return _interval(fn, torch.as_tensor(support.lower_bound), torch.as_tensor(support.upper_bound))
    if fn.event_shape:
        raise no_rule(fn)
    if support.is_discrete:
        return Windowed(fn, fn.mean.double().round())
    known = (type(constraints.real), constraints.interval, type(constraints.half_open_interval(0, 1)))
    if not (isinstance(support, known) or is_half_line(support)):
        raise ZooError(
            f"its values lie in {support}; a latent has a code if it is any real number, positive or bounded"
        )
    if not _has_cdf(fn):
        raise NotImplementedError
    if is_half_line(support):
        return Mapped(Binned(_Logarithm(fn), latent_grid(grid)), torch.log, torch.exp)
    return Binned(fn, latent_grid(grid))


def _has_cdf(fn: Any) -> bool:
    cdf = distributions.TransformedDistribution.cdf
    base = fn.base_dist if getattr(type(fn), "cdf", None) is cdf else fn
    return type(base).cdf is not distributions.Distribution.cdf


class _Logarithm:
    """The distribution of the logarithm of a positive number."""

    def __init__(self, fn: Any) -> None:
        self.fn, self.batch_shape = fn, fn.batch_shape

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most ``value``."""
        below: Tensor = self.fn.cdf(value.exp())
        return below


def _interval(fn: Any, lower: Tensor, upper: Tensor) -> Code:
    """By the masses of all integers from the least of ``lower`` to the greatest of ``upper``."""
    lowest, levels = int(lower.min()), int(upper.max() - lower.min()) + 1
    values = lowest + torch.arange(levels, dtype=torch.float64).reshape(-1, *[1] * len(fn.batch_shape))
    values = values.expand(levels, *fn.batch_shape)
    inside = (lower <= values) & (values <= upper)
    masses = fn.log_prob(values.clamp(lower, upper)).exp().where(inside, 0.0)
    return Mapped(FiniteCode(masses.movedim(0, -1)), lambda value: value - lowest, lambda symbol: symbol + lowest)
