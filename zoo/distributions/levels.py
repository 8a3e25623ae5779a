"""Categorical levels as floats, and their counts in data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


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
    return torch.stack([(1 - (x - level).abs()).clamp(min=0).sum(0) for level in range(levels)], -1)
