"""Rational-quadratic splines as increasing maps of numbers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.event import Event

MAX_LOGIT = 2.0
"""Bounds the logits of sizes, and the log-slopes, so that the inverse stays exact."""


def bound_for(event: Event, bound: float | None) -> float:
    """The box's half side: by default 8 for integer data, whose marginals enter as logistic, and 3 for real data."""
    default = 3.0 if event.levels is None else 8.0
    return default if bound is None else bound


class RationalQuadratic:
    """A monotone rational-quadratic spline within a box, the identity outside.

    On bin k, from (x_k, y_k) to (x_(k+1), y_(k+1)), with slopes d_k and d_(k+1) at its ends, mean slope r and
    u = (h - x_k) / (x_(k+1) - x_k):

        h' = y_k + (y_(k+1) - y_k) (r u^2 + d_k u (1 - u)) / (r + (d_k + d_(k+1) - 2 r) u (1 - u))

    The parameters are the logits of the bins' widths and heights and the logarithms of the inner knots' slopes,
    each bounded by `MAX_LOGIT`; the outer slopes are 1, as outside. Where all are 0 it is the identity.

    Args:
        bins: K.
        bound: the box is [-bound, bound]^2.

    Reference:
        Durkan et al. 2019, arXiv:1906.04032, section 3.
    """

    def __init__(self, bins: int, bound: float) -> None:
        self.bins, self.bound = bins, bound
        self.count = 3 * bins - 1

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        knots = self._knots(parameters)
        inside = h.clamp(-self.bound, self.bound)
        bin_ = knots.at(knots.x, inside)
        u = (inside - bin_.x) / bin_.width
        curve, below = u * (1 - u), bin_.ratio + (bin_.left + bin_.right - 2 * bin_.ratio) * u * (1 - u)
        image = bin_.y + bin_.height * (bin_.ratio * u**2 + bin_.left * curve) / below
        return torch.where(inside == h, image, h), torch.where(inside == h, bin_.log_slope(u), 0.0)

    def inverse(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        knots = self._knots(parameters)
        inside = h.clamp(-self.bound, self.bound)
        bin_ = knots.at(knots.y, inside)
        rise = (inside - bin_.y) / bin_.height
        bend = rise * (bin_.left + bin_.right - 2 * bin_.ratio)
        a, b, c = bin_.ratio - bin_.left + bend, bin_.left - bend, -bin_.ratio * rise
        u = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
        place = torch.where(inside == h, bin_.x + bin_.width * u, h)
        return place, torch.where(inside == h, -bin_.log_slope(u), 0.0)

    def _knots(self, parameters: Tensor) -> Knots:
        parameters = MAX_LOGIT * torch.tanh(parameters / MAX_LOGIT)
        widths, heights, slopes = parameters.split([self.bins, self.bins, self.bins - 1], -1)
        return Knots(self._places(widths), self._places(heights), F.pad(slopes.exp(), (1, 1), value=1.0))

    def _places(self, logits: Tensor) -> Tensor:
        inner = 2 * self.bound * logits.softmax(-1)[..., :-1].cumsum(-1) - self.bound
        return F.pad(F.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)


class Knots(NamedTuple):
    """Coordinates and slopes of the knots, each of shape ``(..., K + 1)``."""

    x: Tensor
    y: Tensor
    slope: Tensor

    def at(self, places: Tensor, h: Tensor) -> Bin:
        """The bin of each ``h``, shape ``(...)``, by the knots' ``places``, their x or their y."""
        k = (places[..., 1:-1] <= h.unsqueeze(-1)).sum(-1, keepdim=True)
        tables = [table.expand(*h.shape, -1) for table in self]
        ends = [table.gather(-1, k + side).squeeze(-1) for table in tables for side in (0, 1)]
        x, x_end, y, y_end, left, right = ends
        return Bin(x, y, x_end - x, y_end - y, left, right)


class Bin(NamedTuple):
    """A bin's lower corner, its size, and the slopes at its ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor

    @property
    def ratio(self) -> Tensor:
        """The mean slope."""
        return self.height / self.width

    def log_slope(self, u: Tensor) -> Tensor:
        """log dh'/dh at the share ``u`` of the width."""
        curve, ratio = u * (1 - u), self.ratio
        above = self.right * u**2 + 2 * ratio * curve + self.left * (1 - u) ** 2
        return 2 * ratio.log() + above.log() - 2 * (ratio + (self.left + self.right - 2 * ratio) * curve).log()
