"""The variational auto-encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.decoder import Decoder
from zoo.nn.networks import DecoderNet
from zoo.pairs.pair import HasInitialise
from zoo.pairs.registry import family


@family(
    "vae",
    group="prescribed",
    paper="Kingma & Welling 2013, arXiv:1312.6114",
    guide="normal",
    prior="standard",
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
    """Variational auto-encoder with independent entries of x given z.

        z ~ p(z)                       latent, shape (L,); the prior
        x | z ~ p(x; f(z))             f a network; p depends on the event's support
        q(z | x)                       the guide

    The prior is chosen by name, ``vae:prior=vamp`` or ``vae:prior=flow``, and so is the guide, ``vae+planar`` or
    ``vae+iaf``, or both, ``vae+iaf:prior=flow``. The bias of f's last layer starts at the marginal statistics of the
    training data. The likelihood is known only by a lower bound.

    Args:
        event: any shape and support.
        make_prior: from L to the prior.
        net: f, one of ``mlp``, ``gated`` (as in the VampPrior's code), ``conv`` and ``resnet``; the guide takes the
            same, or its own by ``guide.net``. By default convolutions for colours and for sides of 32 or more.
        latent: L.
        hidden: width of each hidden layer of f, if it is ``mlp`` or ``gated``.
        layers: number of these layers.
        dropout: share of f's hidden units dropped in training.
        statistics: functions of the level in a categorical likelihood (see `zoo.nn.decoder.Decoder`).
        likelihood: ``"auto"``, or a likelihood of the event's support (see `zoo.nn.decoder.Decoder`).

    Raises:
        ZooError: a ``likelihood`` that the event's support does not have, another ``net``.

    Reference:
        Kingma & Welling 2013, arXiv:1312.6114, sections 2 and 3.
    """

    def __init__(
        self,
        event: Event,
        make_prior: Callable[[int], Any],
        *,
        net: DecoderNet = "auto",
        latent: int = 16,
        hidden: int = 512,
        layers: int = 2,
        dropout: float = 0.2,
        statistics: int = 2,
        likelihood: str = "auto",
    ) -> None:
        super().__init__()
        self.event, self.latent = event, latent
        self.prior = make_prior(latent)
        self.decoder = Decoder(event, latent, (hidden,) * layers, dropout, statistics, likelihood, net)

    def model(self, x: Tensor) -> Any:
        """Draw z and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        prior = self.prior()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            return pyro.sample("x", self.decoder(z), obs=x)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start decoder and prior from the training data ``x``, shape ``(n, *event.shape)``."""
        self.decoder.initialise(x)
        if isinstance(self.prior, HasInitialise):
            self.prior.initialise(x)
