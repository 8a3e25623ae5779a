"""Rate against distortion: points, and how far two curves of them lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from zoo.event import Event

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """What a lossy code comes to at one setting: ``bytes`` for all data, and the error of each datum.

    ``errors`` is the mean squared error of each datum, shape ``(n,)``, in the data's units squared; ``peak`` the width
    of the data's range in those units.
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
    def stderr(self) -> float | None:
        """Standard error of `psnr` over data, in dB."""
        if self.mse == 0 or len(self.errors) < 2:
            return None
        return 10 / math.log(10) * float(self.errors.std(ddof=1)) / math.sqrt(len(self.errors)) / self.mse


def measured(event: Event, setting: float, size: int, x: NDArray[Any], back: NDArray[Any]) -> Point:
    """The point of a code of ``size`` bytes that gives ``back`` for ``x``; both ``(n, *event.shape)``."""
    peak = event.levels - 1.0 if event.levels else float(np.ptp(x))
    return Point(setting, size, ((back - x.astype(np.float64)) ** 2).reshape(len(x), -1).mean(1), peak)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no cheaper one equals, by rate; lossless ones, whose PSNR is infinite, left out."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.psnr)):
        if point.psnr < math.inf and (not best or (point.psnr > best[-1].psnr and point.bytes > best[-1].bytes)):
            best.append(point)
    return best


def bd_rate(points: Sequence[Point], reference: Sequence[Point]) -> float | None:
    """How many more bytes than ``reference`` at equal PSNR, as a share: -0.5 is half of them, the lower the better.

    exp of the area between the two curves of log-bytes over PSNR, divided by the width of the range of PSNR that both
    reach, less one (Bjøntegaard 2001, ITU-T VCEG-M33; curves by monotone cubics through the points instead of one
    polynomial). ``None`` if they share no range.
    """
    low, high = _common(frontier(points), frontier(reference), "psnr")
    if low >= high:
        return None
    areas = [_curve(each, "psnr", "log_bytes").integrate(low, high) for each in (points, reference)]
    return math.expm1((areas[0] - areas[1]) / (high - low))


def least_gain(points: Sequence[Point], reference: Sequence[Point]) -> float | None:
    """The least gain of PSNR over ``reference`` at equal bytes, in dB, over all bytes for which both curves exist.

    ``None`` if they share no range.
    """
    low, high = _common(frontier(points), frontier(reference), "log_bytes")
    if low >= high:
        return None
    at = np.linspace(low, high, 500)
    ours, theirs = (_curve(each, "log_bytes", "psnr")(at) for each in (points, reference))
    return float((ours - theirs).min())


def _common(ours: Sequence[Point], theirs: Sequence[Point], over: str) -> tuple[float, float]:
    if len(ours) < 2 or len(theirs) < 2:
        return 0.0, 0.0
    ends = [(_read(each[0], over), _read(each[-1], over)) for each in (ours, theirs)]
    return max(low for low, _ in ends), min(high for _, high in ends)


def _curve(points: Sequence[Point], over: str, of: str) -> PchipInterpolator:
    best = frontier(points)
    return PchipInterpolator([_read(point, over) for point in best], [_read(point, of) for point in best])


def _read(point: Point, what: str) -> float:
    return point.psnr if what == "psnr" else math.log(point.bytes)
