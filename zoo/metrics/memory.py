"""How many data are computed at once, by the memory that they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.engine.private import DispatchMode

MEMORY = 2**30
"""Bytes that one chunk may take by default."""
CHUNK = 2**28
"""Bytes that one chunk takes at most, however many it may: larger ones were up to twice as slow and never faster."""
PROBED = (2, 6)
"""Rows of the two calls by which the memory of a row is measured."""


def in_chunks(x: Tensor, work: Callable[[Tensor], Tensor], memory: int = MEMORY) -> Tensor:
    """``work(x)`` by chunks of rows that fit in ``memory``, in one piece.

    As few rows as are measured with are not measured first.

    Args:
        x: shape ``(n, ...)``.
        work: from some rows to as many results.
        memory: bytes that a chunk may take.

    Returns:
        Shape ``(n, ...)``.

    Example:
        >>> in_chunks(torch.arange(100), lambda rows: 2 * rows, memory=64).shape
        torch.Size([100])
    """
    if len(x) <= max(PROBED):
        return work(x)
    return torch.cat([work(part) for part in x.split(rows_within(memory, x, work))])


def rows_within(memory: int, x: Tensor, work: Callable[[Tensor], Any]) -> int:
    """The number of rows of ``x`` that a call of ``work`` can take within ``memory`` bytes, which is an upper bound.

    Estimated from everything that calls with 2 and with 6 rows allocate. A fixed number of rows would have to suit the
    largest family: families need 15 kB to 2 MB for a digit, and chunks of so few rows took 1.4 to 4.6 times as long
    for the others (docs/speed.md).
    """
    few, more = (_allocated(work, x[:1].repeat_interleave(n, 0)) for n in PROBED)
    return max(1, (PROBED[1] - PROBED[0]) * min(memory, CHUNK) // max(more - few, 1))


def _allocated(work: Callable[[Tensor], Any], x: Tensor) -> int:
    with _Allocated() as seen:
        work(x)
    return seen.total


class _Allocated(DispatchMode):
    """Adds up the bytes of every operation's results: more than is ever held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        results = out if isinstance(out, (tuple, list)) else (out,)
        self.total += sum(each.nbytes for each in results if isinstance(each, Tensor))
        return out
