"""Figures of models in use: attacked images, decisions in the plane, and curves of detection and of risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.report import text
from zoo.report.figures.svg import Scale, clip, colour, drawing, grid, label, line, polyline, tag, tick, window

NARROWEST = 500.0
"""Width in px below which panels are drawn one below the other."""
COLOURS = ("implicit", "autoregressive", "flow", "prescribed", "energy", "diffusion", "unsorted")
"""Groups whose colours curves take, one after the other."""
RGB = ((214, 118, 44), (44, 102, 165), (26, 127, 105), (124, 79, 163), (138, 106, 12), (63, 106, 120), (74, 74, 77))
"""The colours of classes, on light and on dark paper."""


@dataclass(frozen=True)
class Shown:
    """A datum before or after an attack, and what is said of it.

    ``image`` is a data URL; ``right`` says whether the guessed class is the datum's, ``unfamiliar`` whether log p(x) is
    below the quantile under which a rule with p(x) abstains.
    """

    image: str
    guess: str
    p: float
    right: bool
    log_p: float
    unfamiliar: bool


@dataclass(frozen=True)
class Line:
    """A curve and what its legend says."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class PlaneView:
    """A panel: an image of the plane (a data URL), and the words above and below it."""

    image: str
    title: str
    words: str


def attacked(title: str, heads: Sequence[str], rows: Sequence[Sequence[Shown]], width: float = 360.0) -> str:
    """A row for each datum: the image before and after attacks, with the guessed class, p(y | x) and log p(x)."""
    cell = width / len(heads)
    side, top = cell - 14, 20.0
    step = side + 44
    parts = [label(at * cell, 12, head, "quiet") for at, head in enumerate(heads)]
    for row, shown in enumerate(rows):
        y = top + row * step
        for at, each in enumerate(shown):
            x = at * cell
            image = {"x": x, "y": y, "width": side, "height": side, "href": each.image}
            guess = f"{'' if each.right else '≠ '}{each.guess}: {each.p:.2f}"
            log_p = f"{'▾ ' if each.unfamiliar else ''}{text.number(each.log_p)}"
            parts.append(tag("image", **image, class_="pixels"))
            parts.append(label(x, y + side + 14, guess, "ink" if each.right else "diverged-word"))
            parts.append(label(x, y + side + 29, log_p, "diverged-word" if each.unfamiliar else "quiet"))
    described = "; ".join(
        ", ".join(f"{head} {each.guess} {each.p:.2f} {each.log_p:.1f}" for head, each in zip(heads, shown, strict=True))
        for shown in rows
    )
    return drawing(width, top + len(rows) * step, title, described, *parts)


def decision(
    panels: Sequence[PlaneView],
    frame: tuple[float, float, float, float],
    points: Sequence[tuple[float, float]],
    classes: Sequence[int],
    cross: tuple[float, float],
    width: float,
) -> str:
    """Panels of the plane with points in the colours of their classes and a cross; side by side where there is room."""
    side_by_side = width >= NARROWEST
    size = (width - 24) / 2 if side_by_side else width
    parts = list[str]()
    for place, panel in enumerate(panels):
        left, top = (place * (size + 24), 20.0) if side_by_side else (0.0, 20.0 + place * (size + 56))
        x, y = Scale(frame[0], frame[1], left, left + size), Scale(frame[2], frame[3], top + size, top)
        parts += [label(left, top - 8, panel.title, "ink"), label(left, top + size + 18, panel.words, "ink")]
        parts.append(tag("image", href=panel.image, x=left, y=top, width=size, height=size))
        parts.append(tag("rect", x=left + 0.5, y=top + 0.5, width=size - 1, height=size - 1, class_="frame"))
        for level in sorted({*classes}):
            own = [
                tag("circle", cx=x(a), cy=y(b), r=1.7) for (a, b), c in zip(points, classes, strict=True) if c == level
            ]
            parts.append(tag("g", *own, class_="dots", style=f"fill:{rgb(level)}"))
        at, height = x(cross[0]), y(cross[1])
        parts += [line(at - 7, height - s, at + 7, height + s, "cross") for s in (-7, 7)]
    described = "; ".join(f"{panel.title}: {panel.words}" for panel in panels)
    height = 20 + size + 28 if side_by_side else len(panels) * (size + 56)
    return drawing(width, height, "A boundary alone, and with p(x)", described, *parts)


def rgb(level: int) -> str:
    """The colour of a class."""
    return f"rgb{RGB[level % len(RGB)]}"


def curves(
    title: str, axes: tuple[str, str], lines: Sequence[Line], diagonal: bool = False, width: float = 300.0
) -> str:
    """Curves over shares from 0 to 1, with a legend below; ``axes`` are the words of x and y."""
    top, bottom, right = 24.0, 224.0, width - 12
    highest = 1.0 if diagonal else 1.05 * max([b for each in lines for _, b in each.points] + [0.01])
    x, y = Scale(0.0, 1.0, 40.0, right), Scale(0.0, highest, bottom, top)
    inner = [tag("polyline", points=f"{x(0)},{y(0)} {x(1)},{y(1)}", class_="reference")] if diagonal else []
    classes = [colour(COLOURS[place % len(COLOURS)]) for place in range(len(lines))]
    inner += [polyline(each.points, x, y, f"{own} curve") for each, own in zip(lines, classes, strict=True)]
    parts = [label(0, 12, axes[1], "quiet"), grid(x, y, tick), label(right, bottom + 34, axes[0], "quiet", "end")]
    parts.append(window(inner, x.start - 1, top - 1, right + 1, bottom + 1))
    for place, (each, own) in enumerate(zip(lines, classes, strict=True)):
        height = bottom + 54 + 17 * place
        parts += [line(0.0, height - 4, 16.0, height - 4, f"{own} curve")]
        parts += [label(22.0, height, clip(each.name, width - 22), "ink")]
    described = "; ".join(each.name for each in lines)
    return drawing(width, bottom + 48 + 17 * len(lines), title, described, *parts)
