"""Molecules as chemists draw them: lines for bonds, letters for atoms other than carbon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from zoo.report.figures.svg import drawing, label, line, tag

COLUMNS, CELL, MARGIN = 3, 72.0, 9.0
"""Molecules in a row; the side of each one's cell and the margin in it, in px."""
BOND = 16.0
"""Px of a molecule's median bond: a small one does not fill its cell."""
BESIDE = 1.6
"""Px from a bond's axis to each of the outer lines of a double or triple one."""
SYMBOLS = {1: "H", 5: "B", 6: "C", 7: "N", 8: "O", 9: "F", 14: "Si", 15: "P", 16: "S", 17: "Cl", 35: "Br", 53: "I"}
"""Of the elements that occur in organic molecules; others are shown by their number."""
CARBON = 6

Molecule = tuple[Sequence[int], Sequence[int], np.ndarray]
"""Atomic numbers (0: absent), orders of the bonds of pairs i < j, and places ``(N, 2)``; NaN for what is not valid."""


def molecules(shown: Sequence[Molecule], title: str) -> str:
    """A sheet of molecules; for what is not one it says so."""
    rows = math.ceil(len(shown) / COLUMNS)
    parts, valid = list[str](), 0
    for index, molecule in enumerate(shown):
        left, top = CELL * (index % COLUMNS), CELL * (index // COLUMNS)
        drawn = _drawn(*molecule, left + CELL / 2, top + CELL / 2)
        valid += bool(drawn)
        parts += drawn or [label(left + CELL / 2, top + CELL / 2 + 4, "not valid", "quiet tick", "middle")]
    return drawing(COLUMNS * CELL, rows * CELL, title, f"{len(shown)} graphs, {valid} of them molecules", *parts)


def _drawn(numbers: Sequence[int], orders: Sequence[int], places: np.ndarray, x: float, y: float) -> list[str]:
    """The lines and letters of one molecule around a point; none if it has no places."""
    present = [i for i, number in enumerate(numbers) if number]
    if not present or not np.isfinite(places[present]).all():
        return []
    centred = (places - (places[present].min(0) + places[present].max(0)) / 2) * (1, -1)
    bonds = [(i, j, order) for (i, j), order in zip(combinations(range(len(numbers)), 2), orders, strict=True) if order]
    lengths = [float(np.linalg.norm(centred[i] - centred[j])) for i, j, _ in bonds] or [1.0]
    reach = max(float(np.abs(centred[present]).max()), 1e-9)
    scale = min((CELL / 2 - MARGIN) / reach, BOND / float(np.median(lengths)))
    at = centred * scale + (x, y)
    parts = []
    for i, j, order in bonds:
        (x1, y1), (x2, y2) = at[i].tolist(), at[j].tolist()
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        across = (y1 - y2) / length, (x2 - x1) / length
        for offset in {1: (0.0,), 2: (-1.0, 1.0), 3: (-1.5, 0.0, 1.5)}[order]:
            dx, dy = (BESIDE * offset * each for each in across)
            parts.append(line(x1 + dx, y1 + dy, x2 + dx, y2 + dy, "bond"))
    for i in present:
        if numbers[i] == CARBON and len(present) > 1:
            continue
        cx, cy = at[i].tolist()
        symbol = SYMBOLS.get(numbers[i], str(numbers[i]))
        parts += [tag("circle", cx=cx, cy=cy, r=5.0, class_="halo"), label(cx, cy + 3.5, symbol, "atom", "middle")]
    return parts
