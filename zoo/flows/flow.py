"""Normalising flows with an exact density: an event, a list of invertible steps, a base of independent variables.

A *step* is an `nn.Module` on vectors of D numbers, from the data towards the base:

- ``forward(h)``: shape ``(n, D)``, to the new h of the same shape and log|det dh'/dh|, shape ``(n,)``;
- ``inverse(h)``: the vectors that ``forward`` takes to ``h``, shape ``(n, D)``.

A family is a function from an event (and hyper-parameters) to ``Flow(event, steps)``. What acts on images reshapes
within its step. `Coupling` and `Autoregressive` are steps made of an `Elementwise` map of each number, whose parameters
a network computes from other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn

from zoo.distributions import dequantise, level_counts, observe
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.mlp import MADE, MLP

PSEUDOCOUNT = 0.1
"""Added to each level's count in `Marginals`."""
SQUEEZE = 1e-5
"""How far `Marginals` keeps shares from 0 and 1 before their logit is taken."""
SMALLEST_DEVIATION = 1e-3
"""Real dimensions that hardly vary are given this standard deviation, in the data's units."""

Base = Callable[[Tensor, Tensor], Any]
"""A location-scale distribution of numbers, such as `pyro.distributions.Normal`."""


class Flow(nn.Module):
    """A chain of invertible maps with an exact density.

        z ~ base, D independent variables         standard logistic for integer data, standard normal for real data
        z = f_L(... f_1(f_0(y)))                  log p(y) = log p(z) + sum_l log|det df_l|
        x = y                                     real data: the density is exact
        x = floor(y)                              integer data: the guide draws y = x + u, u ~ U[0, 1)^D, and the
                                                  ELBO is the dequantisation bound on log P(x)

    f_0, the ``entry``, is not learnt but set from the training data: `Standardise` for real data, `Marginals` for
    integers. If the others start as the identity, the flow starts as the model of independent dimensions.

    Args:
        event: any shape, flattened to D dimensions; any support.
        steps: f_1 ... f_L (see above).
        base: another distribution of each z_d, taken at location 0 and scale 1.
    """

    def __init__(self, event: Event, steps: Iterable[nn.Module], base: Base | None = None) -> None:
        super().__init__()
        self.event = event
        self.base = base or (dist.Normal if event.levels is None else dist.Logistic)
        self.entry = Standardise(event.size) if event.levels is None else Marginals(event.size, event.levels)
        self.steps = nn.ModuleList(steps)

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
        for step in self.steps:
            h, logdet = step(h)
            total = total + logdet
        return h, total

    def inverse(self, z: Tensor) -> Tensor:
        """The y of each z."""
        steps: list[Any] = [self.entry, *self.steps]
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


class Elementwise(Protocol):
    """An increasing map of each number, steered by ``count`` parameters of its own; the identity where they are 0."""

    count: int

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The image of each number and log dh'/dh, of its shape; ``parameters`` broadcast to ``(*h.shape, count)``."""

    def inverse(self, h: Tensor, parameters: Tensor) -> Tensor:
        """The number that ``forward`` takes to ``h``, of ``h``'s shape."""


class Affine:
    """h' = (h + t) exp s; s stays within (-2, 2) (Dinh et al. 2016, section 3.2)."""

    count = 2

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(parameters)
        return (h + t) * s.exp(), s

    def inverse(self, h: Tensor, parameters: Tensor) -> Tensor:
        s, t = self._scale_and_shift(parameters)
        return h * (-s).exp() - t

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = parameters.unbind(-1)
        return 2 * torch.tanh(s / 2), t


class Additive:
    """h' = h + t, which keeps volume (Dinh et al. 2014, section 3.2)."""

    count = 1

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return h + parameters[..., 0], torch.zeros_like(h)

    def inverse(self, h: Tensor, parameters: Tensor) -> Tensor:
        return h - parameters[..., 0]


class Coupling(nn.Module):
    """(a, b) -> (a, f(b)), where the parameters of the elementwise f are a network's of a; it starts as the identity.

    ``order`` is a permutation of the D dimensions; a are its first D // 2. The network is a perceptron with two hidden
    layers of ``hidden`` units, of which a share of ``dropout`` is dropped; it sees a bounded.
    """

    a: Tensor
    b: Tensor
    back: Tensor

    def __init__(self, order: Tensor, f: Elementwise, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        a, b = order.tensor_split([len(order) // 2])
        self.register_buffer("a", a)
        self.register_buffer("b", b)
        self.register_buffer("back", order.argsort())
        self.f = f
        self.net = MLP(len(a), (hidden, hidden), f.count * len(b), dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        a, b = h.index_select(1, self.a), h.index_select(1, self.b)
        b, slope = self.f.forward(b, self._steering(a))
        return torch.cat([a, b], 1).index_select(1, self.back), slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        a, b = h.index_select(1, self.a), h.index_select(1, self.b)
        return torch.cat([a, self.f.inverse(b, self._steering(a))], 1).index_select(1, self.back)

    def _steering(self, a: Tensor) -> Tensor:
        parameters: Tensor = self.net(bounded(a)).unflatten(1, (self.f.count, -1))
        return parameters.movedim(1, -1)


class Autoregressive(nn.Module):
    """h'_d = f(h_d), where the parameters of the elementwise f are a masked network's of h_1 ... h_(d-1).

    Dimensions are counted in ``order``, a permutation. ``forward`` takes one pass, ``inverse`` D sequential ones, as
    does `sequential`, which also gives the log-determinant. It starts as the identity. The network is a `MADE` with two
    hidden layers of about ``hidden`` units, of which a share of ``dropout`` is dropped; it sees h bounded.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor, f: Elementwise, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.f = f
        self.net = MADE(len(order), (hidden, hidden), f.count, dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = h.index_select(1, self.order)
        h, slope = self.f.forward(h, self.net(bounded(h)))
        return h.index_select(1, self.back), slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        return self.sequential(h)[0]

    def sequential(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` takes to ``h``, and log|det| of this inverse map."""
        stream, entries, total = self.net.stream(len(h)), [], h.new_zeros(len(h))
        parameters = next(stream)
        for target in h.index_select(1, self.order).unbind(1):
            entries.append(self.f.inverse(target, parameters))
            total = total - self.f.forward(entries[-1], parameters)[1]
            if len(entries) < h.shape[1]:
                parameters = stream.send(bounded(entries[-1]))
        return torch.stack(entries, 1).index_select(1, self.back), total


def bounded(h: Tensor) -> Tensor:
    """A network's view of ``h``: within (-2, 2), however heavy the tails."""
    return 2 * torch.tanh(h / 4)


def dropout_for(event: Event, dropout: float | None) -> float:
    """The share of hidden units to drop: if not told, 0.4 for integer data, of which there is never enough, else 0."""
    default = 0.0 if event.levels is None else 0.4
    return default if dropout is None else dropout


def orders(event: Event, steps: int) -> list[Tensor]:
    """An order of the dimensions for each step: checkerboard and random splits in turn, each followed by its reverse.

    Raises:
        ZooError: an event of one dimension, whose number depends on no other.
    """
    if event.size < 2:
        raise ZooError(f"this flow makes two or more dimensions depend on each other, got {event}; take another family")
    places = torch.meshgrid(*map(torch.arange, event.shape), indexing="ij")
    parity = torch.stack(places).sum(0).flatten() % 2
    splits = [torch.randperm(len(parity)) if i % 2 else parity.argsort(stable=True) for i in range((steps + 1) // 2)]
    return [order for split in splits for order in (split, split.flip(0))][:steps]
