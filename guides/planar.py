"""Planar flows with amortised parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Transform
from torch.nn.functional import softplus

from zoo.event import Event
from zoo.flows.bisection import increasing_root
from zoo.nn.amortised import AmortizedFlow, AmortizedGuide, Step
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("planar", paper="Rezende & Mohamed 2015, arXiv:1505.05770")
def planar(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised planar flows of a normal.

        z_0 ~ N(mu, diag sigma^2),  z_k = z_(k-1) + u_k tanh(w_k·z_(k-1) + b_k)

    One network computes mu, sigma and every u, w, b from x; u is corrected so that w·u > -1, which makes each step
    invertible. A draw and its own density take one pass, the density of any other value a bisection a step. With
    several latents each also depends on those drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of planar maps.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        Rezende & Mohamed 2015, arXiv:1505.05770, sections 4.1 and 4.2, appendix A.1.
    """

    def site(inputs: int, size: int) -> AmortizedFlow:
        return AmortizedFlow(inputs, size, [Step(Planar, (size, size, 1))] * steps, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


class Planar(Transform):
    """y = x + v tanh(w·x + b) on vectors, with v = u + (m(w·u) - w·u) w / |w|^2, so that w·v = m(w·u) > -1.

    m(a) = softplus(a + log(e - 1)) - 1 is the paper's m, shifted to m(0) = 0. The inverse is a root on a line, found by
    bisection.

    Args:
        u: shape ``(..., d)``.
        w: shape ``(..., d)``.
        b: shape ``(..., 1)``.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        super().__init__(cache_size=1)
        a = (w * u).sum(-1, keepdim=True)
        self.m_plus_one = softplus(a + math.log(math.e - 1))
        self.v = u + (self.m_plus_one - 1 - a) * w / (w**2).sum(-1, keepdim=True)
        self.w, self.b = w, b

    def _call(self, x: Tensor) -> Tensor:
        return x + self.v * self._tanh(x)

    def _inverse(self, y: Tensor) -> Tensor:
        """Solve s + m tanh(s + b) = w·y, which increases with s = w·x."""
        target, m = (self.w * y).sum(-1, keepdim=True), self.m_plus_one - 1

        def excess(s: Tensor) -> Tensor:
            return s + m * torch.tanh(s + self.b) - target

        def slope(s: Tensor) -> Tensor:
            return self._slope(torch.tanh(s + self.b))

        s = increasing_root(excess, slope, target - m.abs(), target + m.abs())
        return y - self.v * torch.tanh(s + self.b)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._slope(self._tanh(x)).log().squeeze(-1)

    def _tanh(self, x: Tensor) -> Tensor:
        return torch.tanh((self.w * x).sum(-1, keepdim=True) + self.b)

    def _slope(self, tanh: Tensor) -> Tensor:
        """1 + (1 - tanh^2) m, written as a sum of positive terms."""
        return tanh**2 + (1 - tanh**2) * self.m_plus_one
