"""Normalizing flows with an exact density: an event, a list of invertible steps, a base of independent variables.

A *step* is an `nn.Module` on vectors of D numbers, from the data towards the base:

- ``forward(h)``: shape ``(n, D)``, to the new h of the same shape and log|det dh'/dh|, shape ``(n,)``;
- ``inverse(h)``: the vectors that ``forward`` takes to ``h``, shape ``(n, D)``.

A family is a function from an event (and hyper-parameters) to ``Flow(event, steps)``. A step on images reshapes inside.
`Coupling` and `MaskedAutoregressive` are steps made of an `Elementwise` map of each number, whose parameters a network
computes from other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from zoo.distributions import dequantise, observe
from zoo.event import Event
from zoo.flows.entry import Marginals, Standardise

FLOW_RECIPE: dict[str, Any] = {
    "steps": 1000,
    "lr": 4e-3,
    "optimiser": "adamw",
    "weight_decay": 1e-2,
    "schedule": "onecycle",
    "average": 0.998,
    "clip": 50.0,
}
"""The training recipe that flows share; a family overrides single entries: ``FLOW_RECIPE | {"steps": 300}``."""

FARTHEST = 17.0
"""Stands for an infinite z, which a logistic draws where a uniform number is exactly zero, once in 2^24."""

Base = Callable[[Tensor, Tensor], Any]
"""A location-scale distribution of numbers, such as `pyro.distributions.Normal`."""


class Flow(nn.Module):
    """A chain of invertible maps with an exact density.

        z ~ base, D independent variables         standard logistic for integer data, standard normal for real data
        z = f_L(... f_1(f_0(y)))                  log p(y) = log p(z) + sum_l log|det df_l|
        x = y                                     real data: the density is exact
        x = floor(y)                              integer data: the guide draws y = x + u, u ~ U[0, 1)^D, and the
                                                  ELBO is the dequantisation bound on log P(x)

    f_0, the ``entry``, is not learned but set from the training data: `Standardise` for real data, `Marginals` for
    integers. If the other steps start as the identity, the flow starts as the model of independent dimensions.

    Args:
        event: any shape, flattened to D dimensions; any support.
        steps: f_1 ... f_L (see the module's docstring).
        base: another distribution of each z_d, used with location 0 and scale 1.

    Example:
        >>> from zoo.flows.coupling import Affine, mlp_coupling, orders
        >>> event = Event(4, "real")
        >>> flow = Flow(event, [mlp_coupling(order, Affine(), hidden=8) for order in orders(event, 2)])
        >>> flow.density().log_prob(torch.zeros(3, 4)).shape
        torch.Size([3])
        >>> flow.density().sample((5,)).shape
        torch.Size([5, 4])

    Reference:
        Papamakarios et al. 2021, arXiv:1912.02762; the bound: Theis et al. 2016, arXiv:1511.01844, section 3.1.
    """

    def __init__(self, event: Event, steps: Iterable[nn.Module], base: Base | None = None) -> None:
        super().__init__()
        self.event = event
        self.base = base or (dist.Normal if event.levels is None else dist.Logistic)
        self.entry = Standardise(event.size) if event.levels is None else Marginals(event.size, event.levels)
        self.steps = Steps(steps)

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            return observe(self.event, self.density(), x)

    def guide(self, x: Tensor) -> None:
        if self.event.levels is not None:
            with pyro.plate("data", len(x)):
                dequantise(self.event, x)

    def initialise(self, x: Tensor) -> None:
        """Set f_0 from the training data, shape ``(n, *event.shape)``."""
        self.entry.initialise(x.flatten(1))

    def density(self) -> FlowDensity:
        """The density of y, event shape ``event.shape``."""
        zero = next(self.parameters()).new_zeros(self.event.size)
        return FlowDensity(self, self.inverse, self.base(zero, zero + 1).to_event(1), self.event.shape)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """From y, shape ``(n, D)``, to z and log|det dz/dy|, shape ``(n,)``."""
        h, first = self.entry(y)
        z, logdet = self.steps(h)
        return z, first + logdet

    def inverse(self, z: Tensor) -> Tensor:
        """The y of each z."""
        return self.entry.inverse(self.steps.inverse(z))


class Steps(nn.ModuleList):
    """Steps (see the module's docstring) one after the other, as one step."""

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        total = h.new_zeros(len(h))
        for step in self:
            h, logdet = step(h)
            total = total + logdet
        return h, total

    def inverse(self, h: Tensor) -> Tensor:
        for step in reversed(list[Any](self)):
            h = step.inverse(h)
        return h


class FlowDensity(TorchDistribution):
    """The density of y where ``forward`` takes flattened y to z and log|det dz/dy|, and z follows ``base``.

    Args:
        forward: from ``(n, D)`` to ``(n, D)`` and ``(n,)``.
        inverse: from z back to y.
        base: the distribution of z, event shape ``(D,)``, batch shape ``()``.
        shape: the event shape of y, of D elements.
        batch_shape: independent copies; a ``pyro.plate`` of size ``n`` makes it ``(n,)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(
        self,
        forward: Callable[[Tensor], tuple[Tensor, Tensor]],
        inverse: Callable[[Tensor], Tensor],
        base: Any,
        shape: tuple[int, ...],
        batch_shape: tuple[int, ...] = (),
    ) -> None:
        self.forward, self.inverse, self.base = forward, inverse, base
        super().__init__(torch.Size(batch_shape), torch.Size(shape), validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDensity:
        return FlowDensity(self.forward, self.inverse, self.base, tuple(self.event_shape), tuple(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        z = self.base.rsample((shape.numel() // self.event_shape.numel(),))
        return self.inverse(z.nan_to_num(math.nan, FARTHEST, -FARTHEST)).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        z, logdet = self.forward(value.reshape(-1, self.event_shape.numel()))
        density: Tensor = self.base.log_prob(z) + logdet
        return density.reshape(value.shape[: value.dim() - len(self.event_shape)])
