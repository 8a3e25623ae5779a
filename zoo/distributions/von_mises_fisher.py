"""Distributions on the unit sphere in R^m: von Mises-Fisher and uniform, and their divergence.

Densities are with respect to the sphere's surface, in nats.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import register_kl
from torch.nn.functional import normalize

PROPOSALS_PER_DRAW = 32
"""The probability that all of a draw's proposals are rejected is below 10^-15."""
MIN_ORDER_OF_EXPANSION = 20.0
"""From this order on, `_uniform_expansion` gives Bessel functions to 10^-11."""
QUADRATURE_NODES = 48
"""Nodes of the quadrature for the gradient of a draw."""


class SphereUniform(TorchDistribution):
    """Uniform on the unit sphere in R^m. ``like``, shape ``(m,)``, gives m, data type and device."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.sphere

    def __init__(self, like: Tensor, batch_shape: Any = (), validate_args: Any = None) -> None:
        self.like = like
        super().__init__(torch.Size(batch_shape), like.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SphereUniform:
        return SphereUniform(self.like, batch_shape, self._validate_args)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return normalize(torch.randn(shape, dtype=self.like.dtype, device=self.like.device), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return value.new_full(shape, -log_area(len(self.like)))


class VonMisesFisher(TorchDistribution):
    """The von Mises-Fisher distribution on the unit sphere in R^m.

        p(z) = C_m(kappa) exp(kappa mu·z)
        z = w mu + sqrt(1 - w^2) v        v uniform on the unit vectors orthogonal to mu, w = mu·z by rejection

    The gradient of a draw is exact: dw/dkappa = -(dF/dkappa) / p(w), F the distribution function of w, by quadrature.
    Nothing overflows up to kappa = 10^6, in single precision too.

    Args:
        mu: the mode, unit vectors, shape ``(..., m)``.
        kappa: the concentration, at least 0, shape ``(...)``.

    Example:
        >>> north = torch.tensor([0.0, 0.0, 1.0])
        >>> VonMisesFisher(north, torch.tensor(10.0)).mean
        tensor([0.0000, 0.0000, 0.9000])

    Reference:
        Davidson et al. 2018, arXiv:1804.00891, section 3 and algorithm 1; Ulrich 1984; gradients: Figurnov et al. 2018,
        arXiv:1805.08498.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"mu": constraints.sphere, "kappa": constraints.nonnegative}
    support = constraints.sphere
    has_rsample = True

    def __init__(self, mu: Tensor, kappa: Tensor, validate_args: Any = None) -> None:
        batch = torch.broadcast_shapes(mu.shape[:-1], kappa.shape)
        self.mu, self.kappa = mu.expand(*batch, mu.shape[-1]), kappa.expand(batch)
        super().__init__(batch, mu.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMisesFisher:
        batch = torch.Size(batch_shape)
        return VonMisesFisher(self.mu.expand(batch + self.event_shape), self.kappa.expand(batch), self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        # kappa (mu·z - 1), without its cancellation
        fall = -self.kappa * (value - self.mu).square().sum(-1) / 2
        return fall + log_peak(self.kappa, self.mu.shape[-1])

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape, m = self._extended_shape(sample_shape), self.mu.shape[-1]
        mu, kappa = self.mu.expand(shape), self.kappa.expand(shape[:-1])
        theta = _Angle.apply(kappa, m)[..., None]
        g = torch.randn_like(mu)
        v = normalize(g - (g * mu).sum(-1, keepdim=True) * mu, dim=-1)
        return theta.cos() * mu + theta.sin() * v

    @property
    def mean(self) -> Tensor:
        return mean_length(self.kappa, self.mu.shape[-1])[..., None] * self.mu

    def entropy(self) -> Tensor:
        m, kappa = self.mu.shape[-1], self.kappa.double()
        return (kappa * (1 - mean_length(kappa, m)) - log_peak(kappa, m)).to(self.kappa.dtype)


@register_kl(VonMisesFisher, SphereUniform)
def _kl(p: VonMisesFisher, q: SphereUniform) -> Tensor:
    return log_area(p.mu.shape[-1]) - p.entropy()


def log_area(m: int) -> float:
    """The logarithm of the area of the unit sphere in R^m, 2 pi^(m/2) / Gamma(m/2)."""
    return math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)


def log_peak(kappa: Tensor, m: int) -> Tensor:
    """The log-density at the mode, log C_m(kappa) + kappa, for any kappa >= 0."""
    bessel = log_bessel(kappa.double(), m / 2 - 1).to(kappa.dtype)
    return -m / 2 * math.log(2 * math.pi) - bessel


def mean_length(kappa: Tensor, m: int) -> Tensor:
    """The length of the mean, A_m(kappa) = I_(m/2)(kappa) / I_(m/2-1)(kappa)."""
    return kappa * _ratios(kappa, m / 2)[0]


def log_bessel(kappa: Tensor, v: float) -> Tensor:
    """log I_v(kappa) - v log kappa - kappa, smooth from kappa = 0 on, for an order v >= 0.

    By the expansion for high orders (DLMF 10.41.3) and the ratios of neighbouring orders below.
    """
    ratios = _ratios(kappa, v + 1)
    return _uniform_expansion(kappa, v + len(ratios)) - torch.stack(ratios).log().sum(0)


def _ratios(kappa: Tensor, v: float) -> list[Tensor]:
    """I_u(kappa) / (kappa I_(u-1)(kappa)) for the orders u = v, v + 1, ... up to a high one.

    By downward recurrence (DLMF 10.29.1), which is stable.
    """
    top = v + max(0, math.ceil(MIN_ORDER_OF_EXPANSION - v))
    found = [(_uniform_expansion(kappa, top) - _uniform_expansion(kappa, top - 1)).exp()]
    while top > v:
        top -= 1
        found.append(1 / (2 * top + kappa**2 * found[-1]))
    return found[::-1]


def _uniform_expansion(kappa: Tensor, v: float) -> Tensor:
    """`log_bessel` for high orders."""
    root = (v**2 + kappa**2).sqrt()
    t = v / root
    terms = (
        torch.ones_like(t),
        t * (3 - 5 * t**2) / 24,
        t**2 * (81 - 462 * t**2 + 385 * t**4) / 1152,
        t**3 * (30375 - 369603 * t**2 + 765765 * t**4 - 425425 * t**6) / 414720,
        t**4 * (4465125 - 94121676 * t**2 + 349922430 * t**4 - 446185740 * t**6 + 185910725 * t**8) / 39813120,
    )
    series = torch.stack([term / v**power for power, term in enumerate(terms)]).sum(0)
    fall = v**2 / (root + kappa)  # root - kappa
    return fall - v * (v + root).log() - root.log() / 2 - math.log(2 * math.pi) / 2 + series.log()


class _Angle(torch.autograd.Function):
    """The angle between a draw and mu, of ``kappa``'s shape: p(t) ~ sin(t)^(m-2) exp(kappa cos t) on (0, pi)."""

    @staticmethod
    def forward(kappa: Tensor, m: int) -> Tensor:
        return _draw_angle(kappa, m)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.m = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        kappa, theta = ctx.saved_tensors
        return grads[0] * angle_slope(theta, kappa, ctx.m), None


def _draw_angle(kappa: Tensor, m: int) -> Tensor:
    """Ulrich's rejection sampler, in terms of 1 - w, which keeps its digits near the mode."""
    n, root = m - 1, (4 * kappa**2 + (m - 1) ** 2).sqrt()
    b = n / (2 * kappa + root)
    a = (n + 2 * kappa + root) / 4
    d = 4 * a * b / (1 + b) - n * math.log(n)
    g = torch.randn(PROPOSALS_PER_DRAW, *kappa.shape, m, dtype=kappa.dtype, device=kappa.device)
    e = (1 + g[..., 0] / g.norm(dim=-1)) / 2  # Beta(n / 2, n / 2): a coordinate of a uniform point on the sphere
    bottom = 1 - (1 - b) * e
    t = 2 * a * b / bottom
    accepted = n * t.log() - t + d >= torch.rand_like(e).log()
    down = (2 * b * e / bottom).gather(0, accepted.int().argmax(0, keepdim=True)).squeeze(0)  # 1 - w
    return 2 * (down / 2).clamp(1e-15, 1 - 1e-6).sqrt().asin()


def angle_slope(theta: Tensor, kappa: Tensor, m: int) -> Tensor:
    """d theta / d kappa at a fixed quantile: - int_0^theta (cos t - A) p(t) dt / p(theta).

    By Gauss-Legendre quadrature in double precision. Where cos theta < A the integral from theta to pi, its negative,
    is used, cut off where the density vanishes.
    """
    t, k = theta.double()[..., None], kappa.double()[..., None]
    mean = mean_length(k, m)
    far = t.cos() < mean
    end = torch.where(far, torch.minimum(t + 12 / k.sqrt(), t.new_tensor(math.pi)), t.new_zeros(()))
    nodes, weights = (t.new_tensor(each) for each in np.polynomial.legendre.leggauss(QUADRATURE_NODES))
    s = end + (t - end) * (nodes + 1) / 2
    log_ratio = (m - 2) * (s.sin() / t.sin()).log() + k * (s.cos() - t.cos())
    integral = ((s.cos() - mean) * log_ratio.exp() * weights).sum(-1) * (t - end).squeeze(-1) / 2
    return -integral.to(theta.dtype)
