"""The factorised likelihood for each support."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from zoo.distributions.levels import Levels
from zoo.event import Event


def parameters_per_entry(event: Event) -> int:
    """The number of parameters that `likelihood` takes for each entry of ``x``.

    Args:
        event: what one datum is.

    Returns:
        1 for binary data, K for K levels, 2 for real data.

    Example:
        >>> parameters_per_entry(Event((8, 8), 17))
        17
    """
    return {"binary": 1, "levels": event.levels or 0, "real": 2}[event.support]


def likelihood(event: Event, parameters: Tensor) -> TorchDistributionMixin:
    """The factorised likelihood for an event's support: Bernoulli, categorical or normal.

    Args:
        event: what one datum is.
        parameters: Bernoulli logits (binary), categorical logits (K levels), or mean and log-scale (real; the latter is
            clamped to [-7, 7]), shape ``(n, *event.shape, parameters_per_entry(event))``.

    Returns:
        A distribution of batch shape ``(n,)`` and event shape ``event.shape``.

    Example:
        >>> import torch
        >>> likelihood(Event(2, "binary"), torch.zeros(3, 2, 1)).log_prob(torch.ones(3, 2)).exp()
        tensor([0.2500, 0.2500, 0.2500])
    """
    dims = len(event.shape)
    if event.support == "binary":
        return dist.Bernoulli(logits=parameters[..., 0]).to_event(dims)
    if event.support == "levels":
        return Levels(logits=parameters).to_event(dims)
    return dist.Normal(parameters[..., 0], parameters[..., 1].clamp(-7, 7).exp()).to_event(dims)
