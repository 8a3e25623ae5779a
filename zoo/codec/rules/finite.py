"""Codes of integers: finite tables, a window with an escape for unbounded ones, and another code behind a bijection.

The rules here are those of Bernoulli, categorical, floored and masked values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor, distributions
from torch.nn.functional import one_hot

from zoo.codec.grids import Grid
from zoo.codec.rules.registry import Code, code, codes
from zoo.codec.stack import Stack
from zoo.distributions import Floor
from zoo.errors import ZooError

WINDOW = 128
"""`Windowed` has a table entry for each integer at most this far from its centre."""

PLAIN_BYTE = torch.ones(1, 256)
"""The table of a byte that may have any value."""


class FiniteCode:
    """Integers from 0 to levels-1 by their masses, shape ``(*shape, levels)``, which need not be normalised."""

    def __init__(self, masses: Tensor) -> None:
        self.masses = masses

    def push(self, stack: Stack, value: Tensor) -> None:
        stack.push(value.expand(self.masses.shape[:-1]).reshape(-1), self.masses.flatten(0, -2))

    def pop(self, stack: Stack) -> Tensor:
        return stack.pop(self.masses.flatten(0, -2)).reshape(self.masses.shape[:-1])


class Mapped:
    """Values that the bijection ``forward`` takes to the values of another code."""

    def __init__(self, code: Code, forward: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor]) -> None:
        self.code, self.forward, self.inverse = code, forward, inverse

    def push(self, stack: Stack, value: Tensor) -> None:
        self.code.push(stack, self.forward(value))

    def pop(self, stack: Stack) -> Tensor:
        return self.inverse(self.code.pop(stack))


class Windowed:
    """Unbounded integers: a table of the masses near a centre, and an escape into 32 plain bits for all others.

    ``centre`` is of the batch shape of the distribution ``fn``.
    """

    def __init__(self, fn: Any, centre: Tensor) -> None:
        values = centre + torch.arange(-WINDOW, WINDOW + 1.0, dtype=torch.float64).reshape(-1, *[1] * centre.dim())
        masses = fn.log_prob(values).exp().where(fn.support.check(values), 0.0).movedim(0, -1)
        escape = (1 - masses.sum(-1, keepdim=True)).clamp(min=0)
        self.table, self.centre = FiniteCode(torch.cat([masses, escape], -1)), centre

    def push(self, stack: Stack, value: Tensor) -> None:
        offset = (value - self.centre).expand(self.centre.shape)
        escaped = offset.abs() > WINDOW
        plain = torch.where(escaped, offset, 0.0) + 2**31
        if bool((plain < 0).any()) or bool((plain >= 2**32).any()):
            raise ZooError("a value is more than 32 bits away from the distribution's mean")
        with stack.only(escaped.reshape(-1)):
            for byte in range(4):
                stack.push((plain / 256**byte).floor().reshape(-1) % 256, PLAIN_BYTE.expand(offset.numel(), -1))
        self.table.push(stack, torch.where(escaped, 2.0 * WINDOW + 1, offset + WINDOW))

    def pop(self, stack: Stack) -> Tensor:
        symbol = self.table.pop(stack)
        offset, escaped = symbol - WINDOW, symbol == 2 * WINDOW + 1
        with stack.only(escaped.reshape(-1)):
            digits = [256**byte * stack.pop(PLAIN_BYTE.expand(offset.numel(), -1)) for byte in reversed(range(4))]
        plain = sum(digits, torch.zeros(())).reshape(offset.shape) - 2**31
        return self.centre + torch.where(escaped, plain, offset)


class KnownValue:
    """All mass on one value: it takes no bits."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def push(self, stack: Stack, value: Tensor) -> None:
        if not torch.equal(value.to(self.value.dtype), self.value):
            raise ZooError("a value of probability zero cannot be coded")

    def pop(self, stack: Stack) -> Tensor:
        return self.value


@codes(distributions.Independent)
def _independent(fn: Any, grid: Grid | None) -> Code:
    return code(fn.base_dist, grid)


@codes(distributions.Bernoulli)
def _bernoulli(fn: Any, grid: Grid | None) -> Code:
    return FiniteCode(torch.stack([1 - fn.probs, fn.probs], -1))


@codes(distributions.Categorical)
def _categorical(fn: Any, grid: Grid | None) -> Code:
    return FiniteCode(fn.probs)


@codes(distributions.OneHotCategorical)
def _one_hot(fn: Any, grid: Grid | None) -> Code:
    levels = fn.event_shape[-1]
    return Mapped(
        FiniteCode(fn.probs), lambda value: value.argmax(-1), lambda index: one_hot(index.long(), levels).to(fn.probs)
    )


@codes(Floor)
def _floor(fn: Floor, grid: Grid | None) -> Code:
    return KnownValue(fn.sample())


class MaskedEntries:
    """Another code of which only some entries are coded: those where the ``mask`` is true.

    The others take no bits, so that each is ``blank``.

    Args:
        code: of all entries.
        mask: shape of the distribution's batch.
        blank: of the shape of the values.
    """

    def __init__(self, code: Code, mask: Tensor, blank: Tensor) -> None:
        self.code, self.mask, self.blank = code, mask, blank

    def push(self, stack: Stack, value: Tensor) -> None:
        if not torch.equal(self.blanked(value), value.expand(self.blank.shape)):
            raise ZooError(
                f"an entry that is masked should be {float(self.blank.flatten()[0]):g}, as it takes no bits and would "
                "be lost; model and guide should mask a latent alike"
            )
        with stack.only(self.mask.reshape(-1)):
            self.code.push(stack, value)

    def pop(self, stack: Stack) -> Tensor:
        with stack.only(self.mask.reshape(-1)):
            return self.blanked(self.code.pop(stack))

    def blanked(self, value: Tensor) -> Tensor:
        """The value with the blank where it is masked."""
        entries = self.mask.reshape(*self.mask.shape, *[1] * (self.blank.dim() - self.mask.dim()))
        return torch.where(entries, value, self.blank.to(value.dtype))


@codes(MaskedDistribution)
def _masked(fn: Any, grid: Grid | None) -> Code:
    blank = torch.zeros(fn.shape(), dtype=torch.float64)
    if not fn.support.is_discrete:
        transform = distributions.biject_to(fn.support)
        blank = transform(torch.zeros(transform.inverse_shape(fn.shape()), dtype=torch.float64))
    return MaskedEntries(code(fn.base_dist, grid), torch.as_tensor(fn._mask).expand(fn.batch_shape), blank)
