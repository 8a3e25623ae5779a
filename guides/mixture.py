"""The amortised mixture of diagonal normals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from zoo.amortised import Amortised, positive
from zoo.event import Event
from zoo.nets import MLP
from zoo.registry import guide


@guide("mixture", paper="Graves 2016, arXiv:1607.05690")
def mixture(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    components: int = 4,
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> Amortised:
    """Amortised mixture of joint densities: q(z | x) = sum_k w_k(x) N(z; mu_k(x), diag sigma_k(x)^2).

    One network computes all weights, means and deviations; the components start apart from each other. Draws carry the
    gradient of the mixture itself, that of the weights included (`NormalMixture`). Of several latents each is also
    given those drawn before it.
    """

    def site(inputs: int, size: int) -> MixtureSite:
        return MixtureSite(inputs, size, components, (hidden,) * layers, dropout)

    return Amortised(event, latents, site)


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


class NormalMixture(TorchDistribution):
    """sum_k w_k N(z; mu_k, diag sigma_k^2) with w = softmax(``logits``), reparameterised.

    Shapes: ``logits`` is ``(..., K)``, ``loc`` and ``scale`` are ``(..., K, d)``. A draw z keeps F(z_i | z_1, ...,
    z_(i-1)) fixed in each dimension, F the conditional distribution function, a mixture too; so dz_i = -dF / p(z_i |
    z_1, ..., z_(i-1)), which is what Graves 2016 takes as the gradient (implicit reparameterisation, Figurnov et al.
    2018, arXiv:1805.08498). Pyro's `MixtureOfDiagNormals` has it for two dimensions or more, outside recorded graphs.
    """

    arg_constraints = {  # noqa: RUF012 (torch's own interface)
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(logits.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> NormalMixture:
        shape, (components, size) = torch.Size(batch_shape), self.loc.shape[-2:]
        loc, scale = (each.expand(*shape, components, size) for each in (self.loc, self.scale))
        return NormalMixture(self.logits.expand(*shape, components), loc, scale, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        wide = self.expand(torch.Size(sample_shape) + self.batch_shape)
        return wide._pathwise(wide._draw().detach())

    def log_prob(self, value: Tensor) -> Tensor:
        each = dist.Normal(self.loc, self.scale, validate_args=False).log_prob(value.unsqueeze(-2)).sum(-1)
        return (log_softmax(self.logits, -1) + each).logsumexp(-1)

    def _draw(self) -> Tensor:
        """A draw without gradients."""
        chosen = dist.Categorical(logits=self.logits, validate_args=False).sample()[..., None, None]
        index = chosen.expand(*self.batch_shape, 1, *self.event_shape)
        loc, scale = (each.gather(-2, index).squeeze(-2) for each in (self.loc, self.scale))
        return dist.Normal(loc, scale, validate_args=False).sample()

    def _pathwise(self, value: Tensor) -> Tensor:
        """``value`` with the gradient of a draw."""
        log_w = log_softmax(self.logits, -1)  # of the components, given the dimensions before
        columns: list[Tensor] = []
        for fixed, loc, scale in zip(value.unbind(-1), self.loc.unbind(-1), self.scale.unbind(-1), strict=True):
            normal, w = dist.Normal(loc, scale, validate_args=False), log_w.softmax(-1)
            below = (w * torch.special.ndtr((fixed[..., None] - loc) / scale)).sum(-1)
            density = (w * normal.log_prob(fixed[..., None]).exp()).sum(-1).detach()
            columns.append(fixed - (below - below.detach()) / density)
            log_w = log_w + normal.log_prob(columns[-1][..., None])
        return torch.stack(columns, -1)
