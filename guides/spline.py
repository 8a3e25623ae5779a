"""Rational-quadratic spline couplings conditioned on the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.distributions.transforms import AffineTransform
from pyro.nn import ConditionalDenseNN
from torch import Tensor, nn

from zoo.event import Event
from zoo.flows.coupling import Coupling
from zoo.flows.splines import RationalQuadratic
from zoo.nn.amortised import AmortizedGuide, flowed, positive, turned
from zoo.nn.mlp import MLP
from zoo.nn.networks import EncoderNet
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
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised spline couplings of a normal.

        z_0 ~ N(0, I),  (a, b) -> (a, g(b; a, h(x))) in steps,  z = mu(x) + sigma(x) z_K

    a is the first half of the dimensions, b the other; their order is reversed from step to step. g is a monotone
    rational-quadratic spline for each entry of b (see `zoo.flows.splines`). Draw and density, of any value, take one
    pass. The spline of a latent of one dimension depends on h only. With several latents each also depends on those
    drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of couplings.
        bins: bins of each spline.
        bound: each spline is the identity outside [-bound, bound].
        width: hidden units of each coupling's network.
        context: dimensions of h, which the encoder computes along with mu and sigma.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        Durkan et al. 2019, arXiv:1906.04032, section 3.
    """

    def site(inputs: int, size: int) -> SplineSite:
        f, kept = RationalQuadratic(bins, bound), size // 2
        couplings = [Coupling(f, SplineNet(kept, context, width, size - kept, f.count), kept) for _ in range(steps)]
        return SplineSite(inputs, size, couplings, context, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


class SplineSite(nn.Module):
    """The encoder of one latent of ``size`` dimensions and its couplings, applied to a standard normal."""

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
        steps = [turned(step.condition(context), loc.shape[-1], context.device) for step in self.flow]
        return flowed(noise, [*steps, AffineTransform(loc, positive(raw), event_dim=1, cache_size=1)])


class SplineNet(ConditionalDenseNN):
    """The ``count`` parameters of each of ``moved`` splines, ``(n, moved, count)``, given ``kept`` dimensions and h."""

    def __init__(self, kept: int, context: int, width: int, moved: int, count: int) -> None:
        super().__init__(kept, context, [width], [moved * count], nonlinearity=nn.SiLU())
        self.moved = moved

    def forward(self, a: Tensor, context: Tensor) -> Tensor:
        parameters: Tensor = super().forward(a, context)
        return parameters.unflatten(-1, (self.moved, -1))
