"""Codes of latents under flows and mixtures: bits-back over an auxiliary variable of the rule's own.

A flow's is its base noise, a mixture's its component. The rule of transformed distributions also reshapes, and codes
transforms of single entries by their cdf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributions

from zoo.codec.grids import Grid, is_half_line
from zoo.codec.rules.finite import FiniteCode, Mapped
from zoo.codec.rules.latents import Binned, CholeskyNormal, latent_grid
from zoo.codec.rules.registry import Code, code, codes
from zoo.codec.rules.supports import by_support
from zoo.codec.stack import Stack
from zoo.distributions.mixture import Mixture, NormalMixture
from zoo.errors import ZooError

BLUR = 2.0
"""Standard deviation s of the blur of `LocalBitsBack`, in bins."""


class LocalBitsBack:
    """z = T(e), e ~ N(0, I), by local bits-back coding.

        pop z: pop e ~ N(0, I); pop z ~ N(T(e), s² I); push e under N(T⁻¹(z), (JᵀJ / s² + I)⁻¹)

    The mass of a bin of z cannot be computed, so z is blurred with deviation s. J is the Jacobian of T at e. All three
    steps are exact for any T; the last is an approximation of p(e | z) and costs bits, fewer the smaller s is.

    Args:
        T: the transform from noise to latents, both of shape ``(n, d)``.
        like: a tensor of that shape.

    Reference:
        Ho et al. 2019, arXiv:1905.08500, equation 8.
    """

    def __init__(self, T: Any, like: Tensor, grid: Grid) -> None:
        self.T, self.like, self.grid = T, like, grid

    def push(self, stack: Stack, value: Tensor) -> None:
        noise = self.posterior(value).pop(stack)
        self.likelihood(noise).push(stack, value)
        self.prior().push(stack, noise)

    def pop(self, stack: Stack) -> Tensor:
        noise = self.prior().pop(stack)
        value = self.likelihood(noise).pop(stack)
        self.posterior(value).push(stack, noise)
        return value

    def prior(self) -> Binned:
        """The code of e ~ N(0, I)."""
        zero = torch.zeros_like(self.like)
        return Binned(distributions.Normal(zero, torch.ones_like(zero)), self.grid)

    def likelihood(self, noise: Tensor) -> Binned:
        """The code of z given e: the blur."""
        return Binned(distributions.Normal(self.T(noise).nan_to_num(), BLUR * self.grid.width), self.grid)

    def posterior(self, value: Tensor) -> CholeskyNormal:
        """The code of e given z; a standard normal where T or its inverse fails numerically."""
        noise = self.T.inv(value.clone()).detach()  # a clone, because a transform caches the tensors that it made
        J, eye = jacobian(self.T, noise), torch.eye(noise.shape[1], dtype=noise.dtype)
        variance = (BLUR**2 + 1 / 12) * self.grid.width**2  # of the blur, and of the place within a bin
        covariance, singular = torch.linalg.inv_ex(J.mT @ J / variance + eye)
        loc = noise - (covariance @ noise.unsqueeze(-1)).squeeze(-1)
        L, indefinite = torch.linalg.cholesky_ex((covariance + covariance.mT) / 2)
        good = (singular == 0) & (indefinite == 0) & (L.flatten(1) + loc.repeat(1, len(eye))).isfinite().all(1)
        return CholeskyNormal(loc.where(good[:, None], 0.0), L.where(good[:, None, None], eye), self.grid)


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """dy_i / dx_j for each row of a function from ``(n, d)`` to ``(n, d)``: shape ``(n, d, d)``."""
    with torch.enable_grad():
        x = at.detach().clone().requires_grad_()
        y = function(x)
        rows = [torch.autograd.grad(y[:, i].sum(), x, retain_graph=True)[0] for i in range(y.shape[1])]
    return torch.stack(rows, 1)


@codes(distributions.TransformedDistribution)
def _transformed(fn: Any, grid: Grid | None) -> Code:
    if not fn.event_shape:
        return by_support(fn, grid)
    *steps, last = fn.transforms
    if isinstance(last, distributions.ReshapeTransform):
        inner = distributions.TransformedDistribution(fn.base_dist, steps) if steps else fn.base_dist
        before, after = fn.batch_shape + last.in_shape, fn.batch_shape + fn.event_shape
        return Mapped(code(inner, grid), lambda value: value.reshape(before), lambda value: value.reshape(after))
    base = fn.base_dist.base_dist if isinstance(fn.base_dist, distributions.Independent) else fn.base_dist
    if not base.event_shape and all(each.domain.event_dim == each.codomain.event_dim == 0 for each in fn.transforms):
        return by_support(distributions.TransformedDistribution(base, fn.transforms), grid)
    if is_half_line(fn.support):
        raise ZooError("a flow onto positive numbers has no code: let the latent be their logarithm")
    if not isinstance(base, distributions.Normal) or len(fn.batch_shape) != 1 or len(fn.event_shape) != 1:
        raise ZooError("a flow is coded if its base is a factorised normal and it draws one vector per datum")
    standard = distributions.AffineTransform(base.loc, base.scale, event_dim=1)
    return LocalBitsBack(distributions.ComposeTransform([standard, *fn.transforms]), base.loc, latent_grid(grid))


class MixtureBitsBack:
    """Values z of a mixture, at the cost of its density, by bits-back over the component k.

        -log w_k - log p_k(z) + log P(k | z) = -log sum_j w_j p_j(z)

    Args:
        weights: shape ``(n, K)``, of the components.
        posterior: P(k | z), from values of shape ``(n, d)`` to shape ``(n, K)``.
        component: from k, shape ``(n,)``, to the code of values under those components.
    """

    def __init__(
        self, weights: Tensor, posterior: Callable[[Tensor], Tensor], component: Callable[[Tensor], Code]
    ) -> None:
        self.weights, self.posterior, self.component = weights, posterior, component

    def push(self, stack: Stack, value: Tensor) -> None:
        k = FiniteCode(self.posterior(value)).pop(stack)
        self.component(k).push(stack, value)
        FiniteCode(self.weights).push(stack, k)

    def pop(self, stack: Stack) -> Tensor:
        k = FiniteCode(self.weights).pop(stack)
        value = self.component(k).pop(stack)
        FiniteCode(self.posterior(value)).push(stack, k)
        return value


@codes(NormalMixture)
def _normal_mixture(fn: NormalMixture, grid: Grid | None) -> Code:
    return _of_normals(fn.logits.log_softmax(-1), fn.loc, fn.scale, grid)


@codes(Mixture)
def _mixture(fn: Mixture, grid: Grid | None) -> Code:
    normal = getattr(fn.components, "base_dist", None)
    if not isinstance(normal, distributions.Normal):
        raise ZooError("a mixture is coded if its components are diagonal normals")
    n = fn.batch_shape.numel()
    log_weights, loc, scale = (each.expand(n, *each.shape) for each in (fn.logits, normal.loc, normal.scale))
    return _of_normals(log_weights, loc, scale, grid)


def _of_normals(log_weights: Tensor, loc: Tensor, scale: Tensor, grid: Grid | None) -> Code:
    """Shapes: ``(n, K)``, ``(n, K, d)``, ``(n, K, d)``."""

    def posterior(value: Tensor) -> Tensor:
        each = distributions.Normal(loc, scale).log_prob(value.unsqueeze(-2)).sum(-1)
        return (log_weights + each).softmax(-1)

    def component(k: Tensor) -> Code:
        rows = torch.arange(len(loc)), k.long()
        return code(distributions.Independent(distributions.Normal(loc[rows], scale[rows]), 1), grid)

    return MixtureBitsBack(log_weights.exp(), posterior, component)
