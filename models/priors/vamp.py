"""The variational mixture of posteriors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from zoo.distributions.mixture import Mixture
from zoo.event import Event
from zoo.pairs.registry import prior


@prior("vamp", paper="Tomczak & Welling 2018, arXiv:1705.07120")
class Vamp(nn.Module):
    """VampPrior: the mixture of the guide's own distributions at K learned pseudo-inputs u_k.

        p(z) = sum_k w_k q(z | u_k)

    The weights w_k are learned too. The u_k have the event's shape and stay within the range of its levels. They start
    at random training data, so the prior starts near the aggregated posterior, which would be optimal (equation 7).
    A density takes the guide's density at K points for each z: one pass of the network in all, and for a flow one
    inverse per component. Without a guide q is the standard normal.

    Args:
        components: K.

    Reference:
        Tomczak & Welling 2018, arXiv:1705.07120, section 2.2.
    """

    def __init__(self, event: Event, latent: int, *, components: int = 100) -> None:
        super().__init__()
        self.event = event
        self.logits = nn.Parameter(torch.zeros(components))
        self.raw = nn.Parameter(torch.randn(components, *event.shape))
        self.encode: Callable[[Tensor], Any] = lambda x: dist.Normal(x.new_zeros(len(x), latent), 1.0).to_event(1)

    def forward(self) -> TorchDistribution:
        """p(z), event shape ``(latent,)``."""
        return Mixture(self.logits, self.encode(self.pseudo_inputs))

    @property
    def pseudo_inputs(self) -> Tensor:
        """The u_k, shape ``(components, *event.shape)``, between the lowest and the highest level."""
        return self.raw if self.event.levels is None else (self.event.levels - 1) * self.raw.sigmoid()

    def use_encoder(self, encode: Callable[[Tensor], Any]) -> None:
        """Use the guide's distribution ``encode(x)`` (`zoo.pairs.pair.NeedsEncoder`)."""
        self.encode = encode

    def initialise(self, x: Tensor) -> None:
        """Start the pseudo-inputs at random data of the training data ``x``, shape ``(n, *event.shape)``."""
        chosen = x[torch.randint(len(x), (len(self.raw),), device=x.device)]
        if self.event.levels is not None:
            chosen = (chosen / (self.event.levels - 1)).clamp(0.02, 0.98).logit()
        self.raw.copy_(chosen)
