"""The variational auto-encoder."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo import distributions
from zoo.distributions import DiscretisedLogistic
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nets import mlp
from zoo.registry import family


@family(
    "vae",
    group="prescribed",
    paper="Kingma & Welling 2013, arXiv:1312.6114",
    guide="normal",
    recipe={
        "steps": 2000,
        "batch": 100,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.1,
        "schedule": "onecycle",
        "average": 0.99,
    },
)
class VAE(nn.Module):
    """docs"""

    def __init__(
        self,
        event: Event,
        *,
        latent: int = 16,
        hidden: int = 256,
        layers: int = 2,
        dropout: float = 0.1,
        rank: int = 0,
        likelihood: str = "auto",
    ) -> None:
        super().__init__()
        self.event, self.latent = event, latent
        self.logistic = likelihood == "logistic"
        self.per_entry = 2 if self.logistic else distributions.parameters_per_entry(event)
        self.rank = rank
        r = rank or self.per_entry
        self.decoder = mlp(latent, (hidden,) * layers, event.size * r, dropout)
        if rank:
            self.mix = nn.Linear(rank, self.per_entry, bias=False)
            t = torch.linspace(-1, 1, self.per_entry)
            basis = torch.stack([torch.special.legendre_polynomial_p(t, k + 1) for k in range(rank)], -1) * 2
            self.mix.weight.data.copy_(basis)
            self.bias = nn.Parameter(torch.zeros(event.size, self.per_entry))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(z), obs=x)

    def likelihood(self, z: Tensor) -> Any:
        h = self.decoder(z)
        if self.rank:
            h = self.mix(h.reshape(len(z), self.event.size, self.rank)) + self.bias
        parameters = h.reshape(len(z), *self.event.shape, self.per_entry)
        if not self.logistic:
            return distributions.likelihood(self.event, parameters)
        K = self.event.levels
        loc = (parameters[..., 0] + 1) / 2 * (K - 1)
        scale = parameters[..., 1].clamp(-7, 7).exp()
        return DiscretisedLogistic(loc, scale, K).to_event(len(self.event.shape))

    def initialise(self, x: Tensor) -> None:
        """Set the output's bias to what the entries of ``x`` show on their own."""
        p = self.marginal(x).reshape(-1)
        if self.rank:
            self.bias.copy_(p.reshape(self.bias.shape))
        else:
            self.decoder[-1].bias.copy_(p)

    def marginal(self, x: Tensor) -> Tensor:
        K = self.event.levels
        if self.event.support == "real":
            return torch.stack([x.mean(0), x.std(0).clamp(min=1e-3).log()], -1)
        if self.event.support == "binary":
            p = (x.sum(0) + 0.5) / (len(x) + 1)
            return p.logit()[..., None]
        if self.logistic:
            s = (x.std(0) * math.sqrt(3) / math.pi).clamp(min=0.1)
            return torch.stack([x.mean(0) / (K - 1) * 2 - 1, s.log()], -1)
        return torch.stack([(x == k).sum(0) + 0.5 for k in range(K)], -1).log()
