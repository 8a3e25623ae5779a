"""Building blocks of the figures: small SVG drawings that take their colours from the page.

Written by hand, without a plotting library: colours are CSS classes (``ink``, ``quiet``, ``g-flow`` ...), so one
drawing inline in the page serves light and dark, stays text, and costs no dependency and no second style.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

LETTER = 6.6
"""About the width of a letter of 12 px, in px."""

MARKS: dict[str, tuple[tuple[float, float], ...]] = {
    "lower bound": ((-6, 0), (4, -5.5), (4, 5.5)),
    "estimate": ((-5.5, 0), (0, -5.5), (5.5, 0), (0, 5.5)),
}
"""Kind of likelihood -> corners of its marker, else a disc; the triangle points to where the truth may lie."""


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
    """One SVG element; ``class_`` becomes ``class`` and ``text_anchor`` ``text-anchor``."""
    written = (f" {key.rstrip('_').replace('_', '-')}={quoteattr(short(value))}" for key, value in attributes.items())
    return f"<{name}{''.join(written)}>{''.join(children)}</{name}>"


def label(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> str:
    """A line of text."""
    return tag("text", escape(words), x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


@dataclass(frozen=True)
class Rows:
    """The layout of rows: each next to its name, or under it if names took over a third of the width."""

    names: Sequence[str]
    width: float
    top: float

    @property
    def _name_width(self) -> float:
        return max([len(name) for name in self.names] + [8]) * LETTER + 14

    @property
    def _under(self) -> bool:
        return self._name_width > 0.36 * self.width

    @property
    def left(self) -> float:
        """Where the rows start, in px."""
        return 8.0 if self._under else self._name_width

    def y(self, row: float) -> float:
        """The height of a row's middle."""
        return self.top + (40 * row + 28 if self._under else 27 * row + 13.5)

    @property
    def bottom(self) -> float:
        """Where the rows end, in px."""
        return self.top + (40 if self._under else 27) * len(self.names)

    def name(self, row: int) -> str:
        """A row's name."""
        return label(0, self.y(row) - (14 if self._under else -4), clip(self.names[row], self.width), "ink")


def drawing(width: float, height: float, title: str, description: str, *children: str) -> str:
    """A figure with a title and a description for screen readers; `numbered` puts several into one page."""
    return tag(
        "svg",
        tag("title", escape(title), id="title"),
        tag("desc", escape(description), id="desc"),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {short(width)} {short(height)}",
        role="img",
        aria_labelledby="title desc",
        class_="figure",
        style=f"max-width:{short(width)}px",
    )


FIGURE = re.compile(r'aria-labelledby="title desc"([^>]*)><title id="title">(.*?)</title><desc id="desc">', re.DOTALL)


def numbered(page: str) -> str:
    """A page in which every `drawing` refers to its own title and description: an id stands once in a document."""
    count = itertools.count(1)

    def own(found: re.Match[str]) -> str:
        rest, title, n = found[1], found[2], next(count)
        return f'aria-labelledby="title-{n} desc-{n}"{rest}><title id="title-{n}">{title}</title><desc id="desc-{n}">'

    return FIGURE.sub(own, page)


def of_family(name: str, *parts: str) -> str:
    """Parts of a figure that show one family or standard code; the page highlights and hides them with its rows."""
    return tag("g", *parts, data_family=name)


def mark(kind: str, x: float, y: float, class_: str) -> str:
    """The marker of a likelihood of this kind."""
    if kind not in MARKS:
        return tag("circle", cx=x, cy=y, r=4.5, class_=f"{class_} full")
    points = " ".join(f"{short(x + dx)},{short(y + dy)}" for dx, dy in MARKS[kind])
    return tag("polygon", points=points, class_=f"{class_} hollow")


def colour(group: str) -> str:
    """The CSS class of a group's colour."""
    return f"g-{group or 'unsorted'}"


def polyline(points: Sequence[tuple[float, float]], x: Scale, y: Scale, class_: str) -> str:
    return tag("polyline", points=" ".join(f"{short(x(a))},{short(y(b))}" for a, b in points), class_=class_)


def axis_below(x: Scale, y: float, right: float) -> str:
    """An axis of nats per datum at height ``y``; its unit ends at ``right``, and no tick is written over it."""
    wide = x.end - x.start > 350
    unit = "nats per datum" if wide else "nats"
    parts = [line(x.start, y, x.end, y, "axis"), label(right, y + 17, unit, "quiet", "end")]
    for value in x.ticks(7 if wide else 4):
        parts.append(line(x(value), y, x(value), y + 4, "axis"))
        half = len(tick(value)) * LETTER / 2
        if x(value) + half < right - len(unit) * LETTER:
            parts.append(label(max(x(value), half), y + 17, tick(value), "tick", "middle"))
    return tag("g", *parts)


def room_for_ticks(y: Scale) -> float:
    """How wide the ticks to the left of an axis are, in px."""
    return max([len(tick(value)) for value in y.ticks(5)], default=0) * LETTER + 8


def grid(x: Scale, y: Scale, words: Callable[[float], str], ticks: Sequence[float] = ()) -> str:
    """Both axes with their ticks; those of ``x`` are written by ``words`` and may be given."""
    parts = [line(x.start, y.start, x.end, y.start, "axis")]
    for value in y.ticks(5):
        parts += [line(x.start, y(value), x.end, y(value), "grid")]
        parts += [label(x.start - 6, y(value) + 4, tick(value), "tick", "end")]
    for value in ticks or x.ticks(5):
        parts += [line(x(value), y.start, x(value), y.start + 4, "axis")]
        parts += [label(x(value), y.start + 17, words(value), "tick", "middle")]
    return tag("g", *parts)


def end_labels(ends: Sequence[tuple[str, str, tuple[float, float]]], x: Scale, y: Scale, right: float) -> list[str]:
    """The names of curves between the frame and ``right``: (name, class, end of the curve), apart, above its bottom."""
    ordered = sorted(ends, key=lambda end: -end[2][1])
    heights = [y(height) + 4 for _, _, (_, height) in ordered]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + 14)
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], y.start - 14 * (len(heights) - 1 - i))
    parts = []
    for (name, class_, (last, height)), at in zip(ordered, heights, strict=True):
        hair = line(x(last) + 2, y(height), x.end + 6, at - 4, "grid")
        parts.append(of_family(name, hair, label(x.end + 9, at, clip(name, right - x.end), class_)))
    return parts


def window(inner: Sequence[str], left: float, top: float, right: float, bottom: float) -> str:
    """Clips ``inner`` to a frame."""
    width, height = right - left, bottom - top
    box = f"{short(left)} {short(top)} {short(width)} {short(height)}"
    return tag("svg", *inner, x=left, y=top, width=width, height=height, viewBox=box)


def padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = share * (high - low) or abs(low) * 0.05 or 1.0
    return low - room, high + room


def clip(words: str, room: float) -> str:
    most = int((room - 8) / LETTER)
    return words if len(words) <= most else words[: most - 1] + "…"


def fitting(words: str, more: str, room: float) -> str:
    """``words``, and ``more`` where there is room for both."""
    return words + more if len(words + more) * LETTER <= room else words


def tick(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
