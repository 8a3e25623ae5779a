"""The amortised normal whose covariance is diagonal plus low rank."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, positive
from zoo.nn.mlp import MLP
from zoo.pairs.registry import guide


@guide("lowrank", paper="Rezende et al. 2014, arXiv:1401.4082")
def lowrank(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    rank: int = 4,
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised normal of covariance diag sigma(x)^2 + W(x) W(x)', W of ``rank`` columns.

    One network computes mu, sigma and W. Rezende et al. 2014, section 4.3, has one column and a precision of this form;
    with as many columns as z has dimensions less one, any covariance is of this form. Of several latents each is also
    given those drawn before it.
    """

    def site(inputs: int, size: int) -> LowRankSite:
        return LowRankSite(inputs, size, min(rank, size), (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site)


class LowRankSite(nn.Module):
    """The network of one latent of ``size`` numbers."""

    def __init__(self, inputs: int, size: int, rank: int, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.split = [size, size, size * rank]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        loc, raw, W = self.net(inputs).split(self.split, -1)
        return dist.LowRankMultivariateNormal(loc, W.unflatten(-1, (loc.shape[-1], -1)), positive(raw) ** 2)
