"""An increasing map that makes a column with heavy tails standard normal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.flows.splines import Knots

KNOTS = 32
"""The most knots."""
DATA_FOR_A_KNOT = 20
"""Fewer data would make the density follow the sample."""


@dataclass(frozen=True, eq=False)
class Quantiles:
    """A monotone rational-quadratic spline q through quantiles of a column, with straight tails.

        x = q(z),  q(z_k) = the quantile of x at Phi(z_k)

    Between knots it has the slopes of Gregory & Delbourgo; beyond the last ones it goes on with their slope, so the
    tails are Gaussian. A density of x is that of z over q'(z).

    Args:
        z: the knots, increasing, shape ``(K,)``, float64.
        x: their quantiles, increasing, shape ``(K,)``, float64.

    Example:
        >>> x = torch.distributions.Cauchy(0.0, 1.0).sample((2000,)).double()
        >>> q = Quantiles.of(x)
        >>> z = q.inverse(x)
        >>> bool(z.std() < 1.1), bool(torch.allclose(q.forward(z)[0], x))
        (True, True)

    Reference:
        Gregory & Delbourgo 1982, Piecewise rational quadratic interpolation to monotonic data.
    """

    z: Tensor
    x: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Quantiles:
        """The quantiles of values ``(n,)``, at even distances of z between those of the least and the greatest.

        Raises:
            ZooError: fewer values than two knots take.
        """
        n = len(values)
        count = min(KNOTS, n // DATA_FOR_A_KNOT)
        if count < 2:
            raise ZooError(f"quantiles of a column take {2 * DATA_FOR_A_KNOT} train data or more, got {n}")
        end = float(torch.special.ndtri(torch.tensor((n - 0.5) / n, dtype=torch.float64)))
        z = torch.linspace(-end, end, count, dtype=torch.float64)
        place = (torch.special.ndtr(z) * n - 0.5).clamp(0, n - 1)
        sorted_values = values.double().sort().values
        low = place.floor().long().clamp(max=n - 2)
        x = sorted_values[low].lerp(sorted_values[low + 1], place - low)
        kept = torch.cat([x.new_ones(1, dtype=torch.bool), x.diff() > 0])
        return cls(z[kept], x[kept])

    @cached_property
    def _knots(self) -> Knots:
        """With the harmonic mean of the slopes on either side at each knot, which keeps the spline increasing."""
        width, slope = self.z.diff(), self.x.diff() / self.z.diff()
        left, right = slope[:-1], slope[1:]
        inner = (width[:-1] + width[1:]) / (width[1:] / left + width[:-1] / right)
        return Knots(self.z, self.x, torch.cat([slope[:1], inner, slope[-1:]]))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """x and log dx/dz of standard values ``(n,)``, float64."""
        z = z.double()
        inside = z.clamp(float(self.z[0]), float(self.z[-1]))
        knots = self._knots
        bin_ = knots.at(knots.x, inside)
        u = (inside - bin_.x) / bin_.width
        curve = u * (1 - u)
        below = bin_.ratio + (bin_.left + bin_.right - 2 * bin_.ratio) * curve
        x = bin_.y + bin_.height * (bin_.ratio * u**2 + bin_.left * curve) / below
        log_slope = bin_.log_slope(u)
        return x + (z - inside) * log_slope.exp(), log_slope

    def inverse(self, x: Tensor) -> Tensor:
        """The z of values ``(n,)``, float64."""
        x = x.double()
        inside = x.clamp(float(self.x[0]), float(self.x[-1]))
        knots = self._knots
        bin_ = knots.at(knots.y, inside)
        rise = (inside - bin_.y) / bin_.height
        bend = rise * (bin_.left + bin_.right - 2 * bin_.ratio)
        a, b, c = bin_.ratio - bin_.left + bend, bin_.left - bend, -bin_.ratio * rise
        u = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
        outside = x - inside
        end = torch.where(outside > 0, knots.slope[-1], knots.slope[0])
        return bin_.x + bin_.width * u + outside / end
