"""Affine coupling flow."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions import dequantise, observe
from zoo.event import Event
from zoo.registry import family


class Coupling(nn.Module):
    """One affine coupling layer: z_b -> (z_b + t(z_a)) * exp(s(z_a)), z_a as it is (Dinh et al. 2016, equations 7 and 8).

    ``order`` is a permutation of the D dimensions; the first D // 2 of it are ``a``. s is kept within (-bound, bound), and s = t = 0 at the
    start.
    """

    def __init__(self, order: Tensor, hidden: int, depth: int, dropout: float, bound: float, inp: float) -> None:
        super().__init__()
        size = len(order)
        a, b = order[: size // 2], order[size // 2 :]
        self.bound, self.inp = bound, inp
        self.register_buffer("a", a)
        self.register_buffer("b", b)
        self.register_buffer("back", order.argsort())
        layers: list[nn.Module] = []
        width = len(a)
        for _ in range(depth):
            layers += [nn.Linear(width, hidden), nn.SiLU(), nn.Dropout(dropout)]
            width = hidden
        last = nn.Linear(width, 2 * len(b))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(*layers, last)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        a, b = z[:, self.a], z[:, self.b]
        s, t = self._shift(a)
        return torch.cat([a, (b + t) * s.exp()], 1)[:, self.back], s.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        a, b = z[:, self.a], z[:, self.b]
        s, t = self._shift(a)
        return torch.cat([a, b * (-s).exp() - t], 1)[:, self.back]

    def _shift(self, a: Tensor) -> tuple[Tensor, Tensor]:
        if self.inp:
            a = torch.tanh(a / self.inp) * 2
        s, t = self.net(a).chunk(2, 1)
        return self.bound * torch.tanh(s / self.bound), t


class Standardise(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def initialise(self, x: Tensor) -> None:
        self.loc.copy_(x.mean(0))
        self.scale.copy_(x.std(0))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.loc) / self.scale, -self.scale.log().sum().expand(len(y))

    def inverse(self, w: Tensor) -> Tensor:
        return self.loc + self.scale * w


class Logit(nn.Module):
    def __init__(self, size: int, levels: int, squeeze: float = 1e-5, pseudo: float = 0.1) -> None:
        super().__init__()
        self.levels, self.squeeze, self.pseudo = levels, squeeze, pseudo
        self.register_buffer("mass", torch.full((size, levels), 1 / levels))

    def initialise(self, x: Tensor) -> None:
        counts = F.one_hot(x.long(), self.levels).sum(0) + self.pseudo
        self.mass.copy_(counts / counts.sum(1, keepdim=True))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        k = y.detach().floor().clamp(0, self.levels - 1)
        index = k.long() + self.levels * torch.arange(y.shape[1], device=y.device)
        mass = self.mass.take(index)
        v = self._left().take(index) + mass * (y - k)
        v = self.squeeze + (1 - 2 * self.squeeze) * v
        w = v.log() - (-v).log1p()
        slope = (mass * (1 - 2 * self.squeeze)).log() - v.log() - (-v).log1p()
        return w, slope.sum(1)

    def inverse(self, w: Tensor) -> Tensor:
        v = (w.sigmoid() - self.squeeze) / (1 - 2 * self.squeeze)
        left = self._left()
        k = (v.unsqueeze(-1) >= left[:, 1:]).sum(-1)
        index = k + self.levels * torch.arange(w.shape[1], device=w.device)
        return k + (v - left.take(index)) / self.mass.take(index)

    def _left(self) -> Tensor:
        return self.mass.cumsum(1) - self.mass


class Flow(TorchDistribution):
    arg_constraints = {}
    has_rsample = True

    def __init__(self, net: Any, batch_shape: Any = torch.Size()) -> None:
        self.net = net
        super().__init__(torch.Size(batch_shape), torch.Size(net.event.shape), validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Flow:
        return Flow(self.net, batch_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        z = self.net.base(torch.zeros(shape.numel() // self.net.event.size, self.net.event.size)).rsample()
        return self.net.inverse(z).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        y = value.reshape(-1, self.net.event.size)
        z, logdet = self.net(y)
        return (self.net.base(z).log_prob(z) .sum(1)+ logdet).reshape(value.shape[: value.dim() - len(self.event_shape)])


@family(
    "realnvp",
    group="flow",
    paper="Dinh et al. 2016, arXiv:1605.08803",
    recipe={"steps": 3000, "lr": 2e-3, "optimiser": "adamw", "weight_decay": 1e-2, "schedule": "onecycle", "average": 0.998, "clip": 50.0},
)
class RealNVP(nn.Module):
    def __init__(self, event: Event, *, layers: int = 8, hidden: int = 128, depth: int = 2, dropout: float = 0.2, bound: float = 2.0,
                 inp: float = 4.0, hist: bool = True, masks: str = "random", squeeze: float = 1e-5, pseudo: float = 0.1) -> None:
        super().__init__()
        self.event, self.hist = event, hist
        D = event.size
        self.entry = Standardise(D) if event.levels is None else Logit(D, event.levels, squeeze, pseudo)
        orders = []
        for i in range(layers):
            if i % 2:
                orders.append(orders[-1].flip(0))
            elif masks == "checker" and i % 4 == 0:
                r = torch.arange(D)
                par = (r // 8 + r % 8) % 2
                orders.append(par.argsort(stable=True))
            else:
                orders.append(torch.randperm(D))
        self.couplings = nn.ModuleList(Coupling(o, hidden, depth, dropout, bound, inp) for o in orders)

    def base(self, z: Tensor) -> Any:
        if self.event.levels is None:
            return dist.Normal(torch.zeros_like(z), 1.0)
        return dist.Logistic(torch.zeros_like(z), 1.0)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z, logdet = self.entry(y)
        for c in self.couplings:
            z, d = c(z)
            logdet = logdet + d
        return z, logdet

    def inverse(self, z: Tensor) -> Tensor:
        for c in reversed(self.couplings):
            z = c.inverse(z)
        return self.entry.inverse(z)

    def initialise(self, x: Tensor) -> None:
        if self.hist or self.event.levels is None:
            self.entry.initialise(x.reshape(len(x), -1))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            return observe(self.event, Flow(self), x)

    def guide(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            dequantise(self.event, x)
