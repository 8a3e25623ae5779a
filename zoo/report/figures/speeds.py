"""Speed against quality."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zoo.report import text
from zoo.report.figures.svg import (
    LETTER,
    Scale,
    clip,
    colour,
    drawing,
    fitting,
    grid,
    label,
    line,
    mark,
    of_family,
    padded,
    room_for_ticks,
)
from zoo.report.tables import Member

CROWD = 10
"""More points than this, and long names, are numbered, the best 1, and named below."""


def speed_and_likelihood(lines: Sequence[Member], width: float) -> str:
    return speed(lines, "likelihood", "nats", "nats per datum", "Speed against likelihood", width)


def speed_and_quality(lines: Sequence[Member], width: float) -> str:
    quality = "accuracy of a classifier, 0.5 is best"
    return speed(lines, "sampling", "c2st", quality, "Speed against sample quality", width)


def speed(lines: Sequence[Member], evaluation: str, metric: str, y_label: str, title: str, width: float = 440.0) -> str:
    """Seconds for 100 samples (logarithmic) against a metric where less is better."""
    points = []
    for member in lines:
        time, score = member.pool("sampling", "seconds_100").value, member.pool(evaluation, metric)
        if time is not None and time > 0 and score.value is not None and member.group != "floor":
            points.append((member, time, score, score.value))
    if not points:
        return ""
    points.sort(key=lambda point: point[3], reverse=True)
    long = max(len(member.label) for member, *_ in points) * LETTER > 0.4 * width
    crowd = long or len(points) > CROWD
    height, bottom, top, right = 300.0, 252.0, 26.0, width - 26
    times, values = [time for _, time, _, _ in points], [value for *_, value in points]
    below, above = padded(min(values), max(values), 0.14)
    y = Scale(below - 0.16 * (above - below), above, bottom, top)  # room for the names of the best, which crowd
    left = max(46.0, room_for_ticks(y))
    x = Scale(
        10 ** math.floor(math.log10(min(times) * 0.999)),
        10 ** math.ceil(math.log10(max(times) * 1.001)),
        left,
        right,
        log=True,
    )
    parts = [grid(x, y, text.duration), label(left, 12, y_label, "quiet")]
    axis = fitting("time for 100 samples", " (better to the left and below)", right)
    parts.append(label(right, height - 8, axis, "quiet", "end"))
    taken = [(x(time) - 6, x(time) + 6, y(value)) for _, time, _, value in points]
    for number, (member, time, score, value) in zip(range(len(points), 0, -1), points, strict=True):
        kind, name = score.kind if metric == "nats" else "", str(number) if crowd else member.label
        point = _named_point(name, colour(member.group), kind, x(time), y(value), right, taken)
        parts.append(of_family(member.label, *point))
    if crowd:
        for number, (member, *_) in enumerate(reversed(points), 1):
            words = label(left, height + 15 * number - 1, clip(f"{number}  {member.label}", width - left), "ink")
            parts.append(of_family(member.label, words))
        height += 14 + 15 * len(points)
    description = "; ".join(f"{m.label}: {text.duration(t)}, {text.number(v)}" for m, t, _, v in points)
    return drawing(width, height, title, description, *parts)


def _named_point(
    name: str, class_: str, kind: str, x: float, y: float, right: float, taken: list[tuple[float, float, float]]
) -> list[str]:
    """A marker and its name, moved down until it overlaps no other name or marker, then joined by a thin line."""
    long = len(name) * LETTER
    start = x + 10 if x + 10 + long <= right else x - 10 - long
    at = y
    while any(abs(at - height) < 13 and start < end and begin < start + long for begin, end, height in taken):
        at += 2
    taken.append((start, start + long, at))
    hair = [line(x, y, start - 2 if start > x else start + long + 2, at, "axis")] if at - y > 6 else []
    return [*hair, mark(kind, x, y, class_), label(start, at + 4, name, "ink")]
