"""Where latents may lie: a uniform grid that model and guide share.

A real number cannot be popped from a finite stack, a bin can. The bins are equally wide rather than equally probable
under the prior, because a guide may draw a latent before the latents that its prior depends on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pyro import poutine
from torch import Tensor

from zoo.pairs.pair import Pair
from zoo.pairs.sites import random_sites
from zoo.seeding import seeded

FINENESS = 16
"""Bins that one deviation of the posterior spans at least; a bin of width w costs about (w / deviation)² / 24 nats."""
HALF_RANGE = 512
"""Latents from minus to plus this have bins of their own; the outermost two bins take what lies beyond."""
BASE = 32
"""A bin's number is coded digit by digit in this base, so that a table is never longer."""
FINEST = 20
"""The most that `Grid.exponent` may be."""


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
        """Digits of a bin's number in base `BASE`."""
        return math.ceil((self.exponent + math.log2(2 * HALF_RANGE)) / math.log2(BASE))

    @property
    def bins(self) -> int:
        """How many there are."""
        return int(BASE**self.digits)

    def index(self, value: Tensor) -> Tensor:
        """The number of the bin that holds ``value``, from 0: float64, same shape."""
        return ((value.double() / self.width).round() + self.bins // 2).clamp(0, self.bins - 1)

    def centre(self, index: Tensor) -> Tensor:
        """The value that stands for a bin."""
        return (index - self.bins // 2) * self.width

    def edge(self, index: Tensor) -> Tensor:
        """The lower edge of a bin."""
        return (index - self.bins // 2 - 0.5) * self.width


def fitting(pair: Pair, x: Tensor, particles: int = 16) -> Grid:
    """The coarsest grid on which the posterior of data ``x`` is still smooth: `FINENESS` bins to its deviation.

    The deviation is that of ``particles`` draws of the guide for each datum, in every dimension of every latent; its
    inverse squares are averaged, since it is they that a bin costs. A pair without latents has any grid.
    """
    with seeded(0):
        trace = poutine.trace(pair.guide).get_trace(x.repeat_interleave(particles, 0))
    values = [site["value"] for _, site in random_sites(trace) if not site["fn"].support.is_discrete]
    spread = [value.reshape(len(x), particles, -1).var(1).flatten() for value in values]
    if not spread:
        return Grid(0)
    deviation = float((1 / torch.cat(spread).clamp(min=1e-12)).mean() ** -0.5)
    return Grid(min(max(math.ceil(math.log2(FINENESS / deviation)), 0), FINEST))
