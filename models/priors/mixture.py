"""A mixture of Gaussians as prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.distributions.mixture import Mixture
from zoo.event import Event
from zoo.pairs.registry import prior

ONE = 0.5413
"""softplus of it is one."""


@prior("mixture", paper="Dilokthanakul et al. 2016, arXiv:1611.02648")
class MixturePrior(nn.Module):
    """Mixture of Gaussians: p(z) = sum_k w_k N(z; mu_k, diag s_k^2), a mixture of joint densities, all learned.

    The component is drawn once for the vector: log p(z) = logsumexp_k [log w_k + sum_d log N(z_d; mu_kd, s_kd^2)],
    which has K modes. (A product over d of one-dimensional mixtures would have K^L.) The mu_k start at random with
    deviation ``spread``, the s_k at one.
    """

    def __init__(self, event: Event, latent: int, *, components: int = 20, spread: float = 1.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread * torch.randn(components, latent))
        self.raw = nn.Parameter(torch.full((components, latent), ONE))

    def forward(self) -> TorchDistribution:
        """p(z), event shape ``(latent,)``."""
        return Mixture(self.logits, dist.Normal(self.loc, self.scale).to_event(1))

    @property
    def scale(self) -> Tensor:
        """The s_k, shape ``(components, latent)``."""
        return softplus(self.raw) + 1e-4
