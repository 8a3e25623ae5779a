"""Learning curves of active learning: accuracy by number of labels, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zoo.report.figures.svg import (
    Scale,
    clip,
    colour,
    drawing,
    grid,
    label,
    line,
    padded,
    polyline,
    tag,
    tick,
    window,
)

COLOURS = ("autoregressive", "implicit", "flow", "prescribed", "energy", "diffusion", "unsorted")
"""Groups whose colours the curves take, one after the other; the one that others are compared with is dashed."""


WIDTH = 744.0
"""In px."""


@dataclass(frozen=True)
class Curve:
    """A way of asking: its accuracy at each number of labels, and its difference as (mean, low, high), if any.

    Attributes:
        name: at the end of the curve.
        accuracy: means over seeds, as shares.
        gaps: of the same numbers of labels; the ends of an interval are NaN with one seed.
    """

    name: str
    accuracy: Sequence[float]
    gaps: Sequence[tuple[float, float, float]] = ()


def learning_curves(labels: Sequence[int], curves: Sequence[Curve], against: str, style: str = "") -> str:
    """A figure of accuracies, the best first in the legend, and below them differences with intervals.

    Args:
        labels: how many labels are known after each round.
        curves: one for each way of asking.
        against: the name of the curve that the others are compared with; without it there is one panel.
        style: the style sheet that the classes are of, for a figure that stands alone.
    """
    right = 610.0
    others = [name for name in (curve.name for curve in curves) if name != against]
    classes = {name: colour(COLOURS[place % len(COLOURS)]) for place, name in enumerate(others)}
    x = Scale(*padded(labels[0], labels[-1], 0.06), 46.0, right)
    parts, bottom = _accuracies(labels, curves, against, classes, x), 300.0
    if against and others:
        shown = [curve for curve in curves if curve.name != against]
        parts += _differences(labels, shown, against, classes, x, bottom + 56)
        bottom += 266
    parts.append(label(right, bottom + 36, "labels", "quiet", "end"))
    height = bottom + 44
    described = "; ".join(f"{curve.name} {100 * curve.accuracy[-1]:.2f} %" for curve in curves)
    alone = [tag("style", style), tag("rect", width=WIDTH, height=height, style="fill: var(--paper)")]
    first = alone if style else []
    return drawing(WIDTH, height, f"Test accuracy at {labels[-1]:,} labels", described, *first, *parts) + "\n"


def _accuracies(
    labels: Sequence[int], curves: Sequence[Curve], against: str, classes: dict[str, str], x: Scale
) -> list[str]:
    every = [100 * value for curve in curves for value in curve.accuracy]
    y = Scale(*padded(min(every), max(every), 0.05), 300.0, 26.0)
    points = {curve.name: [(n, 100 * a) for n, a in zip(labels, curve.accuracy, strict=True)] for curve in curves}
    inner = [
        polyline(points[curve.name], x, y, "reference" if curve.name == against else f"{classes[curve.name]} curve")
        for curve in curves
    ]
    parts = [label(0, 12, "test accuracy, %: mean over seeds", "quiet"), grid(x, y, tick, labels)]
    parts.append(window(inner, x.start, 20.0, x.end, 300.0))
    best_first = sorted(curves, key=lambda curve: -curve.accuracy[-1])
    for place, curve in enumerate(best_first):
        at, left = 44.0 + 18 * place, x.end + 8
        own = "reference" if curve.name == against else f"{classes[curve.name]} curve"
        parts += [
            line(left, at, left + 16, at, own),
            label(left + 22, at + 4, clip(curve.name, WIDTH - left - 22), "ink"),
        ]
    return parts


def _differences(
    labels: Sequence[int], curves: Sequence[Curve], against: str, classes: dict[str, str], x: Scale, top: float
) -> list[str]:
    """Each difference as a point with its interval, the ways next to each other at each number of labels."""
    ends = [100 * each for curve in curves for gap in curve.gaps[1:] for each in gap if math.isfinite(each)]
    y = Scale(*padded(min(0.0, *ends), max(0.0, *ends), 0.05), top + 210, top)
    parts = [label(0, top - 16, f"less {against}, percentage points: mean and 95 % interval", "quiet")]
    parts += [grid(x, y, tick, labels[1:]), line(x.start, y(0.0), x.end, y(0.0), "floor")]
    room = 0.7 * (x(labels[-1]) - x(labels[0])) / max(1, len(labels) - 1)
    for place, curve in enumerate(curves):
        aside = room * ((place + 0.5) / len(curves) - 0.5)
        for n, (mean, low, high) in zip(labels[1:], curve.gaps[1:], strict=True):
            at, class_ = x(n) + aside, classes[curve.name]
            if math.isfinite(low):
                parts.append(line(at, y(100 * low), at, y(100 * high), f"{class_} error"))
            parts.append(tag("circle", cx=at, cy=y(100 * mean), r=3.0, class_=f"{class_} full"))
    return parts
