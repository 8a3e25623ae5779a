"""Codes of latents under a mixture: the component is one more latent, and its bits come back.

The rules here are those of mixtures of diagonal normals.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, distributions

from zoo.codec.grids import Grid
from zoo.codec.rules.finite import FiniteCode
from zoo.codec.rules.registry import Code, code, codes
from zoo.codec.stack import Stack
from zoo.distributions.mixture import Mixture, NormalMixture
from zoo.errors import ZooError


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
