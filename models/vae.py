"""The variational auto-encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.decoder import Decoder
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
    """Variational auto-encoder: z ~ p(z), x | z ~ p(x; f(z)), every entry of x independent of the others given z.

    f is a perceptron from ``latent`` numbers to the parameters of each entry; what p(x; f(z)) is goes by the event's
    support (see `zoo.nn.decoder.Decoder`, which takes ``statistics`` and ``likelihood``). Its output's bias starts at
    what each entry of the training data shows on its own. Kingma & Welling 2013, sections 2 and 3.

    The prior p(z) stands on a shelf: standard normal by default, ``vae:prior=vamp``, ``vae:prior=flow``. So does the
    guide: ``vae+normal`` (the default), ``vae+planar``, ``vae+iaf``; both together ``vae+iaf:prior=flow``. The
    likelihood is known only as a bound.

    Raises:
        ZooError: a ``likelihood`` that the event's support does not have.
    """

    def __init__(
        self,
        event: Event,
        make_prior: Callable[[int], Any],
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
        self.prior = make_prior(latent)
        self.decoder = Decoder(event, latent, (hidden,) * layers, dropout, statistics, likelihood)

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
