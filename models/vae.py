"""The variational auto-encoder."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo import distributions
from zoo.distributions import DiscretisedLogistic, level_counts
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nets import MLP
from zoo.registry import family

LIKELIHOODS = {"binary": ("bernoulli",), "levels": ("categorical", "logistic"), "real": ("normal",)}
"""By support; the first is the default."""


@family(
    "vae",
    group="prescribed",
    paper="Kingma & Welling 2013, arXiv:1312.6114",
    guide="normal",
    recipe={
        "steps": 1000,
        "batch": 100,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.1,
        "schedule": "onecycle",
        "average": 0.99,
        "checkpoints": 20,
        "patience": 4,
    },
)
class VAE(nn.Module):
    """Variational auto-encoder: z ~ N(0, I), x | z ~ p(x; f(z)), every entry of x independent of the others given z.

    f is a perceptron from ``latent`` numbers to the parameters of each entry. By the event's support p is

    - binary: Bernoulli, with f(z) the logits;
    - K levels: categorical with logits a + T f(z) (``likelihood="categorical"``, the default): K free base logits ``a``
      an entry, tilted along ``statistics`` learned functions of the level, the columns of T, which all entries share;
      or a logistic distribution rounded to the levels (``likelihood="logistic"``), with f(z) its mean and log-scale in
      units of half the range;
    - real: normal, with f(z) the mean and the log of the scale.

    The output's bias (or ``a``) starts at what each entry of the training data shows on its own. Kingma & Welling 2013,
    sections 2 and 3. The guide stands on the shelf: ``vae+normal`` (the default), ``vae+planar``, ``vae+iaf``. The
    likelihood is known only as a bound.

    Raises:
        ZooError: a ``likelihood`` that the event's support does not have.
    """

    def __init__(
        self,
        event: Event,
        *,
        latent: int = 16,
        hidden: int = 512,
        layers: int = 2,
        dropout: float = 0.2,
        statistics: int = 2,
        likelihood: str = "auto",
    ) -> None:
        super().__init__()
        self.event, self.latent = event, latent
        self.kind = _kind(event, likelihood)
        self.per_entry = {"bernoulli": 1, "categorical": statistics, "logistic": 2, "normal": 2}[self.kind]
        self.decoder = MLP(latent, (hidden,) * layers, event.size * self.per_entry, dropout)
        if self.kind == "categorical":
            self.base = nn.Parameter(torch.zeros(*event.shape, _levels(event)))
            self.tilt = nn.Parameter(2 * _cosines(_levels(event), statistics))

    def model(self, x: Tensor) -> Any:
        """Draw z and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(z), obs=x)

    def likelihood(self, z: Tensor) -> TorchDistributionMixin:
        """p(x | z) for ``z`` of shape ``(n, latent)``: batch shape ``(n,)``, event shape ``event.shape``."""
        parameters = self.decoder(z).reshape(len(z), *self.event.shape, self.per_entry)
        if self.kind == "categorical":
            parameters = self.base + parameters @ self.tilt
        if self.kind != "logistic":
            return distributions.likelihood(self.event, parameters)
        half = (_levels(self.event) - 1) / 2
        loc, scale = parameters[..., 0], parameters[..., 1].clamp(-7, 7).exp()
        return DiscretisedLogistic(half * (1 + loc), half * scale, _levels(self.event)).to_event(len(self.event.shape))

    def initialise(self, x: Tensor) -> None:
        """Start from what each entry of the training data ``x``, shape ``(n, *event.shape)``, shows on its own."""
        bias = self.decoder.out.bias
        if self.kind == "categorical":
            self.base.copy_((level_counts(_levels(self.event), x) + 0.5).log())
            bias.zero_()
        elif self.kind == "logistic":
            half = (_levels(self.event) - 1) / 2
            scale = x.std(0).clamp(min=0.2) * math.sqrt(3) / math.pi  # a logistic's deviation is pi / sqrt(3) scales
            bias.copy_(torch.stack([x.mean(0) / half - 1, (scale / half).log()], -1).reshape(-1))
        elif self.kind == "bernoulli":
            bias.copy_(((x.sum(0) + 0.5) / (len(x) + 1)).logit().reshape(-1))
        else:
            bias.copy_(torch.stack([x.mean(0), x.std(0).clamp(min=1e-3).log()], -1).reshape(-1))


def _cosines(levels: int, count: int) -> Tensor:
    """The ``count`` slowest cosines over the levels, shape ``(count, levels)``."""
    frequency, place = torch.arange(1, count + 1)[:, None], (torch.arange(levels) + 0.5) / levels
    return torch.cos(math.pi * frequency * place)


def _levels(event: Event) -> int:
    return event.levels or 0


def _kind(event: Event, likelihood: str) -> str:
    choices = LIKELIHOODS[event.support]
    if likelihood == "auto":
        return choices[0]
    if likelihood not in choices:
        raise ZooError(
            f"for {event.support} data the vae's likelihood is {' or '.join(choices)} (or auto), got {likelihood!r}"
        )
    return likelihood
