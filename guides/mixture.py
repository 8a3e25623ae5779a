"""The amortised mixture of diagonal normals."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo.distributions.mixture import NormalMixture
from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, positive
from zoo.nn.mlp import MLP
from zoo.pairs.registry import guide


@guide("mixture", paper="Graves 2016, arXiv:1607.05690")
def mixture(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    components: int = 4,
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised mixture of joint densities: q(z | x) = sum_k w_k(x) N(z; mu_k(x), diag sigma_k(x)^2).

    One network computes all weights, means and deviations; the components start apart from each other. Draws carry the
    gradient of the mixture itself, that of the weights included (see `zoo.distributions.mixture.NormalMixture`). Of
    several latents each is also given those drawn before it.
    """

    def site(inputs: int, size: int) -> MixtureSite:
        return MixtureSite(inputs, size, components, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site)


class MixtureSite(nn.Module):
    """The network of one latent of ``size`` numbers."""

    def __init__(self, inputs: int, size: int, components: int, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.split = [components, components * size, components * size]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)
        with torch.no_grad():
            self.net.out.bias[components : components * (1 + size)].normal_(std=0.5)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        logits, loc, raw = self.net(inputs).split(self.split, -1)
        each = (logits.shape[-1], -1)
        return NormalMixture(logits, loc.unflatten(-1, each), positive(raw.unflatten(-1, each)))
