"""The amortised mixture of diagonal normals."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from zoo.distributions.mixture import NormalMixture
from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, Site, positive
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("mixture", paper="Graves 2016, arXiv:1607.05690")
def mixture(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    components: int = 4,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised mixture of diagonal normals over the whole vector z.

        q(z | x) = sum_k w_k(x) N(z; mu_k(x), diag sigma_k(x)^2)

    One MLP computes all weights, means and deviations; the means start apart from each other. Draws are
    reparameterised, with gradients for the weights too (see `zoo.distributions.mixture.NormalMixture`).

    Args:
        components: number of normals.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of each hidden layer of the network.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.

    Reference:
        Graves 2016, arXiv:1607.05690.
    """

    def site(inputs: int, size: int) -> Site:
        split = [components, components * size, components * size]
        made = Site(inputs, split, normal_mixture, (hidden,) * layers, dropout)
        with torch.no_grad():
            made.net.out.bias[components : components * (1 + size)].normal_(std=0.5)
        return made

    return AmortizedGuide(event, latents, site, net)


def normal_mixture(logits: Tensor, loc: Tensor, raw: Tensor) -> TorchDistributionMixin:
    """A mixture with these logits, means ``loc`` and scales `positive` of ``raw``, one component after the other."""
    each = (logits.shape[-1], -1)
    return NormalMixture(logits, loc.unflatten(-1, each), positive(raw.unflatten(-1, each)))
