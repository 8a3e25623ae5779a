"""What standard codes make of the same data: bytes for a whole split, every one proven by decoding."""

from __future__ import annotations

import bz2
import io
import lzma
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zoo.errors import ZooError
from zoo.event import Event

Pixels = NDArray[np.uint8]
LARGEST_SIDE = 16383
"""Of a WebP image, in pixels."""
PACKERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "zlib": (lambda raw: zlib.compress(raw, 9), zlib.decompress),
    "bz2": (lambda raw: bz2.compress(raw, 9), bz2.decompress),
    "lzma": (lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
}
"""General compressors at their hardest setting: name -> (pack, unpack)."""
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6, "exact": True},
}
"""Lossless image formats at their hardest setting: name -> what Pillow's ``save`` is told."""


def standard_codes(event: Event, x: Tensor) -> dict[str, int]:
    """Bytes that each standard code takes for the data ``x``, shape ``(n, *event.shape)``, as integers 0 to K-1.

    ``zlib``, ``bz2`` and ``lzma`` of all data in one piece: a byte an entry (two above 256 levels), binary data also
    packed eight to the byte, whichever is smaller. Where a datum is a picture (see `as_images`), ``png`` and ``webp``
    (lossless) of each datum by itself, and ``png_tiled`` and ``webp_tiled`` of all data side by side in one image,
    which pays for one header. Nothing else is counted, no count of the data and no shape.

    Raises:
        ZooError: real data, which have no levels to keep, or a code that does not give back what it was given.
    """
    levels = as_levels(event, x)
    sizes = {name: _packed(name, event, levels) for name in PACKERS}
    images = as_images(event, levels)
    if images is None:
        return sizes
    for name in FORMATS:
        sizes[name] = sum(_image_bytes(name, event, image) for image in images)
        sizes[f"{name}_tiled"] = _image_bytes(name, event, tiled(images))
    return sizes


def as_levels(event: Event, x: Tensor) -> NDArray[np.integer[Any]]:
    """Data as the smallest unsigned integers that hold their levels, shape ``(n, *event.shape)``."""
    if event.levels is None:
        raise ZooError(f"standard codes take data with levels, got {event}: real data would first have to be rounded")
    kind = np.uint8 if event.levels <= 256 else np.uint16 if event.levels <= 2**16 else np.uint32
    levels: NDArray[np.integer[Any]] = x.cpu().numpy().round().astype(kind)
    return levels


def as_images(event: Event, levels: NDArray[Any]) -> Pixels | None:
    """The data as pictures, ``(n, h, w)`` or ``(n, h, w, 3)``; ``None`` if they are none or have over 256 levels.

    A datum of two axes is a grey picture; of three axes, three colours first, a coloured one; of one axis a square if
    it can be one, else a line.
    """
    if event.levels is None or event.levels > 256 or len(event.shape) > 3:
        return None
    if len(event.shape) == 3:
        return np.moveaxis(levels, 1, -1) if event.shape[0] == 3 else None
    side = math.isqrt(event.size)
    square = (side, side) if side * side == event.size else (1, event.size)
    return levels.reshape(-1, *(event.shape if len(event.shape) == 2 else square))


def tiled(images: Pixels) -> Pixels:
    """Images ``(n, h, w, ...)`` side by side in one near-square image, row by row; the last row is filled up by zeros.

    Raises:
        ZooError: so many that the image would be larger than its formats allow.
    """
    count, height, width, *colours = images.shape
    columns = max(1, min(count, round(math.sqrt(count * height / width))))
    lines = math.ceil(count / columns)
    if max(lines * height, columns * width) > LARGEST_SIDE:
        raise ZooError(f"{count} images of {height}x{width} do not fit into one of {LARGEST_SIDE}x{LARGEST_SIDE}")
    sheet = np.zeros((lines * columns, height, width, *colours), images.dtype)
    sheet[:count] = images
    grid = sheet.reshape(lines, columns, height, width, *colours).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(lines * height, columns * width, *colours))


def untiled(sheet: Pixels, count: int, height: int, width: int) -> Pixels:
    """The first ``count`` images of a sheet made by `tiled`."""
    lines, columns, colours = sheet.shape[0] // height, sheet.shape[1] // width, sheet.shape[2:]
    grid = sheet.reshape(lines, height, columns, width, *colours).swapaxes(1, 2)
    return grid.reshape(-1, height, width, *colours)[:count]


def _packed(name: str, event: Event, levels: NDArray[Any]) -> int:
    pack, unpack = PACKERS[name]
    raws = [levels.tobytes()] + ([np.packbits(levels).tobytes()] if event.support == "binary" else [])
    codes = [pack(raw) for raw in raws]
    if [unpack(code) for code in codes] != raws:
        raise ZooError(f"{name} did not give back what it was given")
    return min(map(len, codes))


def _image_bytes(name: str, event: Event, image: Pixels) -> int:
    bits = name == "png" and event.support == "binary" and image.ndim == 2
    picture = Image.fromarray(image * np.uint8(255)).convert("1") if bits else Image.fromarray(image)
    code = _saved(picture, **FORMATS[name])
    if (_opened(code, picture.mode) != image).any():
        raise ZooError(f"{name} did not give back what it was given")
    return len(code)


def _saved(picture: Image.Image, **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, **settings)
    return file.getvalue()


def _opened(code: bytes, mode: str) -> Pixels:
    """The pixels of a file in the mode of the picture that went into it; WebP gives its grey ones back in colours."""
    return np.asarray(Image.open(io.BytesIO(code)).convert(mode)).astype(np.uint8)
