"""A flow of affine couplings as prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.coupling import Affine, Conditioner, Coupling
from zoo.flows.flow import FlowDensity
from zoo.pairs.registry import prior


@prior("flow", paper="Dinh et al. 2016, arXiv:1605.08803; as a prior, Chen et al. 2016, arXiv:1611.02731")
class FlowPrior(nn.Module):
    """RealNVP prior, with an exact density: affine couplings of a standard normal.

        z = g_S(... g_1(e)),  e ~ N(0, I)        g_s: (a, b) -> ((b + t(a)) exp s(a), a)

    s is bounded to (-2, 2). The halves change places from step to step. Density and draw take one pass each. It starts
    as the standard normal.

    Args:
        event: the data's event, which it does not depend on.
        latent: dimensions of z, two or more.
        steps: number of couplings.
        hidden: width of the hidden layers of each coupling's MLP.
        layers: number of those layers.
        dropout: share of their units dropped.

    Raises:
        ZooError: a latent of one dimension, which has nothing to couple.

    Reference:
        Dinh et al. 2016, arXiv:1605.08803; Chen et al. 2016, arXiv:1611.02731, section 3.2.
    """

    zero: Tensor

    def __init__(
        self, event: Event, latent: int, *, steps: int = 6, hidden: int = 64, layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if latent < 2:
            raise ZooError(f"prior 'flow' couples two or more dimensions, got a latent of {latent}; take another prior")
        self.register_buffer("zero", torch.zeros(latent), persistent=False)
        kept = [latent - latent // 2 if step % 2 else latent // 2 for step in range(steps)]
        nets = [Conditioner(m, (hidden,) * layers, latent - m, Affine.count, dropout) for m in kept]
        self.steps: Any = nn.ModuleList(Coupling(Affine(), net, m) for net, m in zip(nets, kept, strict=True))

    def forward(self) -> FlowDensity:
        """p(z), event shape ``(latent,)``."""
        return FlowDensity(self.pull, self.push, dist.Normal(self.zero, 1.0).to_event(1), tuple(self.zero.shape))

    def push(self, e: Tensor) -> Tensor:
        """From e to z, shape ``(..., latent)``."""
        for step in self.steps:
            e = step(e)[0].roll(-step.kept, -1)
        return e

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From z, shape ``(..., latent)``, to e and log|det de/dz|, shape ``(...)``."""
        total = z.new_zeros(z.shape[:-1])
        for step in reversed(self.steps):
            z, logdet = step.inverse_and_logdet(z.roll(step.kept, -1))
            total = total + logdet
        return z, total
