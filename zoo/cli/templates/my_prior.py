"""my_prior: say in one sentence what this prior is.

Next: zoo check vae:prior=my_prior --with my_prior.py
"""

from typing import Any

import pyro.distributions as dist
import torch
from torch import nn

import zoo


@zoo.prior("my_prior", paper="")  # Author et al. year, arXiv:number
class MyPrior(nn.Module):
    """A learned normal: p(z) = N(z; m, diag s^2), which starts as the standard normal."""

    def __init__(self, event: zoo.Event, latent: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))

    def forward(self) -> Any:
        """The distribution of z, event shape ``(latent,)`` and batch shape ``()``."""
        return dist.Normal(self.mean, self.log_scale.exp()).to_event(1)
