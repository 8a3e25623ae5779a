"""The first map of a flow: set from the training data, not learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.distributions import level_counts

PSEUDOCOUNT = 0.1
"""Added to each level's count in `Marginals`."""
MARGIN = 1e-5
"""The distance from 0 and 1 that `Marginals` keeps before the logit."""
MIN_DEVIATION = 1e-3
"""Lower bound of the standard deviation in `Standardise`, in the data's units."""


class Standardise(nn.Module):
    """h = (y - m) / s, with the training data's mean m and standard deviation s."""

    loc: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def initialise(self, x: Tensor) -> None:
        """Set mean and deviation from ``x``, shape ``(n, D)``."""
        self.loc.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp(min=MIN_DEVIATION))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return (y - self.loc) / self.scale, -self.scale.log().sum().expand(len(y))

    def inverse(self, h: Tensor) -> Tensor:
        return self.loc + self.scale * h


class Marginals(nn.Module):
    """h_d = logit F_d(y_d), F_d the distribution function of dimension d, dequantised.

        F_d(y) = P_d(X < k) + P_d(X = k) (y - k)        on level k; linear beyond 0 and K too

    e + (1 - 2e) F_d with e = `MARGIN` takes the place of F_d, so that the logits at 0 and K are finite.
    """

    mass: Tensor

    def __init__(self, size: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("mass", torch.full((size, levels), 1 / levels))

    def initialise(self, x: Tensor) -> None:
        """Set P_d(X = k) by counting ``x``, shape ``(n, D)``."""
        counts = level_counts(self.levels, x) + PSEUDOCOUNT
        self.mass.copy_(counts / counts.sum(1, keepdim=True))

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        level = y.detach().floor().clamp(0, self.levels - 1)
        mass, below = self._at(level)
        share = MARGIN + (1 - 2 * MARGIN) * (below + mass * (y - level))
        slope = (mass * (1 - 2 * MARGIN)).log() - share.log() - (-share).log1p()
        return share.log() - (-share).log1p(), slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        share = (h.sigmoid() - MARGIN) / (1 - 2 * MARGIN)
        level = torch.searchsorted(self._below()[:, 1:].contiguous(), share.T.contiguous(), right=True).T
        mass, below = self._at(level)
        return level + (share - below) / mass

    def _at(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """P_d(X = k) and P_d(X < k) for the level k of each dimension."""
        place = level.long() + self.levels * torch.arange(level.shape[1], device=level.device)
        return self.mass.take(place), self._below().take(place)

    def _below(self) -> Tensor:
        return self.mass.cumsum(1) - self.mass
