"""Categorical levels as floats, and their counts in data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

ROWS = 4096
"""Data that are counted at a time: memory grows no further with their number."""


class Levels(dist.Categorical):
    """`Categorical` whose draws are floats, like this project's data, drawn by inversion (faster than torch's own).

    Example:
        >>> Levels(logits=torch.tensor([0.0, 100.0, 0.0])).sample()
        tensor(1.)
    """

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            cumulative = self.probs.cumsum(-1)
            shape = torch.Size(sample_shape) + cumulative.shape[:-1] + (1,)
            u = torch.rand(shape, dtype=cumulative.dtype, device=cumulative.device) * cumulative[..., -1:]
            return (cumulative <= u).sum(-1).clamp(max=self.probs.shape[-1] - 1).to(cumulative.dtype)


def level_counts(levels: int, x: Tensor) -> Tensor:
    """Count how often each level occurs in each entry of ``x``: ``(n, *event.shape)`` to ``(*event.shape, levels)``.

    A value between two levels counts for both in proportion, which is the expected count after random rounding.

    Example:
        >>> level_counts(3, torch.tensor([[0.0], [2.0], [0.5]]))
        tensor([[1.5000, 0.5000, 1.0000]])
    """
    rows, start = x.reshape(len(x), -1), levels * torch.arange(x.shape[1:].numel(), device=x.device)
    counts = x.new_zeros(levels * len(start))
    for part in rows.split(ROWS):
        below = part.floor()
        above = (below + 1).clamp(max=levels - 1)  # of the highest level there is nothing above
        for level, weight in ((below, 1 - (part - below)), (above, part - below)):
            counts += torch.zeros_like(counts).index_add_(0, (level.long() + start).flatten(), weight.flatten())
    return counts.reshape(*x.shape[1:], levels)


def before_end(x: Tensor) -> Tensor:
    """Which entries of levels ``(n, entries)`` are the first 0 or lie before it: shape of ``x``, bool.

    Example:
        >>> before_end(torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 2.0]]))
        tensor([[ True,  True, False],
                [ True,  True,  True]])
    """
    is_end = (x == 0).long()
    return is_end.cumsum(1) == is_end
