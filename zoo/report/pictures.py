"""Real and sampled data as pictures: a sheet of small images, or a cloud of points."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from zoo.event import Event
from zoo.report import figures

REAL = "real data"
MOST = 48
"""Images on a sheet, at most."""
ROOM = 216
"""Width of a sheet in px; it is enlarged by a whole number, so that all picture elements are of one size."""


@dataclass(frozen=True)
class Picture:
    """What is shown of one family: ready HTML, or ``None`` and no samples to show."""

    label: str
    html: Markup | None


def pictures(shown: Mapping[str, Any], groups: Mapping[str, str]) -> list[Picture]:
    """The real data first, then the samples of each label in the order of ``groups`` (label -> group)."""
    event = Event.parse(shown["event"])
    real = _array(shown["real"], event)
    order = [label for label in groups if label in shown["samples"]]
    order += [label for label in shown["samples"] if label not in groups]
    drawn = {label: _array(shown["samples"][label], event) for label in order}
    draw = _clouds if event.shape == (2,) and event.levels is None else _sheets
    return draw(real, drawn, groups, event)


@dataclass(frozen=True)
class Strip:
    """A few data after one lossy code, with its rate and quality in words."""

    words: str
    html: Markup


def strips(shown: Mapping[str, Any], words: Callable[[str, str], str]) -> dict[str, list[Strip]]:
    """Of each label that has a lossy code, the real data and what comes back on each grid, coarse to fine.

    ``words(label, grid)`` says what that code takes and gives. Empty for points in the plane.
    """
    event = Event.parse(shown["event"])
    real = _array(shown["real"], event)
    if not len(real) or (event.shape == (2,) and event.levels is None):
        return {}
    low, high = _range(real, event)
    found = {}
    for label, grids in shown.get("coded", {}).items():
        rows = {grid: _array(batch, event) for grid, batch in sorted(grids.items(), key=_coarse_first)}
        few = real[: max(map(len, rows.values()), default=0)]
        found[label] = [Strip(REAL, _sheet(few, low, high, REAL))]
        found[label] += [Strip(words(label, grid), _sheet(batch, low, high, label)) for grid, batch in rows.items()]
    return found


def _coarse_first(item: tuple[str, Any]) -> float:
    return -float(item[0])


def _clouds(real: np.ndarray, drawn: dict[str, np.ndarray], groups: Mapping[str, str], _: Event) -> list[Picture]:
    known = real[np.isfinite(real).all(1)]
    if not len(known):
        return []
    (left, below), (right, above) = known.min(0), known.max(0)
    room_x, room_y = 0.2 * (right - left) or 1.0, 0.2 * (above - below) or 1.0
    frame = (float(left - room_x), float(right + room_x), float(below - room_y), float(above + room_y))
    clouds = [(REAL, known, "ink-dots")]
    clouds += [(label, points, figures.colour(groups.get(label, ""))) for label, points in drawn.items()]
    return [
        Picture(label, Markup(figures.scatter(points, frame, label, class_)) if len(points) else None)
        for label, points, class_ in clouds
    ]


def _sheets(real: np.ndarray, drawn: dict[str, np.ndarray], _: Mapping[str, str], event: Event) -> list[Picture]:
    if not len(real):
        return []
    low, high = _range(real, event)
    sheets = {REAL: real} | drawn
    return [Picture(label, _sheet(batch, low, high, label) if len(batch) else None) for label, batch in sheets.items()]


def _range(real: np.ndarray, event: Event) -> tuple[float, float]:
    return (0.0, event.levels - 1.0) if event.levels else (float(np.nanmin(real)), float(np.nanmax(real)))


def _sheet(batch: np.ndarray, low: float, high: float, label: str) -> Markup:
    """An ``img`` of the batch, one picture element a pixel; dark ink on white paper, or in its colours."""
    images = np.stack([_image(datum) for datum in batch[:MOST]])
    count, height, width, *channels = images.shape
    columns = max(1, min(count, 8 if width <= 3 * height else 1))
    lines = math.ceil(count / columns)
    gap = max(1, height // 8) if height > 1 else 0
    sheet = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap, *channels), 255, np.uint8)
    light = np.round(255 * np.nan_to_num(np.clip((images - low) / ((high - low) or 1.0), 0, 1))).astype(np.uint8)
    for index, image in enumerate(light if channels else 255 - light):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    source = base64.b64encode(file.getvalue()).decode()
    zoom = max(1, ROOM // sheet.shape[1])
    return Markup('<img class="sheet" alt="{}" width="{}" height="{}" src="data:image/png;base64,{}">').format(
        f"{count} pictures: {label}", zoom * sheet.shape[1], zoom * sheet.shape[0], source
    )


def _image(datum: np.ndarray) -> np.ndarray:
    """A datum as a picture: its last two axes (and its three colours), a square if it is a flat one, else a strip."""
    if datum.ndim == 3 and len(datum) == 3:
        return np.moveaxis(datum, 0, -1)
    if datum.ndim >= 2:
        return np.asarray(datum.reshape(-1, *datum.shape[-2:]).mean(0))
    side = math.isqrt(datum.size)
    return datum.reshape(side, side) if side * side == datum.size and side > 3 else datum.reshape(1, -1)


def _array(batch: Any, event: Event) -> np.ndarray:
    return np.asarray(batch, dtype=float).reshape(-1, *event.shape)
