"""Generative adversarial network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.event import Event
from zoo.nn.mlp import MLP
from zoo.nn.networks import DECODERS, ENCODERS, DecoderNet, chosen
from zoo.pairs.pair import Player
from zoo.pairs.registry import family


@family(
    "gan",
    group="implicit",
    paper="Goodfellow et al. 2014, arXiv:1406.2661",
    recipe={"steps": 2500, "batch": 128, "lr": 2e-3, "average": 0.99},
)
class GAN(nn.Module):
    """A generator trained against a discriminator; implicit, without a likelihood.

        z ~ N(0, I_L)                      latent, shape (L,)
        x = G(z)                           deterministic, shape event.shape

        discriminator loss:  -E_data log s(D(x)) - E_z log(1 - s(D(G(z))))
        generator loss:      -E_z log s(D(G(z)))

    D(x) is the logit that x is real and s the logistic function; the generator's loss is the non-saturating one. The
    two players take one optimizer step each per batch. Integer data: G rounds to the levels 0 ... K-1 with a
    straight-through gradient (Bengio et al. 2013, arXiv:1308.3432), so samples lie in the event's support.
    Not promised: convergence.

    Args:
        event: any shape, any support.
        net: of the generator, and what the discriminator sees: ``mlp``, ``gated``, ``conv`` or ``resnet``
            (`zoo.nn.networks`).
        latent: L.
        hidden: width of the two hidden layers of both networks.
        dropout: share of the discriminator's hidden units dropped.

    Reference:
        Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self, event: Event, *, net: DecoderNet = "auto", latent: int = 32, hidden: int = 128, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.event, self.latent = event, latent
        half = 1.0 if event.levels is None else (event.levels - 1) / 2
        self.register_buffer("centre", torch.full(event.shape, 0.0 if event.levels is None else half))
        self.register_buffer("spread", torch.full(event.shape, half))
        self.generator = chosen(DECODERS, net, event)(event, latent, (hidden, hidden), 1, 0.0)
        self.features = chosen(ENCODERS, net, event)(event)
        self.discriminator = MLP(self.features.features, (hidden, hidden), 1, dropout)

    def model(self, x: Tensor) -> Any:
        prior = dist.Normal(torch.zeros(self.latent, device=x.device), 1.0).to_event(1)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            return pyro.deterministic("x", self.generate(z), event_dim=len(self.event.shape))

    def generate(self, z: Tensor) -> Tensor:
        """G: ``(n, latent)`` to ``(n, *event.shape)``, within the event's support."""
        raw: Tensor = self.generator(z).reshape(-1, *self.event.shape)
        if self.event.levels is None:
            return self.centre + self.spread * raw
        smooth = self.centre + self.spread * raw.tanh()
        return smooth + (smooth.round() - smooth).detach()

    def logit(self, x: Tensor) -> Tensor:
        """D: ``(n, *event.shape)`` to ``(n,)``, the logit that ``x`` is real."""
        return self.discriminator(self.features(((x - self.centre) / self.spread).flatten(1))).squeeze(1)

    def players(self) -> Sequence[Player]:
        """The discriminator and the generator, in this order."""
        options = {"betas": (0.5, 0.999)}
        judging = [*self.features.parameters(), *self.discriminator.parameters()]
        return [
            Player("discriminator", judging, self.discriminator_loss, options),
            Player("generator", list(self.generator.parameters()), self.generator_loss, options),
        ]

    def discriminator_loss(self, x: Tensor) -> Tensor:
        """Cross-entropy of real against generated data, in nats (2 log 2 when D cannot tell)."""
        return softplus(-self.logit(x)).mean() + softplus(self.logit(self.model(x).detach())).mean()

    def generator_loss(self, x: Tensor) -> Tensor:
        """Cross-entropy of generated data labelled as real, in nats (log 2 when D cannot tell)."""
        return softplus(-self.logit(self.model(x))).mean()

    def initialise(self, x: Tensor) -> None:
        """Standardise real data by the mean and standard deviation of the training data."""
        if self.event.levels is None:
            self.centre.copy_(x.mean(0))
            self.spread.copy_(x.std(0).clamp(min=1e-3))
