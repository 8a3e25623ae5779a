"""Points and densities in the plane."""

from __future__ import annotations

import numpy as np

from zoo.report.figures.svg import Scale, drawing, label, tag


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
