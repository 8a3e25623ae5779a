"""Scatter plots of points in the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.metrics.plane import Frame
from zoo.report.figures.svg import Scale, drawing, label, tag


def scatter(clouds: Sequence[tuple[np.ndarray, str]], frame: Frame, title: str) -> str:
    """Clouds of points ``(m, 2)``, each with its CSS class; says how many points lie outside."""
    size = 216.0
    x, y = Scale(frame[0], frame[1], 0, size), Scale(frame[2], frame[3], size, 0)
    parts, out = [tag("rect", x=0.5, y=0.5, width=size - 1, height=size - 1, class_="frame")], 0
    for points, class_ in clouds:
        inside = [(a, b) for a, b in points.tolist() if frame[0] <= a <= frame[1] and frame[2] <= b <= frame[3]]
        parts.append(tag("g", *(tag("circle", cx=x(a), cy=y(b), r=1.7) for a, b in inside), class_=f"{class_} dots"))
        out += len(points) - len(inside)
    note = label(size - 4, size - 6, f"{out} outside", "quiet", "end") if out else ""
    return drawing(size, size, title, f"{sum(len(points) for points, _ in clouds)} points", *parts, note)
