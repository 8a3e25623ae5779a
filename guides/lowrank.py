"""The amortised normal whose covariance is diagonal plus low rank."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, Site, positive
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("lowrank", paper="Rezende et al. 2014, arXiv:1401.4082")
def lowrank(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    rank: int = 4,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised normal whose covariance is diagonal plus low rank.

        q(z | x) = N(z; mu(x), diag sigma(x)^2 + W(x) W(x)')

    One MLP computes mu, sigma and W. With as many columns as z has dimensions less one, any covariance is of this
    form. In the paper W has one column and the precision is of this form.

    Args:
        rank: columns of W, at most the dimensions of z.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of each hidden layer of the network.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.

    Reference:
        Rezende et al. 2014, arXiv:1401.4082, section 4.3.
    """

    def site(inputs: int, size: int) -> Site:
        split = [size, size, size * min(rank, size)]
        return Site(inputs, split, low_rank_normal, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


def low_rank_normal(loc: Tensor, raw: Tensor, W: Tensor) -> TorchDistributionMixin:
    """A normal of covariance diag sigma^2 + W W', sigma = `positive` of ``raw``, the entries of W by row."""
    return dist.LowRankMultivariateNormal(loc, W.unflatten(-1, (loc.shape[-1], -1)), positive(raw) ** 2)
