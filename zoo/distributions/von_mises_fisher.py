"""The unit sphere in m dimensions: the von Mises-Fisher distribution, the uniform one, and what lies between them.

Densities are with respect to the sphere's surface, in nats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import register_kl
from torch.nn.functional import normalize

PROPOSALS = 32
"""For each draw; all are refused once in 10^15 or less."""
HIGH = 20.0
"""From this order on, `_uniform` gives Bessel functions to 10^-11."""
NODES = 48
"""Of the quadrature behind the gradient of a draw."""


class SphereUniform(TorchDistribution):
    """Uniform on the unit sphere in R^m. ``like``, shape ``(m,)``, gives m, data type and device."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 (torch's own interface)
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
    """p(z) = C_m(kappa) exp(kappa mu·z) on the unit sphere in R^m (Davidson et al. 2018, section 3.1).

    ``mu``, shape ``(..., m)``, are unit vectors, ``kappa``, shape ``(...)``, at least 0. No number overflows up to
    kappa = 10^6 at least, in single precision either.

    A draw is w mu + sqrt(1 - w^2) v: v uniform among the unit vectors orthogonal to mu, w = mu·z by rejection (Ulrich
    1984; Davidson et al., algorithm 1) from a fixed number of proposals. Its gradient is exact: w's distribution
    function F stays where it is, so dw/dkappa = -(dF/dkappa) / p(w) (Figurnov et al. 2018), by quadrature.
    """

    arg_constraints = {"mu": constraints.sphere, "kappa": constraints.nonnegative}  # noqa: RUF012 (torch's own interface)
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
    """log C_m(kappa) + kappa, the log-density at the mode, for any kappa >= 0."""
    bessel = log_bessel(kappa.double(), m / 2 - 1).to(kappa.dtype)
    return -m / 2 * math.log(2 * math.pi) - bessel


def mean_length(kappa: Tensor, m: int) -> Tensor:
    """A_m(kappa) = I_(m/2)(kappa) / I_(m/2-1)(kappa), the length of the mean."""
    return kappa * _ratios(kappa, m / 2)[0]


def log_bessel(kappa: Tensor, v: float) -> Tensor:
    """log I_v(kappa) - v log kappa - kappa, smooth from kappa = 0 on, for an order v >= 0.

    By the expansion for high orders (DLMF 10.41.3), and the ratios of neighbours down from there.
    """
    ratios = _ratios(kappa, v + 1)
    return _uniform(kappa, v + len(ratios)) - torch.stack(ratios).log().sum(0)


def _ratios(kappa: Tensor, v: float) -> list[Tensor]:
    """I_u(kappa) / (kappa I_(u-1)(kappa)) for the orders u = v, v + 1, ... up to a high one.

    Continued from the highest down (DLMF 10.29.1), which loses nothing.
    """
    top = v + max(0, math.ceil(HIGH - v))
    found = [(_uniform(kappa, top) - _uniform(kappa, top - 1)).exp()]
    while top > v:
        top -= 1
        found.append(1 / (2 * top + kappa**2 * found[-1]))
    return found[::-1]


def _uniform(kappa: Tensor, v: float) -> Tensor:
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
    """The angle of a draw from mu, shape that of ``kappa``: density p(t) ~ sin(t)^(m-2) exp(kappa cos t) on (0, pi)."""

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
    """Ulrich's rejection sampler, in terms of 1 - w: near the mode w itself would be rounded away."""
    n, root = m - 1, (4 * kappa**2 + (m - 1) ** 2).sqrt()
    b = n / (2 * kappa + root)
    a = (n + 2 * kappa + root) / 4
    d = 4 * a * b / (1 + b) - n * math.log(n)
    g = torch.randn(PROPOSALS, *kappa.shape, m, dtype=kappa.dtype, device=kappa.device)
    e = (1 + g[..., 0] / g.norm(dim=-1)) / 2  # Beta(n / 2, n / 2): a coordinate of a uniform point on the sphere
    bottom = 1 - (1 - b) * e
    t = 2 * a * b / bottom
    accepted = n * t.log() - t + d >= torch.rand_like(e).log()
    down = (2 * b * e / bottom).gather(0, accepted.int().argmax(0, keepdim=True)).squeeze(0)  # 1 - w
    return 2 * (down / 2).clamp(1e-15, 1 - 1e-6).sqrt().asin()


def angle_slope(theta: Tensor, kappa: Tensor, m: int) -> Tensor:
    """d theta / d kappa at a fixed share of draws below: - int_0^theta (cos t - A) p(t) dt / p(theta).

    By Gauss-Legendre quadrature in double precision; beyond the mean of cos the integral is taken from theta to
    pi, which is its negative, as far as the density reaches.
    """
    t, k = theta.double()[..., None], kappa.double()[..., None]
    mean = mean_length(k, m)
    far = t.cos() < mean
    end = torch.where(far, torch.minimum(t + 12 / k.sqrt(), t.new_tensor(math.pi)), t.new_zeros(()))
    nodes, weights = (t.new_tensor(each) for each in np.polynomial.legendre.leggauss(NODES))
    s = end + (t - end) * (nodes + 1) / 2
    log_ratio = (m - 2) * (s.sin() / t.sin()).log() + k * (s.cos() - t.cos())
    integral = ((s.cos() - mean) * log_ratio.exp() * weights).sum(-1) * (t - end).squeeze(-1) / 2
    return -integral.to(theta.dtype)
