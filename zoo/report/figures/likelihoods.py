"""The ranking by likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter

from zoo.report import text
from zoo.report.figures.svg import (
    LETTER,
    Rows,
    Scale,
    axis_below,
    clip,
    colour,
    drawing,
    label,
    line,
    mark,
    of_family,
    padded,
    tag,
)
from zoo.report.tables import Member
from zoo.report.verdicts import Pooled, pool


def floors(lines: Sequence[Member]) -> dict[str, float]:
    """The negative log-likelihoods in nats per datum that any family should beat, lowest first: name -> value."""
    rows = [row for line in lines for row in line.rows]
    metrics = dict.fromkeys(row["metric"] for row in rows if row["metric"].startswith("floor_"))
    found = {metric.removeprefix("floor_"): pool(rows, "likelihood", metric).value for metric in metrics}
    return dict(sorted(((name, value) for name, value in found.items() if value is not None), key=itemgetter(1)))


def ranking(lines: Sequence[Member], width: float) -> str:
    """Dot plot of the test negative log-likelihoods with their standard errors; the floors are lines."""
    scored = [(line, line.pool("likelihood", "nats")) for line in lines if line.group != "floor"]
    placed = sorted(((line, score) for line, score in scored if score.state == "ok"), key=lambda item: item[1].number)
    rest = [(line, score) for line, score in scored if score.state != "ok"]
    below = floors(lines)
    rows = Rows([member.label for member, _ in placed], width, 44.0)
    right, bottom = width - 84, rows.bottom
    parts: list[str] = []
    if placed:
        x = Scale(*_nats_range([score.number for _, score in placed], list(below.values())), rows.left, right)
        parts.append(axis_below(x, bottom, width))
        for rank, (name, value) in enumerate(below.items()):
            at = right + 6 if value > x.high else x(value)
            parts.append(_floor(at, bottom, f"{name} {text.number(value)}", right + 84, above=rank > 0))
        if any(value > x.high for value in below.values()):
            parts.append(tag("path", d=f"M{right - 3:g},{bottom + 5:g}l4,-10m2,10l4,-10", class_="ink"))
        for row, (member, score) in enumerate(placed):
            parts.append(of_family(member.label, rows.name(row), *_dot(member, score, x, rows.y(row), width)))
    for row, (member, score) in enumerate(rest):
        y = bottom + (52 if placed else 20) + 22 * row
        why = {"skipped": "no likelihood", "failed": "failed"}.get(score.state, "not measured")
        name = label(0, y, clip(member.label, right), "ink")
        parts.append(of_family(member.label, name, label(width, y, why, "quiet", "end")))
    height = bottom + (40 if placed else 8) + 22 * len(rest)
    description = "; ".join(f"{member.label} {text.plus_minus(score.number, score.stderr)}" for member, score in placed)
    return drawing(width, height, "Test negative log-likelihood, nats per datum; lower is better", description, *parts)


def _dot(member: Member, score: Pooled, x: Scale, y: float, width: float) -> list[str]:
    value, error, own = score.number, score.stderr or 0.0, colour(member.group)
    seeds = [row["value"] for row in member.rows if row["metric"] == "nats" and row["status"] == "ok"]
    parts = [line(x.start, y, x.end, y, "grid")]
    parts += [line(x(s), y - 6, x(s), y + 6, f"{own} seed") for s in seeds if s and x.low <= s <= x.high]
    if value > x.high:
        parts.append(label(x.end, y + 4, "→", "ink", "end"))
    else:
        low, at, high = (x(min(max(each, x.low), x.high)) for each in (value - error, value, value + error))
        parts += [line(low, y, high, y, f"{own} error"), mark(score.kind, at, y, own)]
    return [*parts, label(width, y + 4, text.plus_minus(value, score.stderr), "ink number", "end")]


def _floor(at: float, bottom: float, words: str, right: float, above: bool) -> str:
    """A floor's line with its name, centred above it, or below and to its left for the lowest floor."""
    if above:
        middle = min(at, right - len(words) * LETTER / 2)
        return line(at, 17, at, bottom, "floor") + label(middle, 12, words, "quiet", "middle")
    end = max(at + 4, len(words) * LETTER)
    return line(at, 32, at, bottom, "floor") + label(end, 27, words, "quiet", "end")


def _nats_range(values: Sequence[float], below: Sequence[float]) -> tuple[float, float]:
    """A range with all families and the lowest floor; families above the highest floor are left out.

    A highest floor that is far above the others is left to a break of the axis.
    """
    cap = math.inf
    if below:
        cap = below[-1] if len(below) > 1 else 3 * below[0] - 2 * min(values)
    shown = [value for value in values if value <= cap] or [min(values)]
    low, high = padded(min(shown), max([*shown, *below[:1]]), 0.06)
    far = cap - low > 1.6 * (high - low)
    return low, high if far or math.isinf(cap) else max(high, 1.02 * cap - 0.02 * low)
