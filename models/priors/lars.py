"""The resampled prior."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.event import Event
from zoo.nn.mlp import MLP
from zoo.pairs.registry import prior

PROBE_SEED = 0
"""Seed of the draws from which Z is estimated in evaluation mode, the same every time."""


@prior("lars", paper="Bauer & Mnih 2019, arXiv:1810.11428")
class LARS(nn.Module):
    """Learned accept/reject sampling: draw from N(0, I) until a learned a(z) in (0, 1) accepts, at most T times.

        p_T(z) = N(z; 0, I) [a(z) (1 - (1 - Z)^(T-1)) / Z + (1 - Z)^(T-1)],   Z = E_N(0, I)[a(z)]

    a is an MLP. Z is estimated from draws of the proposal: new ones in every training step, ``draws`` fixed ones in
    evaluation mode, where the error of log p_T is about the relative error of Z that `normaliser` reports. A draw
    evaluates T proposals in one pass.

    Args:
        truncation: T.
        hidden: width of each hidden layer of a.
        layers: number of hidden layers of a.
        draws: for Z in evaluation mode.
        training_draws: for Z in a training step.

    Reference:
        Bauer & Mnih 2019, arXiv:1810.11428, section 2, equation 4.
    """

    probes: Tensor

    def __init__(
        self,
        event: Event,
        latent: int,
        *,
        truncation: int = 100,
        hidden: int = 100,
        layers: int = 2,
        draws: int = 2**13,
        training_draws: int = 2**10,
    ) -> None:
        super().__init__()
        self.truncation, self.training_draws = truncation, training_draws
        self.net = MLP(latent, (hidden,) * layers, 1)
        probes = torch.randn(draws, latent, generator=torch.Generator().manual_seed(PROBE_SEED))
        self.register_buffer("probes", probes, persistent=False)

    def forward(self) -> TorchDistribution:
        """p_T(z), event shape ``(latent,)``."""
        return Resampled(self, self.normaliser()[0])

    def log_accept(self, z: Tensor) -> Tensor:
        """log a(z), shape ``(..., latent)`` to ``(...)``."""
        return F.logsigmoid(self.net(z).squeeze(-1))

    def normaliser(self) -> tuple[Tensor, Tensor]:
        """Z and its standard error, scalars: the mean of a over draws of the proposal."""
        z = torch.randn_like(self.probes[: self.training_draws]) if self.training else self.probes
        accept = self.log_accept(z).exp()
        return accept.mean(), accept.std() / math.sqrt(len(accept))


class Resampled(TorchDistribution):
    """The density of `LARS` for one estimate of Z, a scalar."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector

    def __init__(self, lars: LARS, Z: Tensor, batch_shape: Any = ()) -> None:
        self.lars, self.Z = lars, Z
        self.proposal = dist.Normal(lars.probes.new_zeros(lars.probes.shape[1]), 1.0).to_event(1).expand(batch_shape)
        super().__init__(self.proposal.batch_shape, self.proposal.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Resampled:
        return Resampled(self.lars, self.Z, batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        none_before = (self.lars.truncation - 1) * torch.log1p(-self.Z)
        once = self.lars.log_accept(value) + torch.log(-torch.expm1(none_before)) - self.Z.log()
        return self.proposal.log_prob(value) + torch.logaddexp(once, none_before)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """The first accepted proposal, or else the last one."""
        with torch.no_grad():
            z = self.proposal.sample((self.lars.truncation, *torch.Size(sample_shape)))
            accepted = torch.rand_like(z[:-1, ..., 0]).log() < self.lars.log_accept(z[:-1])
            first = torch.cat([accepted, torch.ones_like(z[:1, ..., 0], dtype=torch.bool)]).int().argmax(0)
            return z.gather(0, first[None, ..., None].expand_as(z[:1])).squeeze(0)
