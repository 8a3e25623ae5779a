"""The registry of coding rules: a table from a distribution's type to its rule.

A rule also holds for subclasses; the rule of the nearest class is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from zoo.codec.grids import Grid
from zoo.codec.stack import Stack
from zoo.errors import ZooError


class Code(Protocol):
    """Codes the values of one distribution; a value has the shape of its draws."""

    def push(self, stack: Stack, value: Tensor) -> None:
        """Push ``value``: about -log2 p(value) bits."""

    def pop(self, stack: Stack) -> Tensor:
        """Pop a value: a draw of the distribution if the bits on the stack are random."""


Rule = Callable[[Any, Grid | None], Code]
"""Takes a distribution and the grid of real latents (``None`` for data) to the distribution's code."""


def code(fn: Any, grid: Grid | None = None) -> Code:
    """The code of a distribution, by the rule for its type.

    Args:
        fn: a distribution of torch or Pyro.
        grid: where its values lie, if they are real; real values without a grid have no code.

    Returns:
        An object whose ``push(stack, value)`` and ``pop(stack)`` undo each other.

    Raises:
        ZooError: no rule applies.
        NotImplementedError: the distribution would be coded by its ``cdf``, and has none.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> from zoo.codec.stack import Stack
        >>> coin, stack = code(Bernoulli(torch.full((3,), 0.5))), Stack()
        >>> coin.push(stack, torch.tensor([1.0, 0.0, 1.0]))
        >>> coin.pop(stack).tolist()
        [1.0, 0.0, 1.0]
    """
    return _rule(fn, grid)


@functools.singledispatch
def _rule(fn: Any, grid: Grid | None) -> Code:
    raise no_rule(fn)


def no_rule(fn: Any) -> ZooError:
    """The error for a distribution that no rule covers."""
    kind = type(fn).__name__
    return ZooError(f"no coding rule for {kind}: write one with @zoo.codec.codes({kind})")


def codes(kind: type) -> Callable[[Rule], Rule]:
    """Register the decorated function as the coding rule of a distribution type and its subclasses.

    Args:
        kind: the distribution's class. A later rule for the same class replaces the earlier one.

    Returns:
        A decorator for a function of the distribution and the grid of real latents that returns a `Code`.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> from zoo.codec.rules import FiniteCode
        >>> class FairCoin(Bernoulli): ...
        >>> @codes(FairCoin)
        ... def fair_coin(fn, grid):
        ...     return FiniteCode(torch.full((*fn.batch_shape, 2), 0.5))
        >>> type(code(FairCoin(torch.tensor(0.5)))).__name__
        'FiniteCode'
    """
    return _rule.register(kind)
