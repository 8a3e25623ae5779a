"""Rational-quadratic spline couplings conditioned on the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.distributions.transforms import AffineTransform
from pyro.nn import ConditionalDenseNN
from torch import Tensor, nn
from torch.distributions import Transform

from zoo.event import Event
from zoo.flows.splines import RationalQuadratic
from zoo.nn.amortised import AmortizedGuide, flowed, positive, turned
from zoo.nn.mlp import MLP
from zoo.pairs.registry import guide


@guide("spline", paper="Durkan et al. 2019, arXiv:1906.04032")
def spline(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    bins: int = 6,
    bound: float = 4.0,
    width: int = 128,
    context: int = 32,
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised spline couplings: e ~ N(0, I), then (a, b) -> (a, g(b; a, h)) in steps, then z = mu + sigma e.

    a is the first half of the dimensions, b the other; from step to step their order is reversed. g is a monotone
    rational-quadratic spline of ``bins`` bins on [-bound, bound] for each entry (see `zoo.flows.splines`), whose
    numbers are a network of ``width`` units of a and of ``context`` numbers h(x) of the encoder. Durkan et al. 2019,
    section 3. Draw and density, of any value, take one pass. The spline of a latent of one dimension is given h alone.
    Of several latents each is also given those drawn before it.
    """

    def site(inputs: int, size: int) -> SplineSite:
        couplings = [Coupling(size, context, width, bins, bound) for _ in range(steps)]
        return SplineSite(inputs, size, couplings, context, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site)


class SplineSite(nn.Module):
    """The encoder of one latent of ``size`` numbers and its couplings, which take standard normals."""

    def __init__(
        self, inputs: int, size: int, steps: Sequence[nn.Module], context: int, hidden: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.split = [size, size, context]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)
        self.flow: Any = nn.ModuleList(steps)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        loc, raw, context = self.net(inputs).split(self.split, -1)
        noise = dist.Normal(torch.zeros_like(loc), torch.ones_like(loc)).to_event(1)
        place = AffineTransform(loc, positive(raw), event_dim=1, cache_size=1)
        return flowed(noise, [*(step.condition(context) for step in self.flow), place])


class Coupling(nn.Module):
    """A spline coupling of ``size`` dimensions that are then reversed, given ``context`` numbers."""

    def __init__(self, size: int, context: int, width: int, bins: int, bound: float) -> None:
        super().__init__()
        kept = size // 2
        self.size, self.spline = size, RationalQuadratic(bins, bound)
        numbers = (size - kept) * self.spline.count
        self.net = ConditionalDenseNN(kept, context, [width], [numbers], nonlinearity=nn.SiLU())

    def condition(self, context: Tensor) -> Transform:
        """The transform for each row of ``context``, shape ``(n, context)``."""
        conditioned = SplineCoupling(partial(self.net, context=context), self.size // 2, self.spline)
        return turned(conditioned, self.size, context.device)


class SplineCoupling(Transform):
    """(a, b) -> (a, g(b)) on vectors: a are ``kept`` entries, ``net(a)`` the numbers of the splines g of each entry."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, net: partial[Tensor], kept: int, spline: RationalQuadratic) -> None:
        super().__init__(cache_size=1)
        self.net, self.kept, self.spline = net, kept, spline

    def _call(self, x: Tensor) -> Tensor:
        a, b = self._halves(x)
        return torch.cat([a, self.spline.forward(b, self._numbers(a, b))[0]], -1)

    def _inverse(self, y: Tensor) -> Tensor:
        a, b = self._halves(y)
        return torch.cat([a, self.spline.inverse(b, self._numbers(a, b))], -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = self._halves(x)
        return self.spline.forward(b, self._numbers(a, b))[1].sum(-1)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[..., : self.kept], x[..., self.kept :]

    def _numbers(self, a: Tensor, b: Tensor) -> Tensor:
        return self.net(a).unflatten(-1, (b.shape[-1], -1))
