"""Rate against distortion: points of a curve, and comparisons of two curves.

PSNR is in dB, rates are in bytes for all data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from zoo.event import Event

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A lossy code at one setting: ``bytes`` for all data, and the error of each datum.

    ``errors`` is the mean squared error of each datum, shape ``(n,)``, in squared data units; ``peak`` is the width of
    the data's range in data units.
    """

    setting: float
    bytes: int
    errors: Floats
    peak: float

    @property
    def mse(self) -> float:
        """Mean squared error over all data."""
        return float(self.errors.mean())

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio 10 log10(peak² / mse), in dB."""
        return 10 * math.log10(self.peak**2 / self.mse) if self.mse > 0 else math.inf

    @property
    def log_bytes(self) -> float:
        """Natural logarithm of ``bytes``."""
        return math.log(self.bytes)

    @property
    def stderr(self) -> float | None:
        """Standard error of `psnr` over data, in dB."""
        if self.mse == 0 or len(self.errors) < 2:
            return None
        return 10 / math.log(10) * float(self.errors.std(ddof=1)) / math.sqrt(len(self.errors)) / self.mse


def measured(event: Event, setting: float, size: int, x: NDArray[Any], back: NDArray[Any]) -> Point:
    """The point of a code of ``size`` bytes that decodes ``x`` to ``back``, both of shape ``(n, *event.shape)``."""
    peak = event.levels - 1.0 if event.levels else float(np.ptp(x))
    return Point(setting, size, ((back - x.astype(np.float64)) ** 2).reshape(len(x), -1).mean(1), peak)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points better than all cheaper ones, by rate; without lossless ones, whose PSNR is infinite."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.psnr)):
        if point.psnr < math.inf and (not best or (point.psnr > best[-1].psnr and point.bytes > best[-1].bytes)):
            best.append(point)
    return best


def bd_rate(points: Sequence[Point], reference: Sequence[Point]) -> float | None:
    """The mean excess of bytes over ``reference`` at equal PSNR, as a share: -0.5 is half the bytes.

        exp(mean over the common range of PSNR of log bytes - log reference bytes) - 1

    Curves are monotone cubics through the points.

    Returns:
        The share, or ``None`` if the curves have no common range.

    Reference:
        Bjøntegaard 2001, ITU-T VCEG-M33, which fits one polynomial instead.
    """
    if (common := _compared(points, reference, "psnr", "log_bytes")) is None:
        return None
    low, high, ours, theirs = common
    return math.expm1((ours.integrate(low, high) - theirs.integrate(low, high)) / (high - low))


def least_gain(points: Sequence[Point], reference: Sequence[Point]) -> float | None:
    """The least gain of PSNR over ``reference`` at equal bytes, in dB, over the common range of bytes.

    ``None`` if the curves have no common range.
    """
    if (common := _compared(points, reference, "log_bytes", "psnr")) is None:
        return None
    low, high, ours, theirs = common
    at = np.linspace(low, high, 500)
    return float((ours(at) - theirs(at)).min())


def _compared(
    points: Sequence[Point], reference: Sequence[Point], over: str, of: str
) -> tuple[float, float, scipy.interpolate.PchipInterpolator, scipy.interpolate.PchipInterpolator] | None:
    """The range of ``over`` that both curves reach, and the curves of ``of`` over it."""
    curves = [frontier(points), frontier(reference)]
    if min(map(len, curves)) < 2:
        return None
    low = max(getattr(curve[0], over) for curve in curves)
    high = min(getattr(curve[-1], over) for curve in curves)
    ours, theirs = (
        scipy.interpolate.PchipInterpolator(
            [getattr(point, over) for point in curve], [getattr(point, of) for point in curve]
        )
        for curve in curves
    )
    return (low, high, ours, theirs) if low < high else None
