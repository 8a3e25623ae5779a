"""Integers mapped onto integers: distributions of a bijection's values, and of vectors cut in blocks.

A bijection maps a batch of integers {0, ..., K-1} (as floats) to integers of the same alphabet, so there is no change
of volume: P(x) = P_base(f(x)), exactly. Couplings add a rounded function of the entries that they leave unchanged to
the others (Hoogeboom et al. 2019, arXiv:1905.07376), here modulo K.

For gradients, integers are represented as one-hot *codes* of K numbers. A coupling rounds in the forward pass; in the
backward pass it interpolates linearly between the two nearest levels (a straight-through estimator), so the gradient is
the difference of their log-masses. (The derivative of a smooth base, which is used on an unbounded alphabet, would not
see that K-1 and 0 are neighbours.)

Codes take K times the memory of the integers. For images of 256 levels there is the `smooth` form: values pass
gradients straight through rounding, to bases that have a slope in their values, such as logistics; only the few shifts
across the edge have a wrong slope. Probabilities are the same either way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor


class Bijection(Protocol):
    """A one-to-one map of integers to integers, datum by datum.

    Calling it maps x, shape ``(n, *shape)``, to z; ``inv`` maps z back exactly, as both compute the same shifts from
    the same entries; ``relaxed`` maps x's codes, shape ``(n, *shape, levels)``, to z's, with gradients. In the smooth
    form the call itself has gradients, and there is no ``relaxed``.
    """

    def __call__(self, x: Tensor) -> Tensor: ...
    def inv(self, z: Tensor) -> Tensor: ...
    def relaxed(self, one_hot: Tensor) -> Tensor: ...


class IntegerTransformed(TorchDistribution):
    """The distribution of x where ``bijection(x)`` follows ``base``: log P(x) = log P_base(bijection(x)).

    Args:
        base: over vectors z of integers, of batch shape ``()``: a `Blocks`, another of these, or
            ``Levels(logits).to_event(1)``.
        bijection: from x, shape ``(n, *shape)``, to z, shape ``(n, D)``.
        levels: K.
        shape: the event shape of x; by default ``(D,)``.
        batch_shape: independent copies.
        smooth: gradients are of values, not of codes.

    To code x, code ``bijection(x)`` under ``base``; to decode, decode z and take ``bijection.inv(z)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        base: Any,
        bijection: Bijection,
        levels: int,
        shape: tuple[int, ...] | None = None,
        batch_shape: Any = (),
        smooth: bool = False,
    ) -> None:
        self.base, self.bijection, self.levels, self.smooth = base, bijection, levels, smooth
        event_shape = base.event_shape if shape is None else shape
        super().__init__(torch.Size(batch_shape), torch.Size(event_shape), validate_args=False)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, self.levels - 1), len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> IntegerTransformed:
        shape = tuple(self.event_shape)
        return IntegerTransformed(self.base, self.bijection, self.levels, shape, batch_shape, self.smooth)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            z = self.base.expand((shape.numel() // self.event_shape.numel(),)).sample()
            return self.bijection.inv(z).reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        lead = value.shape[: value.dim() - self.event_dim]
        x = value.reshape(-1, *self.event_shape)
        total = self.base.log_prob(self.bijection(x)) if self.smooth else self.score(coded(x, self.levels))
        total = total.reshape(lead)
        return total.expand(torch.broadcast_shapes(lead, self.batch_shape))

    def score(self, one_hot: Tensor) -> Tensor:
        """log P of the x with these codes, shape ``(n, *shape, levels)`` to ``(n,)``."""
        return score(self.base, self.bijection.relaxed(one_hot))


Given = Callable[[Tensor], Any]


class Blocks(TorchDistribution):
    """A vector of integers in blocks, each with a distribution given the blocks before it.

        P(x) = P(x_1) P(x_2 | x_1) P(x_3 | x_1, x_2) ...

    Args:
        first: the distribution of x_1, batch shape ``()``, event shape ``(size,)``.
        rest: for each further block its size and a function of the entries before it: from ``(n, sizes so far)`` to a
            distribution of batch shape ``(n,)`` and event shape ``(size,)``, of the kinds that a base of
            `IntegerTransformed` may be.
        levels: K.
        batch_shape: independent copies.
        smooth: as of `IntegerTransformed`.

    Decode the blocks in order, block i under ``block(i, earlier)``; a stack codec therefore encodes from the last to
    the first.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, first: Any, *rest: tuple[int, Given], levels: int, batch_shape: Any = (), smooth: bool = False
    ) -> None:
        self.first, self.rest, self.levels, self.smooth = first, rest, levels, smooth
        self.sizes = (first.event_shape[0], *(size for size, _ in rest))
        super().__init__(torch.Size(batch_shape), torch.Size([sum(self.sizes)]), validate_args=False)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, self.levels - 1), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Blocks:
        return Blocks(self.first, *self.rest, levels=self.levels, batch_shape=batch_shape, smooth=self.smooth)

    def block(self, i: int, earlier: Tensor) -> Any:
        """The distribution of block ``i`` (from 0) given ``earlier``, the concatenated blocks before it.

        From shape ``(n, sum(sizes[:i]))`` to batch shape ``(n,)``, event shape ``(sizes[i],)``.
        """
        return self.rest[i - 1][1](earlier) if i else self.first.expand((len(earlier),))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            x = self.first.expand((shape[:-1].numel(),)).sample()
            for i in range(1, len(self.sizes)):
                x = torch.cat([x, self.block(i, x).sample()], 1)
        return x.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        lead = value.shape[:-1]
        x = value.reshape(-1, *self.event_shape)
        if self.smooth:
            starts = itertools.accumulate(self.sizes, initial=0)
            parts = zip(starts, x.split(self.sizes, 1), strict=False)
            total = torch.stack([self.block(i, x[:, :at]).log_prob(part) for i, (at, part) in enumerate(parts)]).sum(0)
        else:
            total = self.score(coded(x, self.levels))
        total = total.reshape(lead)
        return total.expand(torch.broadcast_shapes(lead, self.batch_shape))

    def score(self, one_hot: Tensor) -> Tensor:
        """log P of the x with these codes, shape ``(n, D, levels)`` to ``(n,)``."""
        x, starts = decoded(one_hot), itertools.accumulate(self.sizes, initial=0)
        parts = zip(starts, one_hot.split(self.sizes, 1), strict=False)
        return torch.stack([score(self.block(i, x[:, :at]), part) for i, (at, part) in enumerate(parts)]).sum(0)


def score(distribution: Any, one_hot: Tensor) -> Tensor:
    """log P of the integers with these codes, ``(n, D, levels)`` to ``(n,)``; linear in each entry's code."""
    if isinstance(distribution, (Blocks, IntegerTransformed)):
        return distribution.score(one_hot)
    return (one_hot * distribution.base_dist.logits).sum((-2, -1))


def coded(x: Tensor, levels: int) -> Tensor:
    """One-hot codes of integers: shape ``(...)`` to ``(..., levels)``."""
    return (x.unsqueeze(-1) == torch.arange(levels, device=x.device)).to(x.dtype)


def decoded(one_hot: Tensor) -> Tensor:
    """The integers of codes, exactly: shape ``(..., levels)`` to ``(...)``."""
    return one_hot @ torch.arange(one_hot.shape[-1], dtype=one_hot.dtype, device=one_hot.device)
