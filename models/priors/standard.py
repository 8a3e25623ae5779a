"""The standard normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo.event import Event
from zoo.pairs.registry import prior


@prior("standard", paper="Kingma & Welling 2013, arXiv:1312.6114")
class Standard(nn.Module):
    """Standard normal, without parameters.

        z ~ N(0, I)

    Reference:
        Kingma & Welling 2013, arXiv:1312.6114.
    """

    zero: Tensor

    def __init__(self, event: Event, latent: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self) -> TorchDistributionMixin:
        """p(z), event shape ``(latent,)``."""
        return dist.Normal(self.zero, 1.0).to_event(1)
