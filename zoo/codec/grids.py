"""Where real latents may lie: a uniform grid that model and guide share.

A real number cannot be popped from a finite stack, a bin can. Bins have equal width, not equal mass under the prior,
because a guide may draw a latent before the latents that its prior depends on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor
from torch.distributions import Independent, VonMises, constraints

from zoo.pairs.pair import Pair
from zoo.pairs.records import cut, pair_for
from zoo.pairs.sites import data_first, is_discrete, random_sites
from zoo.seeding import seeded

BINS_PER_DEVIATION = 16
"""At least, of the posterior; a bin of width w costs about (w / deviation)² / 24 nats."""
HALF_RANGE = 2**13
"""Latents up to this absolute value have bins of their own; the two outermost bins take all others."""
HALF_RANGE_OF_LOGARITHMS = 2**9
"""The same of the logarithms of positive latents, so that these are finite and not zero."""
MAX_EXPONENT = 20
"""Of a `Grid`."""


class Bins(Protocol):
    """Numbered bins of real values; their number is a power of two, so that edges are exact in floating point."""

    @property
    def bins(self) -> int:
        """Their number."""

    def index(self, value: Tensor) -> Tensor:
        """The number of the bin around ``value``, from 0: float64, same shape."""

    def centre(self, index: Tensor) -> Tensor:
        """The value that stands for a bin."""

    def edge(self, index: Tensor) -> Tensor:
        """The lower edge of a bin."""


@dataclass(frozen=True)
class Grid:
    """Bins of width ``2 ** -exponent``, centred on the multiples of it."""

    exponent: int
    half_range: int = HALF_RANGE

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0**-self.exponent

    @property
    def bins(self) -> int:
        """Their number."""
        return 2 * self.half_range * 2**self.exponent

    def index(self, value: Tensor) -> Tensor:
        """The number of the bin around ``value``, from 0: float64, same shape."""
        return ((value.double() / self.width).round() + self.bins // 2).clamp(0, self.bins - 1)

    def centre(self, index: Tensor) -> Tensor:
        """The value that stands for a bin."""
        return (index - self.bins // 2) * self.width

    def edge(self, index: Tensor) -> Tensor:
        """The lower edge of a bin."""
        return (index - self.bins // 2 - 0.5) * self.width


@dataclass(frozen=True)
class UnitGrid:
    """Bins of equal width that cover the numbers from 0 to 1, so that every centre lies between them."""

    bins: int

    def index(self, value: Tensor) -> Tensor:
        """The number of the bin around ``value``, from 0: float64, same shape."""
        return (value.double() * self.bins).floor().clamp(0, self.bins - 1)

    def centre(self, index: Tensor) -> Tensor:
        """The value that stands for a bin."""
        return (index + 0.5) / self.bins

    def edge(self, index: Tensor) -> Tensor:
        """The lower edge of a bin."""
        return index / self.bins


def is_half_line(support: Any) -> bool:
    """Whether a support is the positive numbers, so that logarithms of values lie on the grid."""
    support = _entrywise(support)
    kinds = (type(constraints.positive), type(constraints.nonnegative))
    return isinstance(support, kinds) and bool(torch.as_tensor(support.lower_bound).eq(0).all())


def interval_of(fn: Any) -> tuple[Tensor, Tensor] | None:
    """The bounds of a distribution of bounded numbers; ``None`` for any other.

    Angles lie between -pi and pi, where they are drawn, though their density is periodic.
    """
    if isinstance(_plain(fn), VonMises):
        return torch.tensor(-math.pi), torch.tensor(math.pi)
    support = _entrywise(fn.support)
    if not isinstance(support, (type(constraints.unit_interval), type(constraints.half_open_interval(0, 1)))):
        return None
    return torch.as_tensor(support.lower_bound).double(), torch.as_tensor(support.upper_bound).double()


def space_of(fn: Any) -> str:
    """Where the values of a distribution lie; programs that code the same latent have to agree on it."""
    try:
        if is_discrete(fn):
            return "whole numbers"
        if is_half_line(fn.support):
            return "positive"
        if fn.support is constraints.simplex:
            return "shares that sum to one"
        bounds = interval_of(fn)
    except NotImplementedError:
        return "unknown"
    return f"from {bounds[0].min():g} to {bounds[1].max():g}" if bounds else "any real number"


def fit_grid(pair: Pair, x: Tensor, particles: int = 16) -> Grid:
    """The coarsest grid that resolves the posterior of data ``x``: `BINS_PER_DEVIATION` bins to its deviation.

    The deviation is that of ``particles`` draws of the guide per datum, in every dimension of every latent, averaged as
    inverse squares, because the cost of a bin is proportional to those. A pair without latents gets width 1.
    """
    variances = list[Tensor]()
    for _, part in cut(pair.event, x):
        own = pair_for(pair, part)
        with seeded(0):
            trace = poutine.trace(own.guide).get_trace(part.repeat_interleave(particles, 0))
        for name, site in random_sites(trace):
            if not site["fn"].support.is_discrete:
                value = data_first(name, site, particles * len(part), own.structure.plates)
                value = value.reshape(len(part), particles, -1)
                variances.append((value.log() if is_half_line(site["fn"].support) else value).var(1).flatten())
    if not variances:
        return Grid(0)
    deviation = float((1 / torch.cat(variances).clamp(min=1e-12)).mean() ** -0.5)
    return Grid(min(max(math.ceil(math.log2(BINS_PER_DEVIATION / deviation)), 0), MAX_EXPONENT))


def _entrywise(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _plain(fn: Any) -> Any:
    """A distribution less its declared event dimensions and its mask."""
    while isinstance(fn, (Independent, MaskedDistribution)):
        fn = fn.base_dist
    return fn
