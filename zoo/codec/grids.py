"""Where real latents may lie: a uniform grid that model and guide share.

A real number cannot be popped from a finite stack, a bin can. Bins have equal width, not equal mass under the prior,
because a guide may draw a latent before the latents that its prior depends on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from zoo.pairs.pair import Pair
from zoo.pairs.sites import random_sites
from zoo.seeding import seeded

BINS_PER_DEVIATION = 16
"""At least, of the posterior; a bin of width w costs about (w / deviation)² / 24 nats."""
HALF_RANGE = 512
"""Latents up to this absolute value have bins of their own; the two outermost bins take all others."""
BASE = 32
"""A bin's number is coded digit by digit in this base, which keeps tables short."""
MAX_EXPONENT = 20
"""Of a `Grid`."""


@dataclass(frozen=True)
class Grid:
    """Bins of width ``2 ** -exponent``, centred on the multiples of it; exact in floating point."""

    exponent: int

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0**-self.exponent

    @property
    def digits(self) -> int:
        """Of a bin's number in base `BASE`."""
        return math.ceil((self.exponent + math.log2(2 * HALF_RANGE)) / math.log2(BASE))

    @property
    def bins(self) -> int:
        """Their number."""
        return int(BASE**self.digits)

    def index(self, value: Tensor) -> Tensor:
        """The number of the bin around ``value``, from 0: float64, same shape."""
        return ((value.double() / self.width).round() + self.bins // 2).clamp(0, self.bins - 1)

    def centre(self, index: Tensor) -> Tensor:
        """The value that stands for a bin."""
        return (index - self.bins // 2) * self.width

    def edge(self, index: Tensor) -> Tensor:
        """The lower edge of a bin."""
        return (index - self.bins // 2 - 0.5) * self.width


def is_half_line(support: Any) -> bool:
    """Whether a support is the positive numbers, so that logarithms of values lie on the grid."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    kinds = (type(constraints.positive), type(constraints.nonnegative))
    return isinstance(support, kinds) and bool(torch.as_tensor(support.lower_bound).eq(0).all())


def fit_grid(pair: Pair, x: Tensor, particles: int = 16) -> Grid:
    """The coarsest grid that resolves the posterior of data ``x``: `BINS_PER_DEVIATION` bins to its deviation.

    The deviation is that of ``particles`` draws of the guide per datum, in every dimension of every latent, averaged as
    inverse squares, because the cost of a bin is proportional to those. A pair without latents gets width 1.
    """
    with seeded(0):
        trace = poutine.trace(pair.guide).get_trace(x.repeat_interleave(particles, 0))
    sites = [site for _, site in random_sites(trace) if not site["fn"].support.is_discrete]
    values = [site["value"].log() if is_half_line(site["fn"].support) else site["value"] for site in sites]
    variances = [value.reshape(len(x), particles, -1).var(1).flatten() for value in values]
    if not variances:
        return Grid(0)
    deviation = float((1 / torch.cat(variances).clamp(min=1e-12)).mean() ** -0.5)
    return Grid(min(max(math.ceil(math.log2(BINS_PER_DEVIATION / deviation)), 0), MAX_EXPONENT))
