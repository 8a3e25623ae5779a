"""The amortised normal with a full covariance."""

from __future__ import annotations

from collections.abc import Mapping

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, positive
from zoo.nn.mlp import MLP
from zoo.pairs.registry import guide


@guide("fullrank", paper="Kingma & Welling 2019, arXiv:1906.02691")
def fullrank(
    event: Event, latents: Mapping[str, tuple[int, ...]], *, hidden: int = 1024, layers: int = 1, dropout: float = 0.1
) -> AmortizedGuide:
    """Amortised normal with a full covariance: q(z | x) = N(z; mu(x), L(x) L(x)').

    L is lower triangular with a positive diagonal, so L L' is any covariance; one network computes mu and L. Kingma &
    Welling 2019, section 2.5.1. Of several latents each is also given those drawn before it.
    """
    return AmortizedGuide(event, latents, lambda inputs, size: FullRankSite(inputs, size, (hidden,) * layers, dropout))


class FullRankSite(nn.Module):
    """The network of one latent of ``size`` numbers."""

    def __init__(self, inputs: int, size: int, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.split = [size, size, size * (size - 1) // 2]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        outputs = self.net(inputs).to(inputs.dtype)  # linear algebra has no bfloat16, which autocast may give
        loc, raw, below = outputs.split(self.split, -1)
        return dist.MultivariateNormal(loc, scale_tril=_lower(positive(raw), below))


def _lower(diagonal: Tensor, below: Tensor) -> Tensor:
    """The lower triangular matrices with this ``diagonal``, ``(..., d)``, and these numbers below it, row by row."""
    size = diagonal.shape[-1]
    row, column = torch.tril_indices(size, size, -1, device=diagonal.device)
    matrix = diagonal.new_zeros(*diagonal.shape, size)
    matrix[..., row, column] = below
    return matrix + torch.diag_embed(diagonal)
