"""The factorised likelihood that an event's support calls for."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from zoo.distributions.levels import Levels
from zoo.event import Event


def parameters_per_entry(event: Event) -> int:
    """How many numbers `likelihood` needs for each entry of ``x``."""
    return {"binary": 1, "levels": event.levels or 0, "real": 2}[event.support]


def likelihood(event: Event, parameters: Tensor) -> TorchDistributionMixin:
    """The factorised likelihood that an event's support calls for.

    Bernoulli logits (binary), categorical logits (levels) or mean and log-scale (real) from ``parameters`` of shape
    ``(n, *event.shape, parameters_per_entry(event))``; event shape ``event.shape``.
    """
    dims = len(event.shape)
    if event.support == "binary":
        return dist.Bernoulli(logits=parameters[..., 0]).to_event(dims)
    if event.support == "levels":
        return Levels(logits=parameters).to_event(dims)
    return dist.Normal(parameters[..., 0], parameters[..., 1].clamp(-7, 7).exp()).to_event(dims)
