"""Monotone rational-quadratic splines (Durkan et al. 2019, arXiv:1906.04032)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad, softmax, softplus

SMALLEST = 1e-3
"""Of a bin's width and height, as shares of the interval, and of a slope."""


class Spline:
    """An increasing function of each entry: rational-quadratic in K bins on [-bound, bound], the identity elsewhere.

    Durkan et al. 2019, section 3.1 and appendix A. Widths, heights and slopes are free numbers, those of a network:
    ``raw`` of shape ``(..., 3 K - 1)``, for arguments of shape ``(...)``. Where ``raw`` is zero it is the identity.
    """

    def __init__(self, raw: Tensor, bound: float) -> None:
        bins = (raw.shape[-1] + 1) // 3
        widths, heights, slopes = raw.split([bins, bins, bins - 1], -1)
        self.bound, self.bins = bound, bins
        self.x, self.y = _knots(widths, bound), _knots(heights, bound)
        # softplus(0 + log(e^(1 - m) - 1)) + m = 1, the slope outside
        inner = SMALLEST + softplus(slopes + math.log(math.expm1(1 - SMALLEST)))
        self.slopes = pad(inner, (1, 1), value=1.0)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log dy/dx at each x."""
        inside = x.abs() < self.bound
        at = torch.where(inside, x, 0.0)
        x0, y0, width, height, d0, d1 = self._bin(self.x, at)
        share = (at - x0) / width
        y = y0 + self._rise(share, height, height / width, d0, d1)
        return torch.where(inside, y, x), torch.where(inside, self._log_slope(share, height / width, d0, d1), 0.0)

    def inverse(self, y: Tensor) -> Tensor:
        """The x of each y: the root of a quadratic equation, in the form that does not cancel."""
        inside = y.abs() < self.bound
        at = torch.where(inside, y, 0.0)
        x0, y0, width, height, d0, d1 = self._bin(self.y, at)
        secant, rise = height / width, at - y0
        bend = rise * (d0 + d1 - 2 * secant)
        a, b, c = height * (secant - d0) + bend, height * d0 - bend, -secant * rise
        share = -2 * c / (b + (b**2 - 4 * a * c).clamp(min=0).sqrt())
        return torch.where(inside, x0 + share * width, y)

    def _bin(self, knots: Tensor, at: Tensor) -> tuple[Tensor, ...]:
        """Left corner, width, height and the slopes at both ends of the bin, by ``knots``, in which ``at`` lies."""
        index = (at.detach()[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)
        left = [each.gather(-1, index).squeeze(-1) for each in (self.x, self.y, self.slopes)]
        right = [each.gather(-1, index + 1).squeeze(-1) for each in (self.x, self.y, self.slopes)]
        return left[0], left[1], right[0] - left[0], right[1] - left[1], left[2], right[2]

    @staticmethod
    def _rise(share: Tensor, height: Tensor, secant: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        both = share * (1 - share)
        return height * (secant * share**2 + d0 * both) / (secant + (d0 + d1 - 2 * secant) * both)

    @staticmethod
    def _log_slope(share: Tensor, secant: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
        both = share * (1 - share)
        top = d1 * share**2 + 2 * secant * both + d0 * (1 - share) ** 2
        return 2 * secant.log() + top.log() - 2 * (secant + (d0 + d1 - 2 * secant) * both).log()


def _knots(raw: Tensor, bound: float) -> Tensor:
    """K + 1 increasing places from -bound to bound."""
    bins = raw.shape[-1]
    shares = SMALLEST + (1 - SMALLEST * bins) * softmax(raw, -1)
    inner = bound * (2 * shares[..., :-1].cumsum(-1) - 1)
    return pad(pad(inner, (1, 0), value=-bound), (0, 1), value=bound)
