"""Latents that gain noise step by step, and the model that takes the noise away: the two programs of a diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from zoo.errors import ZooError

Denoiser = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``denoise(u, v)``: mean and variance, ``(m, D)``, of data that are ``u`` with noise of variance ``v``, ``(m,)``."""


class NoisyPath(TorchDistribution):
    """Data with more and more noise: z_t = a_t u_t, where u gains independent normal noise from one t to the next.

        u_0 = x + sqrt(v_0) e_0     u_t = u_(t-1) + sqrt(v_t - v_(t-1)) e_t     a_t = (1 + v_t)^(-1/2)

    So z_t | x ~ N(a_t x, 1 - a_t^2): the variance stays that of the data if it is 1, and 1 / v_t is the signal-to-noise
    ratio.

    Args:
        x: data, shape ``(n, D)``.
        v: increasing variances v_0 ... v_T, shape ``(T + 1,)``.

    Example:
        >>> NoisyPath(torch.zeros(3, 2), torch.tensor([0.1, 1.0, 9.0])).sample().shape
        torch.Size([3, 3, 2])

    Reference:
        Ho et al. 2020, arXiv:2006.11239, eq. 2; in signal-to-noise ratios Kingma et al. 2021, arXiv:2107.00630, eq. 1.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, x: Tensor, v: Tensor) -> None:
        self.x, self.v = x, v
        super().__init__(x.shape[:1], torch.Size((len(v), x.shape[1])), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> NoisyPath:
        return NoisyPath(self.x.expand(*batch_shape, self.x.shape[1]), self.v)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        if sample_shape:
            raise ZooError("a path is drawn once for each datum of the batch")
        steps = self.v.diff(prepend=self.v.new_zeros(1)).sqrt()[:, None]
        noise = torch.randn(len(self.x), *self.event_shape, device=self.x.device, dtype=self.x.dtype)
        return (self.x[:, None] + (steps * noise).cumsum(1)) / (1 + self.v).sqrt()[:, None]

    def point(self, i: int, last: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the point z_i, given the ``last`` that was drawn, z_(i-1): shape ``(n, D)``."""
        v, scale = self.v[i], (1 + self.v[i]).sqrt()
        if i == 0:
            return self.x / scale, v / (1 + v)
        return last * (1 + self.v[i - 1]).sqrt() / scale, (v - self.v[i - 1]) / (1 + v)

    def log_prob(self, value: Tensor) -> Tensor:
        u = value * (1 + self.v).sqrt()[:, None]
        steps = torch.cat([(u[:, 0] - self.x)[:, None], u.diff(dim=1)], 1)
        variances = self.v.diff(prepend=self.v.new_zeros(1))
        return (_normal(steps, variances[:, None]) + 0.5 * (1 + self.v).log()[:, None]).sum((1, 2))


class DenoisingChain(TorchDistribution):
    """The model of a `NoisyPath`: z_T is pure noise, and z_(t-1) | z_t has the moments of the path from uncertain data.

        z_T ~ N(0, I)     u_s | u_t ~ N(x' + r (u_t - x'), v_s (1 - r) + (1 - r)^2 w),  s = t - 1, r = v_s / v_t

    x' and w are the mean and the variance of the data given u_t. With w = 0 the path is that from x' itself.

    Args:
        denoise: x' and w (see `Denoiser`).
        n: number of data.
        size: D.
        v: as of a `NoisyPath`.

    Example:
        >>> v = torch.tensor([0.1, 1.0, 9.0])
        >>> model = DenoisingChain(lambda u, v: (0 * u, 0 * u), 3, 2, v)
        >>> model.sample().shape, model.log_prob(torch.zeros(3, 3, 2)).shape
        (torch.Size([3, 3, 2]), torch.Size([3]))

    Reference:
        Ho et al. 2020, arXiv:2006.11239, eq. 6 and 7; the variance: Bao et al. 2022, arXiv:2201.06503, theorem 1.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, denoise: Denoiser, n: int, size: int, v: Tensor) -> None:
        self.denoise, self.v = denoise, v
        super().__init__(torch.Size((n,)), torch.Size((len(v), size)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DenoisingChain:
        (n,) = batch_shape
        return DenoisingChain(self.denoise, n, self.event_shape[1], self.v)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        if sample_shape:
            raise ZooError("a path is drawn once for each datum of the batch")
        z = torch.randn(*self.batch_shape, self.event_shape[1], device=self.v.device, dtype=self.v.dtype)
        path = [z]
        for t in range(len(self.v) - 1, 0, -1):
            mean, variance = self.step(z, t)
            z = mean + variance.sqrt() * torch.randn_like(z)
            path.append(z)
        return torch.stack(path[::-1], 1)

    def step(self, z: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of z_(t-1) given z_t, shape ``(m, D)``; ``t`` is a number or one for each, ``(m,)``."""
        after, before = (self.v[places].expand(len(z)) for places in (t, t - 1))
        u = z * (1 + after).sqrt()[:, None]
        ratio, scale = (before / after)[:, None], (1 + before)[:, None]
        expected, variance = self.denoise(u, after)
        variance = before[:, None] * (1 - ratio) + (1 - ratio).square() * variance
        return (expected + ratio * (u - expected)) / scale.sqrt(), variance / scale

    def point(self, i: int, last: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the point z_(T-i), given the ``last`` that was drawn, z_(T-i+1): shape ``(n, D)``."""
        if i == 0:
            zero = self.v.new_zeros(*self.batch_shape, self.event_shape[1])
            return zero, zero + 1
        return self.step(last, len(self.v) - i)

    def log_prob(self, value: Tensor) -> Tensor:
        n, count, _ = value.shape
        t = torch.arange(1, count, device=value.device)
        mean, variance = self.step(value[:, 1:].flatten(0, 1), t.repeat(n))
        steps = _normal(value[:, :-1].flatten(0, 1) - mean, variance).sum(1).reshape(n, -1).sum(1)
        return steps + _normal(value[:, -1], value.new_ones(())).sum(1)


def _normal(away: Tensor, variance: Tensor) -> Tensor:
    """log N(away; 0, variance)."""
    return -0.5 * (away.square() / variance + variance.log() + math.log(2 * math.pi))
