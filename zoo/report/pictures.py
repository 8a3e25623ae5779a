"""Real and sampled data as pictures: a sheet of small images, or a cloud of points."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from zoo.data.words import sentences
from zoo.event import Event
from zoo.metrics.plane import POSTERIOR, PRIOR, frame
from zoo.report import figures
from zoo.report.spectrograms import spectrograms
from zoo.report.study import TRUTH

REAL = "real data"
WAYS = ("real", "sampled", "argmax")
"""Of molecules: those of the data, and how graphs are decoded."""
SHEET_IMAGES = 48
"""The most images on a sheet."""
SENTENCES = 12
"""The most sentences of a family."""
SHEET_SOUNDS = 8
"""The most sounds."""
SHEET_WIDTH = 216
"""Width of a sheet in px; it is enlarged by an integer factor, so that all pixels have one size."""


@dataclass(frozen=True)
class Picture:
    """The picture of one family as HTML, ``None`` if there is nothing to show."""

    label: str
    html: Markup | None


def pictures(shown: Mapping[str, Any], groups: Mapping[str, str]) -> list[Picture]:
    """The real data first, then the samples of each label in the order of ``groups`` (label -> group)."""
    event = Event.parse(shown["event"])
    if shown.get("rate"):
        return _sounds(shown, groups, event)
    real = _array(shown["real"], event)
    order = [label for label in groups if label in shown["samples"]]
    order += [label for label in shown["samples"] if label not in groups]
    batches = {REAL: real} | {label: _array(shown["samples"][label], event) for label in order}
    known = real[np.isfinite(real).reshape(len(real), event.size).all(1)]
    if not len(known):
        return []
    low, high = _range(known, event)
    around = frame(known) if _in_the_plane(event) else None

    words = shown.get("words")

    def draw(label: str, batch: np.ndarray) -> Markup:
        if words:
            return listed(sentences(batch[:SENTENCES], words))
        if around is None:
            return _sheet(batch, low, high, label)
        class_ = "ink-dots" if label == REAL else figures.colour(groups.get(label, ""))
        return Markup(figures.scatter([(batch, class_)], around, label))

    return [Picture(label, draw(label, batch) if len(batch) else None) for label, batch in batches.items()]


def molecules(kept: Mapping[str, Mapping[str, Any]], groups: Mapping[str, str]) -> list[Picture]:
    """Molecules of the data and, by label, of each way to decode; empty if no evaluation has kept any.

    Args:
        kept: of each label, what the evaluation ``molecules`` keeps.
        groups: label -> group, in the order that is shown.
    """
    found = dict[str, Picture]()
    for label in (label for label in groups if label in kept):
        for way in (way for way in WAYS if f"{way}_numbers" in kept[label]):
            title = REAL if way == "real" else f"{label}, {way}"
            parts = (kept[label][f"{way}_{part}"] for part in ("numbers", "orders"))
            levels = [np.asarray(part, int).tolist() for part in parts]
            places = np.asarray(kept[label][f"{way}_places"], float)
            drawn = figures.molecules(list(zip(*levels, places, strict=True)), title)
            found.setdefault(title, Picture(title, Markup(drawn)))
    return list(found.values())


def listed(lines: Sequence[str]) -> Markup:
    """Lines of text as a list."""
    items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup('<ul class="text">{}</ul>').format(items)


def _sounds(shown: Mapping[str, Any], groups: Mapping[str, str], event: Event) -> list[Picture]:
    """Spectrograms of real sounds, and of the samples of each label."""
    labels = [label for label in groups if label in shown["samples"]]
    batches = {REAL: shown["real"]} | {label: shown["samples"][label] for label in labels}
    drawn = {label: spectrograms(_array(batch, event)[:SHEET_SOUNDS]) for label, batch in batches.items()}
    return [Picture(label, _sheet(batch, 0.0, 1.0, label) if len(batch) else None) for label, batch in drawn.items()]


def densities(shown: Mapping[str, Any], groups: Mapping[str, str]) -> list[Picture]:
    """Learnt densities in the plane, the true one first where it is known; empty if there are none.

    All share one scale: black where the density reaches the median of their maxima.
    """
    stored = shown.get("densities", {})
    order = [label for label in (TRUTH, *groups) if label in stored]
    found = {label: np.exp(np.nan_to_num(np.asarray(stored[label], float), nan=-np.inf)) for label in order}
    black = float(np.median([np.quantile(values, 0.995) for values in found.values()])) if found else 1.0

    def picture(label: str, values: np.ndarray) -> Picture:
        sheet = np.round(255 * (1 - np.clip(values / (black or 1.0), 0, 1))).astype(np.uint8)
        return Picture(label, _image_of(sheet, f"density: {label}"))

    return [picture(label, values) for label, values in found.items()]


def latents(shown: Mapping[str, Any], groups: Mapping[str, str]) -> list[Picture]:
    """Latents of two dimensions: a draw of the guide for each of some data over draws of the prior."""
    stored = shown.get("latents", {})
    return [Picture(label, _latents(stored[label], label, groups[label])) for label in groups if label in stored]


def _latents(drawn: Mapping[str, Any], label: str, group: str) -> Markup | None:
    prior, posterior = (np.asarray(drawn[name], float).reshape(-1, 2) for name in (PRIOR, POSTERIOR))
    both = np.concatenate([prior, posterior])
    known = both[np.isfinite(both).all(1)]
    if not len(known):
        return None
    clouds = [(prior, "ink-dots faint-dots"), (posterior, figures.colour(group))]
    low, high = np.quantile(known, (0.005, 0.995), axis=0)
    without_outliers = known[((known >= low) & (known <= high)).all(1)]
    return Markup(figures.scatter(clouds, frame(without_outliers), label))


def strips(shown: Mapping[str, Any], words: Callable[[str, str], str]) -> dict[str, list[Picture]]:
    """For each label with a lossy code, the real data and their reconstructions on each grid, coarse to fine.

    ``words(label, grid)`` describes the rate and quality of that code. Empty for points in the plane.
    """
    event = Event.parse(shown["event"])
    real = _array(shown["real"], event)
    if not len(real) or _in_the_plane(event) or "words" in shown or shown.get("rate"):
        return {}
    low, high = _range(real, event)
    found = {}
    for label, grids in shown.get("coded", {}).items():
        rows = {grid: _array(grids[grid], event) for grid in sorted(grids, key=float, reverse=True)}
        few = real[: max(map(len, rows.values()), default=0)]
        found[label] = [Picture(REAL, _sheet(few, low, high, REAL))]
        found[label] += [Picture(words(label, grid), _sheet(batch, low, high, label)) for grid, batch in rows.items()]
    return found


def neighbours(shown: Mapping[str, Any], groups: Mapping[str, str]) -> list[Picture]:
    """For each label, whole rows of samples, each over that of their nearest training data; none for points."""
    event = Event.parse(shown["event"])
    real, found = _array(shown["real"], event), shown.get("neighbours", {})
    if not len(real) or _in_the_plane(event) or shown.get("rate"):
        return []
    low, high = _range(real, event)
    pairs = []
    for label in (label for label in groups if label in found):
        samples, near = (_array(batch, event) for batch in (shown["samples"][label], found[label]["nearest"]))
        count = min(len(samples), len(near), SHEET_IMAGES // 2)
        if not count:
            continue
        row = _columns(image_of(near[0]), count)
        both = [batch[at : at + row] for at in range(0, count - row + 1, row) for batch in (samples, near)]
        pairs.append(Picture(label, _sheet(np.concatenate(both), low, high, f"samples and nearest data: {label}")))
    return pairs


def tile(images: np.ndarray, columns: int, gap: int, fill: int) -> np.ndarray:
    """Images ``(n, h, w)`` or ``(n, h, w, 3)`` of bytes in rows on one sheet, with gaps of the grey ``fill``."""
    n, h, w, *channels = images.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, *channels), fill, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (h + gap), index % columns * (w + gap)
        sheet[top : top + h, left : left + w] = image
    return sheet


def data_url(sheet: np.ndarray) -> str:
    """Bytes ``(h, w)`` or ``(h, w, 3)`` as a PNG that stands in the page itself."""
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _in_the_plane(event: Event) -> bool:
    return event.shape == (2,) and event.levels is None


def _range(real: np.ndarray, event: Event) -> tuple[float, float]:
    return (0.0, event.levels - 1.0) if event.levels else (float(np.nanmin(real)), float(np.nanmax(real)))


def _sheet(batch: np.ndarray, low: float, high: float, label: str) -> Markup:
    """An ``img`` of the batch, dark on white, or in its colours."""
    images = np.stack([image_of(datum) for datum in batch[:SHEET_IMAGES]])
    count, height, _, *channels = images.shape
    light = np.round(255 * np.nan_to_num(np.clip((images - low) / ((high - low) or 1.0), 0, 1))).astype(np.uint8)
    columns = _columns(images[0], count)
    gap = max(1, height // 8) if height > 1 else 0
    return _image_of(tile(light if channels else 255 - light, columns, gap, 255), f"{count} pictures: {label}")


def _columns(image: np.ndarray, count: int) -> int:
    height, width = image.shape[:2]
    return max(1, min(count, 8 if width <= 3 * height else 1))


def _image_of(sheet: np.ndarray, words: str) -> Markup:
    """An ``img`` of bytes ``(height, width)`` or ``(height, width, 3)``, enlarged to about `SHEET_WIDTH`."""
    zoom = max(1, SHEET_WIDTH // sheet.shape[1])
    return Markup('<img class="sheet" alt="{}" width="{}" height="{}" src="{}">').format(
        words, zoom * sheet.shape[1], zoom * sheet.shape[0], data_url(sheet)
    )


def image_of(datum: np.ndarray) -> np.ndarray:
    """A datum as a picture: its last two axes (and three colours); if it is flat, a square or a strip."""
    if datum.ndim == 3 and len(datum) == 3:
        return np.moveaxis(datum, 0, -1)
    if datum.ndim >= 2:
        return np.asarray(datum.reshape(-1, *datum.shape[-2:]).mean(0))
    side = math.isqrt(datum.size)
    return datum.reshape(side, side) if side * side == datum.size and side > 3 else datum.reshape(1, -1)


def _array(batch: Any, event: Event) -> np.ndarray:
    return np.asarray(batch, dtype=float).reshape(-1, *event.shape)
