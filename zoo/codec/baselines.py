"""Standard codes on the same data, lossless and lossy: bytes for a whole split.

Every lossless code is decoded again and compared.
"""

from __future__ import annotations

import bz2
import io
import lzma
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zoo.codec.quantised import pack_symbols, rounded, unpack_symbols
from zoo.codec.rates import Point, measured
from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import cached_tensors

Pixels = NDArray[np.uint8]
MAX_SIDE = 16383
"""Of a WebP image, in pixels."""
PACKERS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "zlib": (lambda raw: zlib.compress(raw, 9), zlib.decompress),
    "bz2": (lambda raw: bz2.compress(raw, 9), bz2.decompress),
    "lzma": (lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
}
"""General compressors at their strongest setting: name -> (compress, decompress)."""
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6, "exact": True},
}
"""Lossless image formats at their strongest setting: name -> arguments of Pillow's ``save``."""
SWEEPS: dict[str, tuple[Sequence[int], Sequence[dict[str, Any]]]] = {
    "jpeg": (
        (1, 4, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 60, 70, 80, 90, 95),
        [{"format": "JPEG", "optimize": True, "progressive": progressive} for progressive in (False, True)],
    ),
    "webp": ((0, 1, 2, 3, 5, 10, 20, 30, 45, 60, 75, 85, 95), [{"format": "WEBP", "method": 6}]),
}
"""Lossy image formats: name -> (qualities, alternative arguments of Pillow's ``save``; the smallest file counts)."""
PCA_STEPS = (1.5, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05)
"""Quantisation steps of the principal components, in units of the largest one's standard deviation."""


def standard_codes(event: Event, x: Tensor, path: Path | None = None) -> dict[str, int]:
    """Bytes that each standard code takes for the data ``x``, shape ``(n, *event.shape)``, as integers 0 to K-1.

    ``zlib``, ``bz2`` and ``lzma`` compress all data in one piece: a byte per entry (more above 256 levels), binary data
    also eight entries per byte, whichever is smaller. Where a datum is an image (see `as_images`), ``png`` and ``webp``
    (lossless) compress each datum by itself, ``png_tiled`` and ``webp_tiled`` all data side by side in one image, which
    pays for one header. The number of data and their shape are not counted.

    Of a record, the fields that are given are left out, as they are from the zoo's own files; a missing label is one
    level more. Each field is compressed by itself; where one is no image, or larger as one, by the best general code.

    Args:
        event: of the data.
        x: the data.
        path: a cache; it must be of the same data, which is not checked.

    Raises:
        ZooError: the data are real, or a code does not decode to what it encoded.
    """

    def measured_sizes() -> dict[str, Tensor]:
        fields = [_field_sizes(*each) for each in _levels_of_fields(event, x)]
        if len(fields) == 1:
            return {name: torch.tensor(size) for name, size in fields[0].items()}
        total = {name: sum(sizes[name] for sizes in fields) for name in PACKERS}
        best = [min(sizes[name] for name in PACKERS) for sizes in fields]
        for name in {name for sizes in fields for name in sizes}.difference(PACKERS):
            each = [min(sizes.get(name, other), other) for sizes, other in zip(fields, best, strict=True)]
            if each != best:
                total[name] = sum(each)
        return {name: torch.tensor(size) for name, size in total.items()}

    sizes = cached_tensors(path, _settings(), measured_sizes)
    names = (*PACKERS, *(f"{name}{tiled}" for name in FORMATS for tiled in ("", "_tiled")))  # a file loses their order
    return {name: int(sizes[name]) for name in names if name in sizes}


def _levels_of_fields(event: Event, x: Tensor) -> Iterator[tuple[Event, NDArray[np.integer[Any]]]]:
    """What each field that is not given holds: as data of its own event, and as integers."""
    for field in event.parts:
        values = event.unpack(x)[field.name]
        if values is None or field.role == "given":
            continue
        own = field.event
        if field.levels is not None and bool(values.isnan().any()):
            own, values = Event(own.shape, field.levels + 1), values.nan_to_num(field.levels)
        yield own, as_levels(own, values.reshape(-1, *own.shape))


def _field_sizes(event: Event, levels: NDArray[np.integer[Any]]) -> dict[str, int]:
    sizes = {name: _packed(name, event, levels) for name in PACKERS}
    images = as_images(event, levels)
    if images is not None:
        for name in FORMATS:
            sizes[name] = sum(datum_bytes(name, event, images))
            sizes[f"{name}_tiled"] = _image_bytes(name, event, tiled(images))
    return sizes


def datum_bytes(name: str, event: Event, images: Pixels) -> list[int]:
    """Bytes that a lossless image format takes for each datum by itself, its header included.

    Args:
        name: a key of `FORMATS`.
        event: of the data.
        images: the data as `as_images` gives them.

    Raises:
        ZooError: a file does not decode to what it encoded.
    """
    return [_image_bytes(name, event, image) for image in images]


def references(event: Event, train: Tensor, x: Tensor, path: Path | None = None) -> dict[str, list[Point]]:
    """`image_points` of every format, and `pca_points` as ``pca``; cached at ``path`` like `standard_codes`.

    Raises:
        ZooError: see `pca_points`.
    """

    def measured_curves() -> dict[str, Tensor]:
        curves = {name: image_points(name, event, x) for name in SWEEPS} | {"pca": pca_points(event, train, x)}
        return {
            name: torch.tensor([[p.setting, p.bytes, p.peak, *p.errors] for p in points], dtype=torch.float64)
            for name, points in curves.items()
        }

    def point(row: Tensor) -> Point:
        setting, size, peak = row[:3].tolist()
        return Point(setting, int(size), row[3:].numpy(), peak)

    rows = cached_tensors(path, _settings(), measured_curves)
    return {name: [point(row) for row in rows[name]] for name in (*SWEEPS, "pca")}


def _settings() -> dict[str, str]:
    """What the sizes of standard codes depend on, besides the data."""
    return {"pillow": version("pillow"), "settings": str([FORMATS, SWEEPS, PCA_STEPS])}


def image_points(name: str, event: Event, x: Tensor) -> list[Point]:
    """The curve of an image format (a key of `SWEEPS`) for all data side by side in one image, header included.

    Levels are first scaled to 0 ... 255. Empty if a datum is no image. The setting is the quality.
    """
    images = None if event.levels is None else as_images(event, as_levels(event, x))
    if images is None:
        return []
    unit = (event.levels or 2) - 1
    sheet = tiled(np.rint(images * (255 / unit)).astype(np.uint8))
    qualities, ways = SWEEPS[name]
    points = []
    for quality in qualities:
        code = min((_saved(Image.fromarray(sheet), quality=quality, **way) for way in ways), key=len)
        back = untiled(_opened(code, "L" if images.ndim == 3 else "RGB"), *images.shape[:3])
        points.append(measured(event, quality, len(code), images, back * (unit / 255)))
    return points


def pca_points(event: Event, train: Tensor, x: Tensor) -> list[Point]:
    """The curve of principal components, rounded on one grid and entropy-coded as normal variables.

    Mean, basis and each component's deviation are those of the ``train`` data; like a model's weights they are known to
    both sides and not counted. The setting is the step, in data units.

    Raises:
        ZooError: the bytes do not decode to the components.
    """
    known, flat = (part.cpu().double().flatten(1).numpy() for part in (train, x))
    mean = known.mean(0)
    variances, basis = np.linalg.eigh(np.cov(known.T, ddof=0).reshape(len(mean), -1))
    deviations = np.sqrt(np.maximum(variances, 0))
    points = []
    for step in deviations.max() * np.array(PCA_STEPS):
        symbols = rounded((flat - mean) @ basis / step)
        packed = pack_symbols(symbols, deviations / step)
        if (unpack_symbols(packed, len(symbols), deviations / step) != symbols).any():
            raise ZooError("the bytes of the principal components did not decode to them")
        back = mean + step * symbols @ basis.T
        if event.levels is not None:
            back = np.clip(back, 0, event.levels - 1)
        points.append(measured(event, float(step), len(packed), flat, back))
    return points


def as_levels(event: Event, x: Tensor) -> NDArray[np.integer[Any]]:
    """Data as the smallest unsigned integers that hold their levels, shape ``(n, *event.shape)``."""
    if event.levels is None:
        raise ZooError(f"standard codes take data with levels, got {event}: round them and declare the levels")
    kind = np.uint8 if event.levels <= 256 else np.uint16 if event.levels <= 2**16 else np.uint32
    levels: NDArray[np.integer[Any]] = x.cpu().numpy().round().astype(kind)
    return levels


def as_images(event: Event, levels: NDArray[Any]) -> Pixels | None:
    """The data as images, ``(n, h, w)`` or ``(n, h, w, 3)``; ``None`` if they are none or have over 256 levels.

    A datum of two axes is a grey image; of three axes with three colours first, a colour image; of one axis, a square
    if its size is a square number, else a line.
    """
    if event.levels is None or event.levels > 256 or len(event.shape) > 3:
        return None
    if len(event.shape) == 3:
        return np.moveaxis(levels, 1, -1) if event.shape[0] == 3 else None
    side = math.isqrt(event.size)
    square = (side, side) if side * side == event.size else (1, event.size)
    return levels.reshape(-1, *(event.shape if len(event.shape) == 2 else square))


def tiled(images: Pixels) -> Pixels:
    """Images ``(n, h, w, ...)`` side by side in one near-square image, row by row; the last row is padded by zeros.

    Raises:
        ZooError: the image would be larger than `MAX_SIDE`.
    """
    count, height, width, *colours = images.shape
    columns = max(1, min(count, round(math.sqrt(count * height / width))))
    lines = math.ceil(count / columns)
    if max(lines * height, columns * width) > MAX_SIDE:
        raise ZooError(f"{count} images of {height}x{width} do not fit into one of side {MAX_SIDE}: code fewer data")
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
    compress, decompress = PACKERS[name]
    raws = [levels.tobytes()] + ([np.packbits(levels).tobytes()] if event.support == "binary" else [])
    codes = [compress(raw) for raw in raws]
    if [decompress(code) for code in codes] != raws:
        raise ZooError(f"{name} did not decode to what it encoded")
    return min(map(len, codes))


def _image_bytes(name: str, event: Event, pixels: Pixels) -> int:
    bits = name == "png" and event.support == "binary" and pixels.ndim == 2
    image = Image.fromarray(pixels * np.uint8(255)).convert("1") if bits else Image.fromarray(pixels)
    code = _saved(image, **FORMATS[name])
    if (_opened(code, image.mode) != pixels).any():
        raise ZooError(f"{name} did not decode to what it encoded")
    return len(code)


def _saved(image: Image.Image, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **settings)
    return file.getvalue()


def _opened(code: bytes, mode: str) -> Pixels:
    """The pixels of a file in the mode of the original image; WebP decodes grey images to colours."""
    return np.asarray(Image.open(io.BytesIO(code)).convert(mode)).astype(np.uint8)
