"""Rate and distortion of lossy codes."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.report.figures.svg import (
    LETTER,
    Scale,
    colour,
    drawing,
    end_labels,
    fitting,
    grid,
    label,
    of_family,
    padded,
    polyline,
    room_for_ticks,
    tick,
    window,
)
from zoo.report.tables import Member

REFERENCES = {"jpeg_": "JPEG", "webp_": "WebP", "pca_": "PCA"}
"""Prefix of the scores of a standard lossy code -> its name."""

Curve = list[tuple[float, float]]


def rate_distortion(lines: Sequence[Member], width: float) -> str:
    """PSNR over rate of every lossy codec, and dashed that of the standard codes; empty without a codec."""
    own = [(member, points) for member in lines if len(points := _rates(member, "")) > 1]
    if not own:
        return ""
    standard = [(name, points) for prefix, name in REFERENCES.items() if (points := _rates(own[0][0], prefix))]
    longest = max(len(name) for name in [*REFERENCES.values(), *(member.label for member, _ in own)])
    names = min(longest * LETTER + 18, 0.45 * width)
    height, right, top, bottom = 340.0, width - names, 26.0, 296.0
    rates, levels = zip(*[point for _, points in own for point in points], strict=True)
    furthest = 1.02 * max(rates)
    seen = [level for _, points in standard for rate, level in points if rate <= furthest]
    y = Scale(*padded(min(levels), max([*levels, *seen]), 0.06), bottom, top)
    left = max(34.0, room_for_ticks(y))
    x = Scale(0.0, furthest, left, right)
    parts = [grid(x, y, tick), label(0, 12, "PSNR, dB", "quiet")]
    axis = fitting("bits per dimension", " (better to the left and above)", right)
    parts.append(label(right, height - 8, axis, "quiet", "end"))
    inner = [of_family(name, polyline(points, x, y, "reference")) for name, points in standard]
    inner += [
        of_family(member.label, polyline(points, x, y, f"{colour(member.group)} curve")) for member, points in own
    ]
    parts.append(window(inner, left, top - 4, right, bottom))
    standard = [(name, points) for name, points in standard if points[0][0] < x.high and points[0][1] < y.high]
    ends = [(member.label, "ink", points[-1]) for member, points in own]
    ends += [(name, "quiet", cut(points, x.high, y.high)) for name, points in standard]
    parts += end_labels(ends, x, y, width)
    description = "; ".join(
        f"{name}: {', '.join(f'{rate:.2f} bits {level:.1f} dB' for rate, level in points)}"
        for name, points in [*((member.label, points) for member, points in own), *standard]
    )
    return drawing(width, height, "Rate and distortion on the test data", description, *parts)


def _rates(member: Member, prefix: str) -> Curve:
    """The points (bits per dimension, dB) of a curve, by rate: the means over seeds at each setting."""
    start = f"{prefix}rate@"
    settings = dict.fromkeys(
        row["metric"].removeprefix(start) for row in member.rows if row["metric"].startswith(start)
    )
    pooled = [[member.pool("lossy", f"{prefix}{what}@{each}").value for what in ("rate", "psnr")] for each in settings]
    return sorted((rate, level) for rate, level in pooled if rate is not None and level is not None)


def cut(points: Curve, right: float, top: float) -> tuple[float, float]:
    """Where a curve leaves the frame, or ends in it."""
    before = points[0]
    for after in points:
        if after[0] > right or after[1] > top:
            shares = [
                (high - low) / (end - low)
                for low, high, end in zip(before, (right, top), after, strict=True)
                if end > low
            ]
            share = max(0.0, min([*shares, 1.0]))
            return before[0] + share * (after[0] - before[0]), before[1] + share * (after[1] - before[1])
        before = after
    return before
