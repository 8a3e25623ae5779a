"""The mixture-of-Gaussians prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.distributions.mixture import Mixture
from zoo.event import Event
from zoo.nn.amortised import RAW_UNIT_SCALE
from zoo.pairs.registry import prior


@prior("mixture", paper="Dilokthanakul et al. 2016, arXiv:1611.02648")
class MixturePrior(nn.Module):
    """Mixture of diagonal Gaussians over the whole vector z, all parameters learned.

        p(z) = sum_k w_k N(z; mu_k, diag s_k^2)

    The component is drawn once for the vector, so there are K modes (a product over dimensions of one-dimensional
    mixtures would have K^L). The s_k start at one.

    Args:
        components: K.
        spread: standard deviation of the initial mu_k.

    Reference:
        Dilokthanakul et al. 2016, arXiv:1611.02648.
    """

    def __init__(self, event: Event, latent: int, *, components: int = 20, spread: float = 1.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(spread * torch.randn(components, latent))
        self.raw = nn.Parameter(torch.full((components, latent), RAW_UNIT_SCALE))

    def forward(self) -> TorchDistribution:
        """p(z), event shape ``(latent,)``."""
        return Mixture(self.logits, dist.Normal(self.loc, self.scale).to_event(1))

    @property
    def scale(self) -> Tensor:
        """The s_k, shape ``(components, latent)``."""
        return softplus(self.raw) + 1e-4
