"""The rectified Gaussian belief net: two layers of units that are zero or positive."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.nn.functional import relu

from zoo.event import Event
from zoo.nn.decoder import Decoder
from zoo.pairs.registry import family


@family(
    "rgbn",
    group="energy",
    paper="Hinton & Ghahramani 1997, Phil. Trans. R. Soc. B 352",
    guide="normal",
    recipe={
        "steps": 1500,
        "batch": 100,
        "lr": 3e-3,
        "schedule": "onecycle",
        "average": 0.99,
        "checkpoints": 20,
        "patience": 4,
    },
)
class RGBN(nn.Module):
    """Rectified Gaussian belief net: linear from layer to layer, and rectified in each.

        y2 ~ N(b2, I)                                 relu(y) = max(y, 0)
        y1 | y2 ~ N(W2 relu(y2) + b1, I)
        x | y1 ~ N(W1 relu(y1) + b0, diag s^2)        real data
        x | y1 ~ p(x; W1 relu(y1) + b0)               binary data and levels (`zoo.nn.decoder.Decoder`)
        q(y2, y1 | x)                                 the guide

    A unit whose y is negative is exactly zero and has no effect below, so that a sum of few of them explains a datum.
    The latents are y before rectification; there the density is smooth almost everywhere. Inference is amortised, by
    any guide of the shelf (``rgbn+iaf``), where the paper samples the posterior by Gibbs steps. The likelihood is known
    only by a lower bound.

    Args:
        event: any shape and support.
        top: units of y2.
        bottom: units of y1.
        bias: where b1 starts, and b2 at zero; the more negative, the fewer units are active.

    Reference:
        Hinton & Ghahramani 1997, Generative models for discovering sparse distributed representations, Phil. Trans.
        R. Soc. B 352, sections 4 and 5.
    """

    def __init__(self, event: Event, *, top: int = 16, bottom: int = 64, bias: float = -1.0) -> None:
        super().__init__()
        self.event = event
        self.b2 = nn.Parameter(torch.zeros(top))
        self.between = nn.Linear(top, bottom)  # W2 and b1
        nn.init.constant_(self.between.bias, bias)
        if event.levels is None:
            self.mean = nn.Linear(bottom, event.size)  # W1 and b0
            self.log_s = nn.Parameter(torch.zeros(event.size))
        else:
            self.decoder = Decoder(event, bottom, ())

    def model(self, x: Tensor) -> Any:
        """Draw y2, y1 and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        with pyro.plate("data", len(x)):
            y2 = pyro.sample("y2", dist.Normal(self.b2, 1.0).to_event(1))
            y1 = pyro.sample("y1", dist.Normal(self.between(relu(y2)), 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(relu(y1)), obs=x)

    def likelihood(self, units: Tensor) -> TorchDistributionMixin:
        """p(x | y1) for ``units`` relu(y1), shape ``(..., bottom)``."""
        if self.event.levels is not None:
            return self.decoder(units)
        shape = self.event.shape
        loc, scale = self.mean(units), self.log_s.clamp(-7, 7).exp()
        return dist.Normal(loc.reshape(-1, *shape), scale.reshape(shape)).to_event(len(shape))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start b0, and s, from the marginals of the training data ``x``, shape ``(n, *event.shape)``."""
        if self.event.levels is not None:
            self.decoder.initialise(x)
        else:
            self.mean.bias.copy_(x.flatten(1).mean(0))
            self.log_s.copy_(x.flatten(1).std(0).clamp(min=1e-3).log())
