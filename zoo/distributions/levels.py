"""Categorical levels as floats, and their counts in data."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


class Levels(dist.Categorical):
    """`Categorical` whose draws are floats, like the data of this project, by inversion (faster than torch's own)."""

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            cumulative = self.probs.cumsum(-1)
            shape = torch.Size(sample_shape) + cumulative.shape[:-1] + (1,)
            u = torch.rand(shape, dtype=cumulative.dtype, device=cumulative.device) * cumulative[..., -1:]
            return (cumulative <= u).sum(-1).clamp(max=self.probs.shape[-1] - 1).to(cumulative.dtype)


def level_counts(levels: int, x: Tensor) -> Tensor:
    """How often each level occurs in each entry of the data ``x``, shape ``(n, *event.shape)``: shape
    ``(*event.shape, levels)``.

    Intensities between two levels count for both in proportion, which is what a random rounding gives in expectation.
    """
    return torch.stack([(1 - (x - level).abs()).clamp(min=0).sum(0) for level in range(levels)], -1)
