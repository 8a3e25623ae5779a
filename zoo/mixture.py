"""A mixture of any joint densities: one component is drawn for the whole vector, never one for each dimension."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor


class Mixture(TorchDistribution):
    """p(z) = sum_k softmax(logits)_k p_k(z), z a vector.

    Args:
        logits: shape ``(K,)``.
        components: p_1 ... p_K as one distribution of batch shape ``(K,)`` and event shape ``(L,)``.
        batch_shape: independent copies; a ``pyro.plate`` of size ``n`` makes it ``(n,)``.

    Draws are not reparameterised.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own interface)

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
