"""Mixtures cost what their mixed density does: the component is one more latent, whose bits come back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, distributions

from zoo.codec.grids import Grid
from zoo.codec.rules import Code, FiniteCode, code, codes
from zoo.codec.stack import Stack
from zoo.distributions.mixture import Mixture, NormalMixture
from zoo.errors import ZooError


class MixtureBitsBack:
    """A component k is coded by its weight and the value z under it; k is then taken back by P(k | z), known from z.

    What is left on the stack is -log w_k - log p_k(z) + log P(k | z) = -log sum_j w_j p_j(z).

    Args:
        weights: shape ``(n, K)``, of the components.
        given: ``P(k | z)`` of values, shape ``(n, d)`` to ``(n, K)``.
        component: the code of values under the components k, shape ``(n,)``.
    """

    def __init__(self, weights: Tensor, given: Callable[[Tensor], Tensor], component: Callable[[Tensor], Code]) -> None:
        self.weights, self.given, self.component = weights, given, component

    def push(self, stack: Stack, value: Tensor) -> None:
        which = FiniteCode(self.given(value)).pop(stack)
        self.component(which).push(stack, value)
        FiniteCode(self.weights).push(stack, which)

    def pop(self, stack: Stack) -> Tensor:
        which = FiniteCode(self.weights).pop(stack)
        value = self.component(which).pop(stack)
        FiniteCode(self.given(value)).push(stack, which)
        return value


@codes(NormalMixture)
def _normal_mixture(fn: NormalMixture, grid: Grid | None) -> Code:
    return _of_normals(fn.logits.log_softmax(-1), fn.loc, fn.scale, grid)


@codes(Mixture)
def _mixture(fn: Mixture, grid: Grid | None) -> Code:
    normal = getattr(fn.components, "base_dist", None)
    if not isinstance(normal, distributions.Normal):
        raise ZooError("mixtures are coded whose components are diagonal normals")
    n = fn.batch_shape.numel()
    log_weights, loc, scale = (each.expand(n, *each.shape) for each in (fn.logits, normal.loc, normal.scale))
    return _of_normals(log_weights, loc, scale, grid)


def _of_normals(log_weights: Tensor, loc: Tensor, scale: Tensor, grid: Grid | None) -> Code:
    """Shapes: ``(n, K)``, ``(n, K, d)``, ``(n, K, d)``."""

    def given(value: Tensor) -> Tensor:
        each = distributions.Normal(loc, scale).log_prob(value.unsqueeze(-2)).sum(-1)
        return (log_weights + each).softmax(-1)

    def component(which: Tensor) -> Code:
        rows = torch.arange(len(loc)), which.long()
        return code(distributions.Independent(distributions.Normal(loc[rows], scale[rows]), 1), grid)

    return MixtureBitsBack(log_weights.exp(), given, component)
