"""Samples as a picture, as sound or as numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.data.files import table_of
from zoo.data.files.sounds import expanded, wav_bytes
from zoo.data.words import sentences, words_of
from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import write_bytes, write_text
from zoo.metrics.plane import frame
from zoo.report.pictures import tile

PIXELS = 512
"""Least side of a grid, so that 8x8 digits can be seen."""
PAUSE = 0.2
"""Seconds of silence between two sounds."""
SCATTER, MARGIN = 600, 40
"""Side of a scatter plot and the margin around its frame, in px."""


def save_samples(
    path: Path, x: Tensor, event: Event, columns: Sequence[str] = (), names: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write samples ``x``, shape ``(n, *event.shape)``, to a file that `check_place` accepts.

    A ``.npz`` holds the fields by name, a ``.npy`` the main field as it is, a ``.csv`` the ``columns`` of a table with
    the ``names`` of levels, a ``.png`` a grid of images or a scatter plot of points, and a ``.txt`` a sentence a line.
    """
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        write_text(path, table_of(x, columns, names or {}).to_csv(index=False))
        return
    if path.suffix == ".txt":
        write_text(path, "".join(f"{line}\n" for line in sentences(x, words_of(event, names or {}))))
        return
    if path.suffix == ".npz":
        fields = {name: value.numpy() for name, value in event.unpack(x).items() if value is not None}
        np.savez_compressed(buffer, allow_pickle=False, **fields)
        write_bytes(path, buffer.getvalue())
        return
    x, event = event.main_of(x), event.array
    if path.suffix == ".npy":
        np.save(buffer, x.numpy(), allow_pickle=False)
    else:
        image = _scatter(x.double().numpy()) if event.shape == (2,) else _grid(_images(x, event))
        image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def save_sound(path: Path, levels: Tensor, rate: int) -> None:
    """Write sounds of mu-law levels, shape ``(n, samples)``, one after the other to a ``.wav``, a `PAUSE` between."""
    pcm = expanded(levels.numpy().astype(np.uint8))
    gap = np.zeros((len(pcm), round(PAUSE * rate)), np.int16)
    write_bytes(path, wav_bytes(np.concatenate([pcm, gap], 1).reshape(-1), rate))


def check_place(
    path: Path,
    event: Event,
    columns: Sequence[str] = (),
    names: Mapping[str, Sequence[str]] | None = None,
    rate: int = 0,
) -> None:
    """Whether samples of ``event`` can be written to ``path``.

    Raises:
        ZooError: another ending, data that are neither images nor points in the plane for ``.png``, that are no table
            for ``.csv``, no text for ``.txt``, or no sound for ``.wav``.
    """
    text, event = words_of(event, names or {}), event.array
    if path.suffix not in (".npy", ".npz", ".png", ".csv", ".txt", ".wav"):
        raise ZooError(f"samples are written to a .png, .npy, .npz, .csv, .txt or .wav, got {path.name!r}")
    if path.suffix == ".txt" and not text:
        raise ZooError(f"data of {event} that are no text make no sentences; write samples to a .npy")
    if path.suffix == ".wav" and not rate:
        raise ZooError(f"data of {event} are no sound, as speech is; write samples to a .npy")
    if path.suffix == ".csv":
        if not columns:
            raise ZooError(f"data of {event} that are no table have no columns; write samples to a .npy")
        return
    if path.suffix == ".png" and event.shape != (2,) and not _image_shape(event):
        raise ZooError(f"data of shape {event.shape} make no picture; write samples to a .npy")


def _image_shape(event: Event) -> tuple[int, ...]:
    """``(h, w)``, or ``(3, h, w)`` in colour; flat events of a square number of entries are squares. Empty if none."""
    shape, side = event.shape, math.isqrt(event.size)
    if len(shape) == 1 and side * side == event.size:
        return side, side
    if len(shape) == 3 and shape[0] == 1:
        return shape[1:]
    return shape if len(shape) == 2 or (len(shape) == 3 and shape[0] == 3) else ()


def _images(x: Tensor, event: Event) -> np.ndarray:
    """Shape ``(n, h, w)`` or, in colour, ``(n, h, w, 3)``, values 0 (black) to 1 (white)."""
    shape = _image_shape(event)
    low, high = (0.0, event.levels - 1.0) if event.levels else (float(x.min()), float(x.max()))
    scaled = (x.reshape(-1, *shape) - low) / max(high - low, 1e-12)
    return (scaled.movedim(1, -1) if len(shape) == 3 else scaled).clamp(0, 1).double().numpy()


def _grid(images: np.ndarray) -> Image.Image:
    columns = math.ceil(math.sqrt(len(images)))
    sheet = tile((images * 255).round().astype(np.uint8), columns, gap=1, fill=128)
    zoom = max(1, PIXELS // max(sheet.shape))
    return Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))


def _scatter(points: np.ndarray) -> Image.Image:
    """Points ``(n, 2)`` in a square frame, both axes to one scale, with the range of each axis at its ends.

    Points that are not finite are left out. Drawn twice as large and scaled down, so that the dots are smooth.
    """
    points = points[np.isfinite(points).all(1)]
    left, right, bottom, top = frame(points if len(points) else np.zeros((1, 2)))
    half = max(right - left, top - bottom) / 2
    middle = np.array([(left + right) / 2, (bottom + top) / 2])
    start, end = 2 * MARGIN, 2 * (SCATTER - MARGIN)
    image = Image.new("RGB", (2 * SCATTER, 2 * SCATTER), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(26)
    draw.rectangle((start, start, end, end), outline="black", width=2)
    for x, y in start + (end - start) * (1 + (points - middle) / half * (1, -1)) / 2:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(44, 102, 165))
    (low_x, low_y), (high_x, high_y) = middle - half, middle + half
    for value, x, y, anchor in (
        (low_x, start, end + 10, "lt"),
        (high_x, end, end + 10, "rt"),
        (low_y, start - 10, end, "rb"),
        (high_y, start - 10, start, "rt"),
    ):
        draw.text((x, y), f"{value:.3g}", "black", font, anchor)
    return image.resize((SCATTER, SCATTER), Image.Resampling.LANCZOS)
