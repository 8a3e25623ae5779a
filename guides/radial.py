"""Radial flows with amortised parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Transform
from torch.nn.functional import softplus

from zoo.event import Event
from zoo.nn.amortised import AmortizedFlow, AmortizedGuide, Step
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("radial", paper="Rezende & Mohamed 2015, arXiv:1505.05770")
def radial(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised radial flows of a normal.

        z_0 ~ N(mu, diag sigma^2),  z_k = z_(k-1) + b_k (z_(k-1) - c_k) / (a_k + |z_(k-1) - c_k|)

    Each step contracts around c or expands from it; one network computes mu, sigma and every c, a > 0 and b > -a from
    x. The inverse solves a quadratic equation. With several latents each also depends on those drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of radial maps.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        Rezende & Mohamed 2015, arXiv:1505.05770, section 4.1 and appendix A.2.
    """

    def site(inputs: int, size: int) -> AmortizedFlow:
        return AmortizedFlow(inputs, size, [Step(Radial, (size, 1, 1))] * steps, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


class Radial(Transform):
    """y = x + b (x - c) / (a + |x - c|) on vectors, with a = softplus(``raw_a``) and a + b = softplus(``raw_m``).

    a + b > 0 makes it invertible. Shapes: ``c`` is ``(..., d)``, the others are ``(..., 1)``. Equal raw numbers give
    the identity. Pyro's radial flow inverts only the value that it computed last.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, c: Tensor, raw_a: Tensor, raw_m: Tensor) -> None:
        super().__init__(cache_size=1)
        self.c, self.a, self.m = c, softplus(raw_a), softplus(raw_m)

    def _call(self, x: Tensor) -> Tensor:
        away = x - self.c
        return self.c + away * self._stretch(_norm(away))

    def _inverse(self, y: Tensor) -> Tensor:
        """|x - c| = r solves r (m + r) = |y - c| (a + r); the form without cancellation is used."""
        away = y - self.c
        far = _norm(away)
        half = (far - self.m) / 2
        root = (half**2 + far * self.a).sqrt()
        r = torch.where(half > 0, half + root, far * self.a / (root - half))
        return self.c + away / self._stretch(r)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r = _norm(x - self.c)
        # d/dr of r (m + r) / (a + r), as a sum of positive terms
        outwards = (r**2 + 2 * self.a * r + self.a * self.m).log() - 2 * (self.a + r).log()
        return ((x.shape[-1] - 1) * self._stretch(r).log() + outwards).squeeze(-1)

    def _stretch(self, r: Tensor) -> Tensor:
        return (self.m + r) / (self.a + r)


def _norm(vector: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
