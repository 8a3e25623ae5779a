"""A flow of affine couplings as prior."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.mlp import MLP
from zoo.pairs.registry import prior


@prior("flow", paper="Dinh et al. 2016, arXiv:1605.08803; as a prior, Chen et al. 2016, arXiv:1611.02731")
class FlowPrior(nn.Module):
    """RealNVP prior: z = g_S(... g_1(e)), e ~ N(0, I), g_s affine couplings; log p(z) is exact.

    A coupling moves one half of the dimensions given the other, the halves changing places from step to step: b = (b' +
    t(a)) exp s(a), with s within (-2, 2). Density and draw take one pass each. It starts as the standard normal.

    Raises:
        ZooError: a latent of one dimension, which has nothing to couple.
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
        self.steps = nn.ModuleList(Coupling(m, latent - m, (hidden,) * layers, dropout) for m in kept)

    def forward(self) -> TorchDistribution:
        """p(z), event shape ``(latent,)``."""
        return Flow(self, dist.Normal(self.zero, 1.0).to_event(1))

    def push(self, e: Tensor) -> Tensor:
        """From e to z, shape ``(..., latent)``."""
        for step in self.steps:
            e = step.push(e)  # type: ignore[operator] # a module list forgets what it holds
        return e

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From z, shape ``(..., latent)``, to e and log|det de/dz|, shape ``(...)``."""
        total = z.new_zeros(z.shape[:-1])
        for step in reversed(list(self.steps)):
            z, logdet = step.pull(z)  # type: ignore[operator] # likewise
            total = total + logdet
        return z, total


class Coupling(nn.Module):
    """(a, b) -> ((b + t(a)) exp s(a), a), ``kept`` dimensions in a and ``moved`` in b; it starts without a move."""

    def __init__(self, kept: int, moved: int, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.kept, self.moved = kept, moved
        self.net = MLP(kept, hidden, 2 * moved, dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def push(self, e: Tensor) -> Tensor:
        a, b = e.split([self.kept, self.moved], -1)
        s, t = self._scale_and_shift(a)
        return torch.cat([(b + t) * s.exp(), a], -1)

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        b, a = z.split([self.moved, self.kept], -1)
        s, t = self._scale_and_shift(a)
        return torch.cat([a, b * (-s).exp() - t], -1), -s.sum(-1)

    def _scale_and_shift(self, a: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.net(a).chunk(2, -1)
        return 2 * torch.tanh(s / 2), t


class Flow(TorchDistribution):
    """The density of what ``flow`` pushes draws of ``base`` to."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own interface)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: FlowPrior, base: Any) -> None:
        self.flow, self.base = flow, base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flow:
        return Flow(self.flow, self.base.expand(batch_shape))

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.flow.push(self.base.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        e, logdet = self.flow.pull(value)
        density: Tensor = self.base.log_prob(e) + logdet
        return density
