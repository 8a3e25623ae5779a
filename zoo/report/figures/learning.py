"""Learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.report.figures.likelihoods import floors
from zoo.report.figures.svg import Scale, colour, drawing, label, line, room_for_ticks, short, tag, tick, window
from zoo.report.tables import Member
from zoo.report.verdicts import Row


@dataclass(frozen=True)
class Panel:
    """What a panel of learning curves shows: the last of ``metrics`` bold; ``absent`` where there are none."""

    title: str
    metrics: tuple[str, ...]
    span: tuple[float, float]
    absent: str
    floor: float | None = None


def learning(rows: Sequence[Row], lines: Sequence[Member]) -> list[tuple[str, str, str]]:
    """Learning curves of a data set: (label, nats, discrepancy) of every member that has rows.

    All nats share their axis, but for a member that ends above it: its axis is shifted, with the same scale.
    """
    floor = min(floors(lines).values(), default=None)
    low, high = nats_span(rows, floor)
    distance = Panel("discrepancy", ("discrepancy",), discrepancy_span(rows), "not followed")
    found = []
    for member in lines:
        own = [row for row in rows if (row["family"], row["guide"] or "") == (member.family, member.guide)]
        if not own:
            continue
        scored = own if any(row["metric"] == "validation" and row["value"] is not None for row in own) else []
        least, width = nats_span(scored)[0], high - low
        span = (low, high) if least <= high else (least - width / 8, least + width * 7 / 8)
        nats = Panel("nats", ("train", "validation"), span, "no likelihood", floor)
        found.append((member.label, curves(scored, member, nats), curves(own, member, distance)))
    return found


def curves(rows: Sequence[Row], member: Member, panel: Panel) -> str:
    """Learning curves of one member: a line for each seed and metric; × where a seed diverged."""
    width, height, top, bottom = 216.0, 118.0, 20.0, 98.0
    y = Scale(*panel.span, bottom, top)
    left = max(40.0, room_for_ticks(y))
    shown = [row for row in rows if row["metric"] in panel.metrics]
    title, name = label(0, 11, panel.title, "quiet"), f"Learning curves of {member.label}: {panel.title}"
    if not shown:
        return drawing(width, height, name, panel.absent, title, label(left, 62, panel.absent, "quiet"))
    last = max(row["step"] for row in shown)
    x = Scale(0, last or 1, left, width - 6)
    scale = [line(left, bottom, width, bottom, "axis")]
    for value in y.ticks(5):
        height_there = y(value)
        scale += [line(left, height_there, width, height_there, "grid")]
        scale += [label(left - 5, height_there + 4, tick(value), "tick", "end")]
    scale += [label(left, height - 4, "0", "tick"), label(width, height - 4, f"{last:,} steps", "tick", "end")]
    inner = [] if panel.floor is None else [line(left, y(panel.floor), width, y(panel.floor), "floor")]
    broke: list[float] = []
    for metric in panel.metrics:
        style = f"{colour(member.group)} {'curve' if metric == panel.metrics[-1] else 'faint'}"
        of = [row for row in shown if row["metric"] == metric]
        for seed in dict.fromkeys(row["seed"] for row in of):
            points, end = _trace([row for row in of if row["seed"] == seed], x, y)
            inner.append(tag("polyline", points=points, class_=style))
            broke += [] if end is None else [x(end)]
    words = f"{len({row['seed'] for row in shown})} seeds, {last:,} steps" + (", diverged" if broke else "")
    return drawing(
        width, height, name, words, title, *scale, window(inner, left, top - 2, width, bottom), _cross(broke)
    )


def nats_span(rows: Sequence[Row], floor: float | None = None) -> tuple[float, float]:
    """The common range of the nats of learning curves: from the best value to a little above the worst ending.

    Endings above ``floor`` are left out, unless all are: they would flatten all others.
    """
    kept = [row for row in rows if row["metric"] == "validation" and row["value"] is not None]
    ends = _last(kept)
    if not ends:
        return 0.0, 1.0
    high = floor if floor is not None and min(ends) <= floor else max(ends)
    low = min(row["value"] for row in kept)
    return low - 0.06 * (high - low or 1), high + 0.35 * (high - low or 1)


def discrepancy_span(rows: Sequence[Row]) -> tuple[float, float]:
    """The common range of the discrepancies; outliers are cut off."""
    by_member: dict[tuple[str, str], float] = {}
    values = [row for row in rows if row["metric"] == "discrepancy" and row["value"] is not None]
    for row in values:
        key = (row["family"], row["guide"])
        by_member[key] = max(by_member.get(key, 0.0), row["value"])
    if not by_member:
        return 0.0, 1.0
    high = min(max(by_member.values()), 3 * float(np.median(list(by_member.values())))) or 1.0
    return min(0.0, *(row["value"] for row in values)) - 0.04 * high, 1.06 * high


def _trace(rows: Sequence[Row], x: Scale, y: Scale) -> tuple[str, float | None]:
    """The points of a curve and the step at which it stopped being finite."""
    ordered = sorted(rows, key=lambda row: row["step"])
    broke = next((row["step"] for row in ordered if row["value"] is None), None)
    finite = [row for row in ordered if row["value"] is not None]
    kept = finite[:: max(1, len(finite) // 150)] + finite[-1:]
    edge = (y.high - y.low) * 20
    inside = ((x(row["step"]), y(min(max(row["value"], y.low - edge), y.high + edge))) for row in kept)
    return " ".join(f"{short(a)},{short(b)}" for a, b in inside), broke


def _last(rows: Iterable[Row]) -> list[float]:
    ends: dict[tuple[str, str, int], tuple[int, float]] = {}
    for row in rows:
        key = (row["family"], row["guide"], row["seed"])
        ends[key] = max(ends.get(key, (-1, 0.0)), (row["step"], row["value"]))
    return [value for _, value in ends.values()]


def _cross(at: Sequence[float]) -> str:
    """× where seeds diverged, and the word."""
    if not at:
        return ""
    crosses = [tag("path", d=f"M{short(x - 4)},20l8,8m0,-8l-8,8", class_="diverged") for x in at]
    place, anchor = (min(at) - 8, "end") if min(at) > 110 else (max(at) + 8, "start")
    return "".join(crosses) + label(place, 28, "diverged", "diverged-word", anchor)
