"""Mixtures of joint densities: one component for the whole vector, not one for each dimension."""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import log_softmax


class Mixture(TorchDistribution):
    """A mixture of joint densities of a vector; draws are not reparameterised.

        p(z) = sum_k softmax(logits)_k p_k(z)

    Args:
        logits: shape ``(K,)``.
        components: p_1 ... p_K as one distribution of batch shape ``(K,)`` and event shape ``(L,)``.
        batch_shape: independent copies; a ``pyro.plate`` of size ``n`` makes it ``(n,)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, logits: Tensor, components: Any, batch_shape: Any = (), validate_args: Any = None) -> None:
        self.logits, self.components = logits.log_softmax(-1), components
        super().__init__(torch.Size(batch_shape), components.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return self.components.support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Mixture:
        wanted = torch.broadcast_shapes(self.batch_shape, batch_shape)
        return Mixture(self.logits, self.components, wanted, self._validate_args)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            lead = torch.Size(sample_shape) + self.batch_shape
            which = torch.distributions.Categorical(logits=self.logits).sample(lead)
            every = self.components.sample(lead)
            return every.gather(-2, which[..., None, None].expand(*lead, 1, every.shape[-1])).squeeze(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        spread = value.unsqueeze(-2).expand(*value.shape[:-1], len(self.logits), value.shape[-1])
        total: Tensor = (self.logits + self.components.log_prob(spread)).logsumexp(-1)
        return total.expand(torch.broadcast_shapes(total.shape, self.batch_shape))


class NormalMixture(TorchDistribution):
    """A mixture of diagonal normals whose draws have gradients (implicit reparameterisation).

        p(z) = sum_k w_k N(z; mu_k, diag sigma_k^2)        w = softmax(logits)
        dz_i = -dF(z_i | z_1, ..., z_{i-1}) / p(z_i | z_1, ..., z_{i-1})

    F, the conditional distribution function, is a mixture too. Pyro's `MixtureOfDiagNormals` requires two or more
    dimensions and does not work in recorded graphs.

    Args:
        logits: shape ``(..., K)``.
        loc: mu, shape ``(..., K, d)``.
        scale: sigma, of the same shape.

    Reference:
        Graves 2016, arXiv:1607.05690; Figurnov et al. 2018, arXiv:1805.08498.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
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
        """A draw, without gradients."""
        chosen = dist.Categorical(logits=self.logits, validate_args=False).sample()[..., None, None]
        index = chosen.expand(*self.batch_shape, 1, *self.event_shape)
        loc, scale = (each.gather(-2, index).squeeze(-2) for each in (self.loc, self.scale))
        return dist.Normal(loc, scale, validate_args=False).sample()

    def _pathwise(self, value: Tensor) -> Tensor:
        """``value``, with the gradients of a draw."""
        log_w = log_softmax(self.logits, -1)  # of the components, given the dimensions before
        columns: list[Tensor] = []
        for fixed, loc, scale in zip(value.unbind(-1), self.loc.unbind(-1), self.scale.unbind(-1), strict=True):
            normal, w = dist.Normal(loc, scale, validate_args=False), log_w.softmax(-1)
            below = (w * torch.special.ndtr((fixed[..., None] - loc) / scale)).sum(-1)
            density = (w * normal.log_prob(fixed[..., None]).exp()).sum(-1).detach()
            columns.append(fixed - (below - below.detach()) / density)
            log_w = log_w + normal.log_prob(columns[-1][..., None])
        return torch.stack(columns, -1)
