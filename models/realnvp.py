"""Affine coupling flow."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from zoo.distributions import dequantise, level_counts, observe
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nets import MLP
from zoo.registry import family

PSEUDOCOUNT = 0.1
"""Added to each level's count in `Marginals`."""
SQUEEZE = 1e-5
"""How far `Marginals` keeps shares from 0 and 1 before their logit is taken."""
SMALLEST_DEVIATION = 1e-3
"""Real dimensions that hardly vary are given this standard deviation, in the data's units."""


@family(
    "realnvp",
    group="flow",
    paper="Dinh et al. 2016, arXiv:1605.08803",
    recipe={
        "steps": 2000,
        "lr": 4e-3,
        "optimiser": "adamw",
        "weight_decay": 1e-2,
        "schedule": "onecycle",
        "average": 0.998,
        "clip": 50.0,
    },
)
class RealNVP(nn.Module):
    """Real-valued, non-volume-preserving transformations: a chain of affine couplings with an exact density.

        z ~ base, D independent variables         standard logistic for integer data, standard normal for real data
        z = f_L(... f_1(f_0(y)))                  log p(y) = log p(z) + sum_l log|det df_l|
        x = y                                     real data: the density is exact
        x = floor(y)                              integer data: the guide draws y = x + u, u ~ U[0, 1)^D, and the
                                                  ELBO is the dequantisation bound on log P(x)

    f_1 ... f_L are couplings in pairs: each pair splits the dimensions in two, by checkerboard and at random in turn,
    and transforms either half given the other (sections 3.2-3.5). f_0 is not learnt but set from the training data, by
    `initialise`. Real data are standardised. Integer data: section 4.1 takes the logit of y/K; here it is that of the
    marginal distribution function of each dimension of y, so that the flow starts as the model of independent
    dimensions (before `initialise`, as the uniform one, and f_0 is the paper's). There is no multi-scale architecture
    and no batch normalisation, and the couplings' networks are perceptrons. Sampling takes one pass.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: L.
        hidden: width of the two hidden layers of each coupling's network.
        dropout: share of those units dropped; by default 0.4 for integer data and none for real data.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple.
    """

    def __init__(self, event: Event, *, layers: int = 12, hidden: int = 96, dropout: float | None = None) -> None:
        super().__init__()
        if event.size < 2:
            raise ZooError(f"realnvp couples two or more dimensions, got {event}; take another family")
        self.event = event
        self.base = dist.Normal if event.levels is None else dist.Logistic
        self.entry = Standardise(event.size) if event.levels is None else Marginals(event.size, event.levels)
        dropout = (0.0 if event.levels is None else 0.4) if dropout is None else dropout
        orders = _orders(event.shape, layers)
        self.couplings = nn.ModuleList(Coupling(order, hidden, dropout) for order in orders)

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            return observe(self.event, self.density(), x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            dequantise(self.event, x)

    def initialise(self, x: Tensor) -> None:
        """Set f_0 from the training data, shape ``(n, *event.shape)``."""
        self.entry.initialise(x.flatten(1))

    def density(self) -> FlowDensity:
        """The density of y, event shape ``event.shape``."""
        zero = next(self.parameters()).new_zeros(self.event.size)
        return FlowDensity(self, self.base(zero, zero + 1).to_event(1), self.event.shape)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """From y, shape ``(n, D)``, to z and log|det dz/dy|, shape ``(n,)``."""
        h, total = self.entry(y)
        for coupling in self.couplings:
            h, logdet = coupling(h)
            total = total + logdet
        return h, total

    def inverse(self, z: Tensor) -> Tensor:
        """The y of each z."""
        steps: list[Any] = [self.entry, *self.couplings]
        for step in reversed(steps):
            z = step.inverse(z)
        return z


class FlowDensity(TorchDistribution):
    """The density of y where ``flow`` takes flattened y to (z, log|det dz/dy|) and z follows ``base``.

    ``base`` has event shape ``(D,)``; this has ``shape``, of D elements.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own interface)
    has_rsample = True

    def __init__(self, flow: Any, base: Any, shape: tuple[int, ...], batch_shape: tuple[int, ...] = ()) -> None:
        self.flow, self.base = flow, base
        super().__init__(torch.Size(batch_shape), torch.Size(shape), validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDensity:
        return FlowDensity(self.flow, self.base, tuple(self.event_shape), tuple(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        y: Tensor = self.flow.inverse(self.base.rsample((shape.numel() // self.event_shape.numel(),)))
        return y.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        z, logdet = self.flow(value.reshape(-1, self.event_shape.numel()))
        density: Tensor = self.base.log_prob(z) + logdet
        return density.reshape(value.shape[: value.dim() - len(self.event_shape)])


class Coupling(nn.Module):
    """One affine coupling: (a, b) -> (a, (b + t(a)) exp s(a)), log|det| = sum s(a) (Dinh et al. 2016, section 3.2).

    ``order`` is a permutation of the D dimensions; a are its first D // 2. s stays within (-2, 2), the network sees a
    within (-2, 2) as well, however heavy the tails, and the coupling starts as the identity.
    """

    a: Tensor
    b: Tensor
    back: Tensor

    def __init__(self, order: Tensor, hidden: int, dropout: float) -> None:
        super().__init__()
        a, b = order.tensor_split([len(order) // 2])
        self.register_buffer("a", a)
        self.register_buffer("b", b)
        self.register_buffer("back", order.argsort())
        self.net = MLP(len(a), (hidden, hidden), 2 * len(b), dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        a, b = h[:, self.a], h[:, self.b]
        s, t = self._scale_and_shift(a)
        return torch.cat([a, (b + t) * s.exp()], 1)[:, self.back], s.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        a, b = h[:, self.a], h[:, self.b]
        s, t = self._scale_and_shift(a)
        return torch.cat([a, b * (-s).exp() - t], 1)[:, self.back]

    def _scale_and_shift(self, a: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.net(2 * torch.tanh(a / 4)).chunk(2, 1)
        return 2 * torch.tanh(s / 2), t


class Standardise(nn.Module):
    """Real y in units of the training data's mean and standard deviation."""

    loc: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def initialise(self, x: Tensor) -> None:
        """Set mean and deviation from ``x``, shape ``(n, D)``."""
        self.loc.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp(min=SMALLEST_DEVIATION))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.loc) / self.scale, -self.scale.log().sum().expand(len(y))

    def inverse(self, h: Tensor) -> Tensor:
        return self.loc + self.scale * h


class Marginals(nn.Module):
    """h_d = logit F_d(y_d): F_d is the distribution function of dimension d, dequantised.

    On level k, F_d(y) = P_d(X < k) + P_d(X = k) (y - k), linear also beyond 0 and K. It is squeezed to
    e + (1 - 2e) F_d, e = `SQUEEZE`, so that 0 and K themselves have a finite logit.
    """

    mass: Tensor

    def __init__(self, size: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("mass", torch.full((size, levels), 1 / levels))

    def initialise(self, x: Tensor) -> None:
        """Set P_d(X = k) by counting ``x``, shape ``(n, D)``."""
        counts = level_counts(self.levels, x) + PSEUDOCOUNT
        self.mass.copy_(counts / counts.sum(1, keepdim=True))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        level = y.detach().floor().clamp(0, self.levels - 1)
        mass, below = self._at(level)
        share = SQUEEZE + (1 - 2 * SQUEEZE) * (below + mass * (y - level))
        slope = (mass * (1 - 2 * SQUEEZE)).log() - share.log() - (-share).log1p()
        return share.log() - (-share).log1p(), slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        share = (h.sigmoid() - SQUEEZE) / (1 - 2 * SQUEEZE)
        level = torch.searchsorted(self._below()[:, 1:].contiguous(), share.T.contiguous(), right=True).T
        mass, below = self._at(level)
        return level + (share - below) / mass

    def _at(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """P_d(X = k) and P_d(X < k) for the level k of each dimension."""
        place = level.long() + self.levels * torch.arange(level.shape[1], device=level.device)
        return self.mass.take(place), self._below().take(place)

    def _below(self) -> Tensor:
        return self.mass.cumsum(1) - self.mass


def _orders(shape: tuple[int, ...], layers: int) -> list[Tensor]:
    """The dimensions' order in each coupling: checkerboard and random splits in turn, each followed by its reverse."""
    places = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    parity = torch.stack(places).sum(0).flatten() % 2
    splits = [torch.randperm(len(parity)) if i % 2 else parity.argsort(stable=True) for i in range((layers + 1) // 2)]
    return [order for split in splits for order in (split, split.flip(0))][:layers]
