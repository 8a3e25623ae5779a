"""Integer data under a density: uniform dequantisation.

The density's draw ``y`` is a latent site and ``x`` its floor, a proper probability mass. With a guide that draws
``y = x + u``, ``u ~ U[0, 1)``, the ELBO is the dequantisation bound (Theis et al. 2016, section 3.1).
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor

from zoo.event import Event


class Floor(TorchDistribution):
    """The integer part of ``y``, kept within {0, ..., levels-1}: all its mass on one value.

    ``log_prob(x)`` is 0 where ``x <= y <= x + 1`` (beyond the edges the first and the last level take everything) and
    minus infinity elsewhere. Batch shape: that of ``y``.
    """

    arg_constraints = {"y": constraints.real}  # noqa: RUF012 (torch's own interface)

    def __init__(self, y: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.y, self.levels = y, levels
        super().__init__(y.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Floor:
        # the same tensor where nothing is expanded: `Capabilities.dequantising` is found by its identity
        y = self.y if self.y.shape == torch.Size(batch_shape) else self.y.expand(batch_shape)
        return Floor(y, self.levels)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        value = self.y.detach().floor().clamp(0, self.levels - 1)
        return value.expand(torch.Size(sample_shape) + value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        below = (value <= self.y) | (value <= 0)
        above = (self.y <= value + 1) | (value >= self.levels - 1)
        return torch.where(below & above, 0.0, -torch.inf).to(self.y.dtype)


def observe(event: Event, density: TorchDistributionMixin, x: Tensor) -> Tensor:
    """Observe ``x`` under a density: directly if it is real, through the floor of a latent ``y`` if it is integer.

    Call it inside the data plate; ``density`` has event shape ``event.shape``. The guide's part is `dequantise`.
    """
    if event.levels is None:
        return pyro.sample("x", density, obs=x)
    y = pyro.sample("y", density)
    return pyro.sample("x", Floor(y, event.levels).to_event(len(event.shape)), obs=x)


def dequantise(event: Event, x: Tensor) -> Tensor:
    """The guide's part of `observe`: ``x`` itself if it is real, else a draw of ``y = x + u`` with ``u ~ U[0, 1)``."""
    if event.levels is None:
        return x
    return pyro.sample("y", ClosedUniform(x, x + 1.0).to_event(len(event.shape)))


class ClosedUniform(dist.Uniform):
    """`Uniform` that keeps its density at the upper end, which ``x + u`` may round up to."""

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (self.low <= value) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low).log(), -torch.inf)
