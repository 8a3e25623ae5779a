"""Samples as a picture or as numbers."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from torch import Tensor

from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import write_bytes

PIXELS = 512
"""Least side of a grid, so that 8x8 digits can be seen."""


def save_samples(path: Path, x: Tensor, event: Event) -> None:
    """Write samples ``x``, shape ``(n, *event.shape)``, to a file that `check_place` lets pass.

    A ``.npy`` holds them as they are, a ``.png`` a grid of images or a scatter plot of points.
    """
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, x.numpy(), allow_pickle=False)
        write_bytes(path, buffer.getvalue())
    else:
        write_bytes(path, _scatter(x) if event.shape == (2,) else _grid(_images(x, event)))


def check_place(path: Path, event: Event) -> None:
    """Whether samples of ``event`` can be written to ``path``.

    Raises:
        ZooError: another ending, or data that are neither images nor points in the plane for ``.png``.
    """
    if path.suffix not in (".npy", ".png"):
        raise ZooError(f"samples are written to a .png or a .npy, got {path.name!r}")
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


def _grid(images: np.ndarray) -> bytes:
    from PIL import Image

    n, h, w, *channels = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1, *channels), 0.5)
    for index, image in enumerate(images):
        top, left = (index // columns) * (h + 1), (index % columns) * (w + 1)
        sheet[top : top + h, left : left + w] = image
    zoom = max(1, PIXELS // max(sheet.shape))
    pixels = (sheet * 255).round().astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _scatter(x: Tensor) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5))
    axes = FigureCanvasAgg(figure).figure.add_subplot(aspect="equal")
    axes.scatter(x[:, 0], x[:, 1], s=4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
