"""The ranking by likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zoo.report import text
from zoo.report import verdicts as rules
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
    padded,
    tag,
)
from zoo.report.tables import Member
from zoo.report.verdicts import Pooled


def floors(lines: Sequence[Member]) -> dict[str, float]:
    """The negative log-likelihoods, in nats per datum, that any family should beat: name -> value."""
    rows = [row for line in lines for row in line.rows]
    found = {name: rules.pool(rows, "likelihood", f"floor_{name}").value for name in ("independent", "uniform")}
    return {name: value for name, value in found.items() if value is not None}


def ranking(lines: Sequence[Member], width: float) -> str:
    """Dot plot of the test negative log-likelihoods with their standard errors, both floors as lines."""
    scored = [(line, line.pool("likelihood", "nats")) for line in lines if line.group != "floor"]
    placed = sorted(
        ((line, score, score.value) for line, score in scored if score.value is not None), key=lambda item: item[2]
    )
    rest = [(line, score) for line, score in scored if score.value is None]
    below = floors(lines)
    rows = Rows([member.label for member, *_ in placed], width, 44.0)
    left, right, bottom = rows.left, width - 84, rows.bottom
    parts: list[str] = []
    if placed:
        low, high = _nats_range([value for *_, value in placed], below)
        x = Scale(low, high, left, right)
        broken = {name: value for name, value in below.items() if value > high}
        parts += [axis_below(x, bottom, width)]
        for name, value in below.items():
            parts.append(_floor(right + 6 if name in broken else x(value), bottom, name, value, right + 84))
        if broken:
            parts.append(tag("path", d=f"M{right - 3:g},{bottom + 5:g}l4,-10m2,10l4,-10", class_="ink"))
        for row, (member, score, value) in enumerate(placed):
            parts += [rows.name(row), _dot(member, score, value, x, rows.y(row), width)]
    for row, (member, score) in enumerate(rest):
        y = bottom + (52 if placed else 20) + 22 * row
        why = "no likelihood" if score.state == "skipped" else "failed" if score.state == "failed" else "not measured"
        parts += [label(0, y, clip(member.label, right), "ink"), label(width, y, why, "quiet", "end")]
    height = bottom + (40 if placed else 8) + 22 * len(rest)
    description = "; ".join(f"{member.label} {text.plus_minus(value, score.stderr)}" for member, score, value in placed)
    return drawing(width, height, "Test negative log-likelihood, nats per datum; lower is better", description, *parts)


def _dot(member: Member, score: Pooled, value: float, x: Scale, y: float, width: float) -> str:
    shown = min(max(value, x.low), x.high)
    error = score.stderr or 0.0
    parts = [line(x.start, y, x.end, y, "grid")]
    seeds = [row["value"] for row in member.rows if row["metric"] == "nats" and row["status"] == "ok"]
    parts += [
        line(x(s), y - 6, x(s), y + 6, f"{colour(member.group)} seed") for s in seeds if s and x.low <= s <= x.high
    ]
    if value > x.high:
        parts.append(label(x.end, y + 4, "→", "ink", "end"))
    else:
        reach = [min(max(value + sign * error, x.low), x.high) for sign in (-1, 1)]
        parts.append(line(x(reach[0]), y, x(reach[1]), y, f"{colour(member.group)} error"))
        parts.append(mark(score.kind, x(shown), y, colour(member.group)))
    parts.append(label(width, y + 4, text.plus_minus(value, score.stderr), "ink number", "end"))
    return tag("g", *parts)


def _floor(at: float, bottom: float, name: str, value: float, right: float) -> str:
    """A floor's line with its name: the higher floor above and about the line, the lower below and left of it."""
    words = f"{name} {text.number(value)}"
    if name == "uniform":
        middle = min(at, right - len(words) * LETTER / 2)
        return line(at, 17, at, bottom, "floor") + label(middle, 12, words, "quiet", "middle")
    end = max(at + 4, len(words) * LETTER)
    return line(at, 32, at, bottom, "floor") + label(end, 27, words, "quiet", "end")


def _nats_range(values: Sequence[float], below: dict[str, float]) -> tuple[float, float]:
    """Shows all families and the floor of independent dimensions; a uniform floor far above is left to a break."""
    cap = below.get("uniform", math.inf)
    if math.isinf(cap):
        cap = 3 * below["independent"] - 2 * min(values) if "independent" in below else math.inf
    shown = [value for value in values if value <= cap] or [min(values)]
    low, high = padded(min(shown), max([*shown, below.get("independent", shown[0])]), 0.06)
    far = cap - low > 1.6 * (high - low)
    return low, high if far or math.isinf(cap) else max(high, 1.02 * cap - 0.02 * low)
