"""A linear model of points in the plane whose evidence is known, and what its variants are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.event import Event
from zoo.pairs.pair import Pair, no_guide
from zoo.seeding import seeded


def reals(n: int = 20, size: int = 2) -> Tensor:
    with seeded(0):
        return torch.randn(n, size)


def normal(mean: Tensor, scale: float = 1.0) -> Any:
    return dist.Normal(mean, scale).to_event(1)


class TwoSites(nn.Module):
    """A latent z, data x, and a guide of z, whose distributions a subclass gives."""

    prior: Callable[..., Any]
    likelihood: Callable[..., Any]
    posterior: Callable[..., Any]

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(z, x), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))


class Linear(TwoSites):
    """z ~ N(0, I), x ~ N(z, I) in the plane; the guide is the posterior, so every weight is p(x) = N(x; 0, 2 I)."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.late = nn.Linear(2, 2), nn.Linear(2, 2)
        nn.init.zeros_(self.late.weight)
        nn.init.zeros_(self.late.bias)

    def prior(self, x: Tensor) -> Any:
        return normal(x.new_zeros(2))

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return normal(z)

    def posterior(self, x: Tensor) -> Any:
        return normal(x / 2, math.sqrt(0.5))


def pair_of(kind: type[nn.Module] | nn.Module, event: Event | None = None) -> Pair:
    made: Any = kind() if isinstance(kind, type) else kind
    return Pair(event or Event(2, "real"), made.model, getattr(made, "guide", no_guide), extras=made)


class LateLeak(Linear):
    """It depends on x once training has moved a network that starts at zero."""

    def prior(self, x: Tensor) -> Any:
        return normal(self.late(x))
