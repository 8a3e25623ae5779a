"""Integer data under a density: uniform dequantisation.

The density's draw ``y`` is a latent site and ``x`` its floor, a proper probability mass. With a guide that draws
``y = x + u``, ``u ~ U[0, 1)``, the ELBO is the dequantisation bound (Theis et al. 2016, arXiv:1511.01844, section
3.1).
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor

from zoo.event import Event


class Floor(TorchDistribution):
    """A point mass on the integer part of ``y``, clamped to {0, ..., levels-1}.

    ``log_prob(x)`` is 0 where ``x <= y <= x + 1`` (the first and the last level also take what lies beyond them) and
    minus infinity elsewhere. Batch shape: that of ``y``.

    Args:
        y: real numbers, any shape.
        levels: K.

    Example:
        >>> Floor(torch.tensor([-1.0, 2.7, 9.9]), levels=4).sample()
        tensor([0., 2., 3.])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"y": constraints.real}

    def __init__(self, y: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.y, self.levels = y, levels
        super().__init__(y.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Floor:
        # the same tensor if the shape does not change: `Capabilities.dequantising` compares identities
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
    """Observe ``x`` under a density: directly if it is real, as the floor of a latent ``y`` if it is integer.

    Call it in the model, inside the data plate. The guide's part is `dequantise`.

    Args:
        event: what one datum is.
        density: a distribution of event shape ``event.shape``.
        x: the data, shape ``(n, *event.shape)``.

    Returns:
        The value of the site ``x``.

    Example:
        >>> event = Event(2, 5)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         observe(event, dist.Normal(torch.zeros(2), 1.0).to_event(1), x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         dequantise(event, x)

    Reference:
        Theis et al. 2016, arXiv:1511.01844, section 3.1.
    """
    if event.levels is None:
        return pyro.sample("x", density, obs=x)
    y = pyro.sample("y", density)
    return pyro.sample("x", Floor(y, event.levels).to_event(len(event.shape)), obs=x)


def dequantise(event: Event, x: Tensor) -> Tensor:
    """Draw ``y = x + u`` with ``u ~ U[0, 1)`` for integer data: the guide's part of `observe`.

    Call it inside the data plate.

    Args:
        event: what one datum is.
        x: the data, shape ``(n, *event.shape)``.

    Returns:
        The draw of the site ``y``, shape ``(n, *event.shape)``; ``x`` itself, and no site, if the event is real.

    Example:
        >>> with pyro.plate("data", 2):
        ...     y = dequantise(Event(1, 5), torch.tensor([[0.0], [3.0]]))
        >>> y.floor().flatten()
        tensor([0., 3.])
    """
    if event.levels is None:
        return x
    return pyro.sample("y", ClosedUniform(x, x + 1.0).to_event(len(event.shape)))


class ClosedUniform(dist.Uniform):
    """`Uniform` whose support includes its upper end, to which ``x + u`` may round up."""

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (self.low <= value) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low).log(), -torch.inf)
