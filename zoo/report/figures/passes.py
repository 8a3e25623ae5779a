"""Quality of samples by the number of passes that they take."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.report import text
from zoo.report.figures.svg import (
    LETTER,
    Scale,
    colour,
    drawing,
    end_labels,
    fitting,
    grid,
    label,
    mark,
    of_family,
    padded,
    polyline,
    room_for_ticks,
)
from zoo.report.tables import Member

METRIC = "mmd2@"
"""What the scores drawn begin with; the sampler and its passes follow, as in ``mmd2@ddim:20``."""

Curve = list[tuple[float, float]]


def passes_and_quality(lines: Sequence[Member], width: float) -> str:
    """MMD² against passes (logarithmic) of every sampler whose passes may be chosen; empty if there is none."""
    curves = [(member, sampler, points) for member in lines for sampler, points in _curves(member).items()]
    if not curves:
        return ""
    alone = len({member.label for member, *_ in curves}) == 1
    names = [sampler if alone else f"{member.label}, {sampler}" for member, sampler, _ in curves]
    height, top, bottom = 300.0, 26.0, 252.0
    right = width - min(max(map(len, names)) * LETTER + 18, 0.45 * width)
    counts, values = zip(*[point for *_, points in curves for point in points], strict=True)
    y = Scale(*padded(min(values), max(values), 0.06), bottom, top)
    x = Scale(0.9 * min(counts), 1.1 * max(counts), max(46.0, room_for_ticks(y)), right, log=True)
    ticks = [count for count in sorted(set(counts)) if str(count)[0] == "1"] or sorted(set(counts))
    parts = [grid(x, y, text.count, ticks), label(0, 12, "MMD², 0 is best", "quiet")]
    axis = fitting("passes for one sample", " (better to the left and below)", right)
    parts.append(label(right, height - 8, axis, "quiet", "end"))
    for member, _, points in curves:
        dots = [mark("", x(count), y(value), colour(member.group)) for count, value in points]
        parts.append(of_family(member.label, polyline(points, x, y, f"{colour(member.group)} curve"), *dots))
    ends = [(name, "ink", points[-1]) for name, (*_, points) in zip(names, curves, strict=True)]
    parts += end_labels(ends, x, y, width)
    description = "; ".join(
        f"{name}: {', '.join(f'{count:g} passes {value:.2g}' for count, value in points)}"
        for name, (*_, points) in zip(names, curves, strict=True)
    )
    return drawing(width, height, "Passes against sample quality", description, *parts)


def _curves(member: Member) -> dict[str, Curve]:
    """The points (passes, mean MMD² over seeds) of each sampler, by passes."""
    found = dict[str, Curve]()
    for metric in dict.fromkeys(row["metric"] for row in member.rows if row["metric"].startswith(METRIC)):
        sampler, _, passes = metric.removeprefix(METRIC).rpartition(":")
        value = member.pool("samplers", metric).value
        if value is not None:
            found.setdefault(sampler, []).append((float(passes), value))
    return {sampler: sorted(points) for sampler, points in found.items()}
