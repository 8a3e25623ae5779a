"""How a bound rises with the number of particles, and how far that of each datum can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.metrics.bounds import LARGEST_KHAT
from zoo.report import text
from zoo.report.figures.svg import (
    Scale,
    drawing,
    grid,
    label,
    line,
    mark,
    padded,
    polyline,
    room_for_ticks,
    tag,
    tick,
    window,
)

WIDTH = 640.0
MOST_DATA = 2000
"""Data that are drawn as points."""


@dataclass(frozen=True)
class ParticleBound:
    """The bound of a number of particles, as a negative log-likelihood, and what it is above that of the most.

    ``stderr`` is over data, and so much the same for all points. ``excess_stderr`` is of the paired differences.
    """

    particles: int
    nats: float
    stderr: float | None
    excess: float
    excess_stderr: float | None
    n: int


@dataclass(frozen=True)
class Level:
    """A value that a curve is compared with."""

    name: str
    nats: float
    stderr: float | None


def convergence(points: Sequence[ParticleBound], particles: int, levels: Sequence[Level], width: float = WIDTH) -> str:
    """Nats against particles (logarithmic) with errors over data; the bound of the scores, and levels, are named."""
    height, top, bottom = 340.0, 28.0, 290.0
    spans = [*map(_span, points), *map(_span, levels)]
    ends = [end for span in spans for end in span]
    y = Scale(*padded(min(ends), max(ends), 0.06), bottom, top)
    x = Scale(0.8, 1.25 * points[-1].particles, max(46.0, room_for_ticks(y)), width - 12, log=True)
    parts = [label(0, 12, "nats per datum; lower is better", "quiet"), grid(x, y, tick, _ticks(points))]
    parts.append(label(width - 12, height - 12, "particles (1: the ELBO)", "quiet", "end"))
    for level in levels:
        error = level.stderr or 0.0
        band = abs(y(level.nats - error) - y(level.nats + error))
        box = {"x": x.start, "y": y(level.nats + error), "width": x.end - x.start, "height": band}
        parts.append(tag("rect", **box, class_="g-implicit bar pale"))
        parts.append(line(x.start, y(level.nats), x.end, y(level.nats), "floor"))
        words = f"{level.name}: {text.plus_minus(level.nats, level.stderr)}"
        parts.append(label(x.start + 6, y(level.nats) - 6, words, "ink"))
    parts.append(polyline([(point.particles, point.nats) for point in points], x, y, "g-prescribed curve"))
    for point in points:
        at, (low, high) = x(point.particles), _span(point)
        parts.append(line(at, y(low), at, y(high), "g-prescribed seed"))
        kind = "estimate" if point.particles == particles else ""
        parts.append(mark(kind, at, y(point.nats), "g-prescribed"))
        if point.particles == particles:
            words = f"the scores': {text.plus_minus(point.nats, point.stderr)}"
            parts.append(label(at, y(high) - 8, words, "ink", "middle"))
    described = "; ".join(
        f"{point.particles} particles {text.plus_minus(point.nats, point.stderr)}" for point in points
    )
    described += "".join(f"; {level.name} {text.plus_minus(level.nats, level.stderr)}" for level in levels)
    return drawing(width, height, "The bound by number of particles", described, *parts)


def reliability(ess: Sequence[float], khat: Sequence[float], particles: int, width: float = WIDTH) -> str:
    """k-hat of each datum against its effective sample size (logarithmic)."""
    height, top, bottom = 340.0, 28.0, 290.0
    finite = [(a, b) for a, b in zip(ess, khat, strict=True) if math.isfinite(a) and math.isfinite(b)]
    y = Scale(*padded(min([0.0, *(b for _, b in finite)]), max([1.0, *(b for _, b in finite)]), 0.04), bottom, top)
    x = Scale(0.8, 1.25 * particles, max(46.0, room_for_ticks(y)), width - 12, log=True)
    ticks = [2.0**power for power in range(0, int(math.log2(particles)) + 1, 3)]
    above = sum(b > LARGEST_KHAT for b in khat)
    words = f"{above} of {len(khat)} test data above {LARGEST_KHAT:g}"
    shown = [tag("circle", cx=x(a), cy=y(b), r=2.2) for a, b in finite[:MOST_DATA]]
    parts = [label(0, 12, f"k-hat of the weights: {words}", "quiet"), grid(x, y, tick, ticks)]
    parts.append(label(width - 12, height - 12, f"effective particles, of {particles}", "quiet", "end"))
    inner = [line(x.start, y(LARGEST_KHAT), x.end, y(LARGEST_KHAT), "floor")]
    inner.append(tag("g", *shown, class_="g-prescribed dots"))
    parts.append(window(inner, x.start, top - 8, x.end, bottom))
    if len(finite) < len(khat):
        parts.append(label(x.start, height - 12, f"{len(khat) - len(finite)} without a tail are not drawn", "quiet"))
    return drawing(width, height, "k-hat and effective sample size of each test datum", words, *parts)


def _span(value: ParticleBound | Level) -> tuple[float, float]:
    error = value.stderr or 0.0
    return value.nats - error, value.nats + error


def _ticks(points: Sequence[ParticleBound]) -> list[float]:
    most = points[-1].particles
    return [2.0**power for power in range(0, int(math.log2(most)) + 1, 3)]
