"""The amortised normal with a full covariance."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, Site, positive
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("fullrank", paper="Kingma & Welling 2019, arXiv:1906.02691")
def fullrank(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised normal with a full covariance.

        q(z | x) = N(z; mu(x), L(x) L(x)')

    L is lower triangular with a positive diagonal, so L L' can be any covariance. One MLP computes mu and L.

    Args:
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of each hidden layer of the network.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.

    Reference:
        Kingma & Welling 2019, arXiv:1906.02691, section 2.5.1.
    """

    def site(inputs: int, size: int) -> Site:
        below = size * (size - 1) // 2
        return Site(inputs, [size, size, below], cholesky_normal, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


def cholesky_normal(loc: Tensor, raw: Tensor, below: Tensor) -> TorchDistributionMixin:
    """A normal whose Cholesky factor has the diagonal `positive` of ``raw`` and the entries ``below`` it, by row."""
    size = loc.shape[-1]
    row, column = torch.tril_indices(size, size, -1, device=loc.device)
    lower = loc.new_zeros(*loc.shape, size)
    lower[..., row, column] = below
    return dist.MultivariateNormal(loc, scale_tril=lower + torch.diag_embed(positive(raw)))
