"""How much noise there is at which time, learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PIECES = 16


class NoiseSchedule(nn.Module):
    """log v(t), increasing and piecewise linear in t from 0 to 1; it starts as a line from ``low`` to ``high``.

    Both ends and the shares of the pieces are parameters.

    Args:
        low: log v(0) at first.
        high: log v(1) at first, above ``low``.

    Example:
        >>> NoiseSchedule(-7.0, 5.0)(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [-7.0, -1.0, 5.0]

    Reference:
        Kingma et al. 2021, arXiv:2107.00630, section 3.2 (there by a monotone network).
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.log_range = nn.Parameter(torch.tensor(low)), nn.Parameter(torch.tensor(math.log(high - low)))
        self.shares = nn.Parameter(torch.zeros(PIECES))

    def forward(self, t: Tensor) -> Tensor:
        heights = torch.cat([self.shares.new_zeros(1), self.shares.softmax(0).cumsum(0)])
        place = t.to(heights) * PIECES
        piece = place.long().clamp(max=PIECES - 1)
        share = heights[piece] + (place - piece) * (heights[piece + 1] - heights[piece])
        return self.low + self.log_range.exp() * share
