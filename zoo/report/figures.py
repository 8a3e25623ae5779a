"""The figures of the page: small SVG drawings that take their colours from the page, light or dark.

Colours are CSS classes (``ink``, ``quiet``, ``line``, ``g-flow`` ...), so that one drawing serves both modes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from zoo import rules
from zoo.report import text
from zoo.report.tables import Member
from zoo.rules import Pooled, Row

LETTER = 6.6
"""About the width of a letter of 12 px, in px."""

MARKS: dict[str, tuple[tuple[float, float], ...]] = {
    "lower bound": ((-6, 0), (4, -5.5), (4, 5.5)),
    "estimate": ((-5.5, 0), (0, -5.5), (5.5, 0), (0, 5.5)),
}
"""Kind of likelihood -> corners of its marker, a disc if none; the triangle points to where the truth may lie."""


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map from [low, high] to [start, end] px."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """About ``count`` round values in the range."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers]
        rough = (self.high - self.low) / max(count, 1)
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def tag(name: str, *children: str, **attributes: object) -> str:
    """One SVG element; ``class_`` stands for ``class`` and ``text_anchor`` for ``text-anchor``."""
    written = (f" {key.rstrip('_').replace('_', '-')}={quoteattr(_short(value))}" for key, value in attributes.items())
    return f"<{name}{''.join(written)}>{''.join(children)}</{name}>"


def label(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> str:
    """A line of text."""
    return tag("text", escape(words), x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def drawing(width: float, height: float, title: str, description: str, *children: str) -> str:
    """A figure with a title and a description for those who do not see it."""
    return tag(
        "svg",
        tag("title", escape(title)),
        tag("desc", escape(description)),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        role="img",
        class_="figure",
        style=f"max-width:{_short(width)}px",
    )


def mark(kind: str, x: float, y: float, class_: str) -> str:
    """The marker of a likelihood of this kind."""
    if kind not in MARKS:
        return tag("circle", cx=x, cy=y, r=4.5, class_=f"{class_} full")
    points = " ".join(f"{_short(x + dx)},{_short(y + dy)}" for dx, dy in MARKS[kind])
    return tag("polygon", points=points, class_=f"{class_} hollow")


def colour(group: str) -> str:
    """The class that colours a group."""
    return f"g-{group or 'unsorted'}"


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
    left = min(max([len(line.label) for line in lines] + [8]) * LETTER + 14, 0.36 * width)
    right = width - 84
    top, step = 44, 27
    bottom = top + step * len(placed)
    parts: list[str] = []
    if placed:
        low, high = _nats_range([value for *_, value in placed], below)
        x = Scale(low, high, left, right)
        broken = {name: value for name, value in below.items() if value > high}
        parts += [_axis_below(x, bottom, "nats per datum", 4 if width < 500 else 7, top)]
        for name, value in below.items():
            parts.append(_floor(right + 6 if name in broken else x(value), bottom, name, value, right + 84))
        if broken:
            parts.append(tag("path", d=f"M{right - 3:g},{bottom + 5:g}l4,-10m2,10l4,-10", class_="ink"))
        for row, (member, score, value) in enumerate(placed):
            parts.append(_dot(member, score, value, x, top + step * (row + 0.5), width))
    for row, (member, score) in enumerate(rest):
        y = bottom + (52 if placed else 20) + 22 * row
        why = "no likelihood" if score.state == "skipped" else "failed" if score.state == "failed" else "not measured"
        parts += [label(0, y, _clip(member.label, left), "ink"), label(left, y, why, "quiet")]
    height = bottom + (40 if placed else 8) + 22 * len(rest)
    description = "; ".join(f"{member.label} {text.plus_minus(value, score.stderr)}" for member, score, value in placed)
    return drawing(width, height, "Test negative log-likelihood, nats per datum; lower is better", description, *parts)


def speed(lines: Sequence[Member], evaluation: str, metric: str, y_label: str, title: str) -> str:
    """Seconds for 100 samples (logarithmic) against a metric of which less is better."""
    points = []
    for member in lines:
        time, score = member.pool("sampling", "seconds_100").value, member.pool(evaluation, metric)
        if time is not None and time > 0 and score.value is not None and member.group != "floor":
            points.append((member, time, score, score.value))
    if not points:
        return ""
    width, height, left, bottom, top, right = 440.0, 300.0, 46.0, 252.0, 26.0, 414.0
    times, values = [time for _, time, _, _ in points], [value for *_, value in points]
    x = Scale(
        10 ** math.floor(math.log10(min(times) * 0.999)),
        10 ** math.ceil(math.log10(max(times) * 1.001)),
        left,
        right,
        log=True,
    )
    below, above = _padded(min(values), max(values), 0.14)
    y = Scale(below - 0.16 * (above - below), above, bottom, top)  # room for the names of the best, which crowd
    parts = [_grid(x, y, text.duration), label(left, 12, y_label, "quiet")]
    parts.append(label(right, height - 8, "time for 100 samples (better to the left and below)", "quiet", "end"))
    taken = [(x(time) - 6, x(time) + 6, y(value)) for _, time, _, value in points]
    for member, time, score, value in sorted(points, key=lambda point: y(point[3])):
        parts += _named_point(member, score.kind if metric == "nats" else "", x(time), y(value), right, taken)
    description = "; ".join(f"{m.label}: {text.duration(t)}, {text.number(v)}" for m, t, _, v in points)
    return drawing(width, height, title, description, *parts)


REFERENCES = {"jpeg_": "JPEG", "webp_": "WebP", "pca_": "PCA"}
"""Prefix of the scores of a standard lossy code -> its name."""
Ends = list[tuple[float, float]]


def rate_distortion(lines: Sequence[Member], width: float) -> str:
    """PSNR over rate of every lossy codec, and dashed those of the standard codes; empty where there is none."""
    own = [(member, points) for member in lines if len(points := _rates(member, "")) > 1]
    if not own:
        return ""
    beside = [(name, points) for prefix, name in REFERENCES.items() if (points := _rates(own[0][0], prefix))]
    height, left, right, top, bottom = 340.0, 34.0, width - 96, 26.0, 296.0
    rates, levels = zip(*[point for _, points in own for point in points], strict=True)
    x = Scale(0.0, 1.02 * max(rates), left, right)
    y = Scale(*_padded(min(levels), max([*levels, *_within(beside, x.high)]), 0.06), bottom, top)
    parts = [_grid(x, y, _tick), label(0, 12, "PSNR, dB", "quiet")]
    parts.append(label(right, height - 8, "bits per dimension (better to the left and above)", "quiet", "end"))
    inner = [_polyline(points, x, y, "reference") for _, points in beside]
    inner += [_polyline(points, x, y, f"{colour(member.group)} curve") for member, points in own]
    parts.append(_window(inner, left, top - 4, right, bottom))
    beside = [(name, points) for name, points in beside if points[0][0] < x.high and points[0][1] < y.high]
    ends = [(member.label, "ink", points[-1]) for member, points in own]
    ends += [(name, "quiet", _cut(points, x.high, y.high)) for name, points in beside]
    parts += _names(ends, x, y)
    description = "; ".join(
        f"{name}: {', '.join(f'{rate:.2f} bits {level:.1f} dB' for rate, level in points)}"
        for name, points in [*((member.label, points) for member, points in own), *beside]
    )
    return drawing(width, height, "Rate and distortion on the test data", description, *parts)


def _rates(member: Member, prefix: str) -> Ends:
    """The points (bits per dimension, dB) of a curve, by rate: the means over seeds at each setting."""
    start = f"{prefix}rate@"
    settings = dict.fromkeys(
        row["metric"].removeprefix(start) for row in member.rows if row["metric"].startswith(start)
    )
    pooled = [[member.pool("lossy", f"{prefix}{what}@{each}").value for what in ("rate", "psnr")] for each in settings]
    return sorted((rate, level) for rate, level in pooled if rate is not None and level is not None)


def _within(curves: Sequence[tuple[str, Ends]], limit: float) -> list[float]:
    return [level for _, points in curves for rate, level in points if rate <= limit]


def _cut(points: Ends, right: float, top: float) -> tuple[float, float]:
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


def _polyline(points: Ends, x: Scale, y: Scale, class_: str) -> str:
    return tag("polyline", points=" ".join(f"{_short(x(a))},{_short(y(b))}" for a, b in points), class_=class_)


def _names(ends: Sequence[tuple[str, str, tuple[float, float]]], x: Scale, y: Scale) -> list[str]:
    """The names of curves beside the frame, from the top down as they end, each below the one before it."""
    parts, last = [], 0.0
    for name, class_, (rate, level) in sorted(ends, key=lambda end: -end[2][1]):
        at = max(y(level) + 4, last + 14)
        parts += [line(x(rate) + 2, y(level), x.end + 6, at - 4, "grid"), label(x.end + 9, at, name, class_)]
        last = at
    return parts


@dataclass(frozen=True)
class Panel:
    """What a panel of learning curves shows, the last of ``metrics`` bold, and what it says where there is none."""

    title: str
    metrics: tuple[str, ...]
    span: tuple[float, float]
    absent: str
    floor: float | None = None


def curves(rows: Sequence[Row], group: str, panel: Panel) -> str:
    """Learning curves of one member: a line a seed for each metric; × where a seed diverged."""
    width, height, left, top, bottom = 216.0, 118.0, 34.0, 20.0, 98.0
    shown = [row for row in rows if row["metric"] in panel.metrics]
    title = label(0, 11, panel.title, "quiet")
    if not shown:
        return drawing(width, height, panel.title, panel.absent, title, label(left, 62, panel.absent, "quiet"))
    last = max(row["step"] for row in shown)
    x, y = Scale(0, last or 1, left, width - 6), Scale(*panel.span, bottom, top)
    scale = [line(left, bottom, width, bottom, "axis")]
    for value in y.ticks(5):
        height_there = y(value)
        scale += [line(left, height_there, width, height_there, "grid")]
        scale += [label(left - 5, height_there + 4, _tick(value), "tick", "end")]
    scale += [label(left, height - 4, "0", "tick"), label(width, height - 4, f"{last:,} steps", "tick", "end")]
    inner = [] if panel.floor is None else [line(left, y(panel.floor), width, y(panel.floor), "floor")]
    broke: list[float] = []
    for metric in panel.metrics:
        style = f"{colour(group)} {'curve' if metric == panel.metrics[-1] else 'faint'}"
        of = [row for row in shown if row["metric"] == metric]
        for seed in dict.fromkeys(row["seed"] for row in of):
            points, end = _trace([row for row in of if row["seed"] == seed], x, y)
            inner.append(tag("polyline", points=points, class_=style))
            broke += [] if end is None else [x(end)]
    words = f"{len({row['seed'] for row in shown})} seeds, {last:,} steps" + (", diverged" if broke else "")
    return drawing(
        width, height, panel.title, words, title, *scale, _window(inner, left, top - 2, width, bottom), _cross(broke)
    )


def nats_span(rows: Sequence[Row], below: dict[str, float]) -> tuple[float, float]:
    """The common range of the nats of learning curves: from the best value to a little above the worst ending.

    Endings above the floor of independent dimensions are left out, unless all are: they would flatten all others.
    """
    kept = [row for row in rows if row["metric"] == "validation" and row["value"] is not None]
    ends = _last(kept)
    if not ends:
        return 0.0, 1.0
    floor = below.get("independent", math.inf)
    within = [value for value in ends if value <= floor]
    high = max([*within, floor]) if within and math.isfinite(floor) else max(ends)
    low = min(row["value"] for row in kept)
    return low - 0.06 * (high - low or 1), high + 0.35 * (high - low or 1)


def discrepancy_span(rows: Sequence[Row]) -> tuple[float, float]:
    """The common range of the discrepancies, the largest of outliers cut off."""
    by_member: dict[tuple[str, str], float] = {}
    values = [row for row in rows if row["metric"] == "discrepancy" and row["value"] is not None]
    for row in values:
        key = (row["family"], row["guide"])
        by_member[key] = max(by_member.get(key, 0.0), row["value"])
    if not by_member:
        return 0.0, 1.0
    high = min(max(by_member.values()), 3 * float(np.median(list(by_member.values())))) or 1.0
    return min(0.0, *(row["value"] for row in values)) - 0.04 * high, 1.06 * high


def scatter(points: np.ndarray, frame: tuple[float, float, float, float], title: str, class_: str) -> str:
    """Two-dimensional points ``(m, 2)`` in the frame (left, right, bottom, top); says how many lie outside."""
    size = 216.0
    x, y = Scale(frame[0], frame[1], 0, size), Scale(frame[2], frame[3], size, 0)
    inside = [(a, b) for a, b in points.tolist() if frame[0] <= a <= frame[1] and frame[2] <= b <= frame[3]]
    dots = [tag("circle", cx=x(a), cy=y(b), r=1.7) for a, b in inside]
    out = len(points) - len(inside)
    note = label(size - 4, size - 6, f"{out} outside", "quiet", "end") if out else ""
    box = tag("rect", x=0.5, y=0.5, width=size - 1, height=size - 1, class_="frame")
    return drawing(size, size, title, f"{len(points)} points", box, tag("g", *dots, class_=f"{class_} dots"), note)


def _dot(member: Member, score: Pooled, value: float, x: Scale, y: float, width: float) -> str:
    shown = min(max(value, x.low), x.high)
    error = score.stderr or 0.0
    parts = [label(0, y + 4, _clip(member.label, x.start), "ink"), line(x.start, y, x.end, y, "grid")]
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
    low, high = _padded(min(shown), max([*shown, below.get("independent", shown[0])]), 0.06)
    far = cap - low > 1.6 * (high - low)
    return low, high if far or math.isinf(cap) else max(high, 1.02 * cap - 0.02 * low)


def _axis_below(x: Scale, y: float, words: str, count: int, top: float) -> str:
    parts = [line(x.start, y, x.end, y, "axis")]
    for value in x.ticks(count):
        parts += [line(x(value), y, x(value), y + 4, "axis"), label(x(value), y + 17, _tick(value), "tick", "middle")]
    return tag("g", *parts, label(x.end + 84, y + 17, words if x.end > 400 else "nats", "quiet", "end"))


def _grid(x: Scale, y: Scale, words: Callable[[float], str]) -> str:
    parts = [line(x.start, y.start, x.end, y.start, "axis")]
    for value in y.ticks(5):
        parts += [
            line(x.start, y(value), x.end, y(value), "grid"),
            label(x.start - 6, y(value) + 4, _tick(value), "tick", "end"),
        ]
    for value in x.ticks(5):
        parts += [
            line(x(value), y.start, x(value), y.start + 4, "axis"),
            label(x(value), y.start + 17, words(value), "tick", "middle"),
        ]
    return tag("g", *parts)


def _named_point(
    member: Member, kind: str, x: float, y: float, right: float, taken: list[tuple[float, float, float]]
) -> list[str]:
    """A marker and its name, pushed down until it lies on no other name or marker, then tied to it by a hair."""
    long = len(member.label) * LETTER
    start = x + 10 if x + 10 + long <= right else x - 10 - long
    at = y
    while any(abs(at - height) < 13 and start < end and begin < start + long for begin, end, height in taken):
        at += 2
    taken.append((start, start + long, at))
    hair = [line(x, y, start - 2 if start > x else start + long + 2, at, "axis")] if at - y > 6 else []
    return [*hair, mark(kind, x, y, colour(member.group)), label(start, at + 4, member.label, "ink")]


def _trace(rows: Sequence[Row], x: Scale, y: Scale) -> tuple[str, float | None]:
    """The points of a curve and the step at which it stopped being finite."""
    ordered = sorted(rows, key=lambda row: row["step"])
    broke = next((row["step"] for row in ordered if row["value"] is None), None)
    finite = [row for row in ordered if row["value"] is not None]
    kept = finite[:: max(1, len(finite) // 150)] + finite[-1:]
    edge = (y.high - y.low) * 20
    inside = ((x(row["step"]), y(min(max(row["value"], y.low - edge), y.high + edge))) for row in kept)
    return " ".join(f"{_short(a)},{_short(b)}" for a, b in inside), broke


def _last(rows: Iterable[Row]) -> list[float]:
    ends: dict[tuple[str, str, int], tuple[int, float]] = {}
    for row in rows:
        key = (row["family"], row["guide"], row["seed"])
        ends[key] = max(ends.get(key, (-1, 0.0)), (row["step"], row["value"]))
    return [value for _, value in ends.values()]


def _window(inner: Sequence[str], left: float, top: float, right: float, bottom: float) -> str:
    """Clips what it holds to its frame."""
    width, height = right - left, bottom - top
    box = f"{_short(left)} {_short(top)} {_short(width)} {_short(height)}"
    return tag("svg", *inner, x=left, y=top, width=width, height=height, viewBox=box)


def _cross(at: Sequence[float]) -> str:
    """× at the places where seeds diverged, and the word."""
    if not at:
        return ""
    crosses = [tag("path", d=f"M{_short(x - 4)},20l8,8m0,-8l-8,8", class_="diverged") for x in at]
    place, anchor = (min(at) - 8, "end") if min(at) > 110 else (max(at) + 8, "start")
    return "".join(crosses) + label(place, 28, "diverged", "diverged-word", anchor)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = share * (high - low) or abs(low) * 0.05 or 1.0
    return low - room, high + room


def _clip(words: str, room: float) -> str:
    most = int((room - 8) / LETTER)
    return words if len(words) <= most else words[: most - 1] + "…"


def _tick(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
