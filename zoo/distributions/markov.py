"""Markov chains of normal vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Normal

Move = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class MarkovNormal(TorchDistribution):
    """A sequence of vectors, each normal given the one before it.

        p(z_1, ..., z_T) = prod_t N(z_t; m(z_{t-1}, c_t), diag s(z_{t-1}, c_t)^2)

    A sequence may be shorter than T: the steps beyond its length are independent standard normals. Draws take T steps,
    log-probabilities one.

    Args:
        start: z_0, shape ``(L,)``.
        move: gives (m, s), each of shape ``(..., L)``, for z_{t-1} of shape ``(..., L)`` and c_t of shape ``(..., C)``.
        context: c_1, ..., c_T of each sequence, shape ``(n, T, C)``; C may be 0.
        within: which steps belong to the sequence, shape ``(n, T)``, bool; all by default.

    Example:
        >>> walk = MarkovNormal(torch.zeros(2), lambda z, c: (z, torch.ones_like(z)), torch.zeros(5, 3, 0))
        >>> walk.batch_shape, walk.event_shape
        (torch.Size([5]), torch.Size([3, 2]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(
        self, start: Tensor, move: Move, context: Tensor, within: Tensor | None = None, validate_args: Any = None
    ) -> None:
        self.start, self.move, self.context = start, move, context
        self.within = context.new_ones(context.shape[:-1]).bool() if within is None else within
        batch, steps = context.shape[:-2], context.shape[-2]
        super().__init__(batch, torch.Size([steps, len(start)]), validate_args=validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, 2)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MarkovNormal:
        shape = torch.broadcast_shapes(self.batch_shape, batch_shape)
        context = self.context.expand(*shape, *self.context.shape[-2:])
        return MarkovNormal(self.start, self.move, context, self.within.expand(*shape, -1), self._validate_args)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self.start.dtype, device=self.start.device)
        z, drawn = self.start.expand(*shape[:-2], -1), list[Tensor]()
        for t in range(shape[-2]):
            mean, scale = self._given(z, self.context[..., t, :].expand(*shape[:-2], -1), self.within[..., t])
            z = mean + scale * noise[..., t, :]
            drawn.append(z)
        return torch.stack(drawn, -2)

    def log_prob(self, value: Tensor) -> Tensor:
        before = torch.cat([self.start.expand_as(value[..., :1, :]), value[..., :-1, :]], -2)
        context = self.context.expand(*value.shape[:-1], -1)
        total: Tensor = Normal(*self._given(before, context, self.within)).log_prob(value).sum((-1, -2))
        return total

    def _given(self, before: Tensor, context: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.move(before, context)
        inside = within.unsqueeze(-1)
        return torch.where(inside, mean, 0.0), torch.where(inside, scale, 1.0)
