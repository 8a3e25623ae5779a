"""Data larger than memory: a ``.npy`` of bytes whose train split stays in the file, and how a folder becomes one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from zoo.data import streamed as rows
from zoo.data.dataset import Dataset
from zoo.data.files.arrays import CHANNELS
from zoo.data.files.images import each_image
from zoo.data.files.read import path_and_settings
from zoo.data.files.splits import DEFAULT_SPLIT, parts_of, slashed
from zoo.data.streamed import StreamedRows
from zoo.errors import ZooError
from zoo.event import Event

HELD_OUT_NUMBERS = 2**26
"""Entries of the validation data, and of the test data, at most: they are held in memory."""
BYTES = 256


def is_large(path: Path) -> bool:
    """Whether a file is a ``.npy`` of bytes, of two axes or more, that is large enough to be streamed."""
    if path.suffix.lower() != ".npy" or not path.is_file() or path.stat().st_size < rows.FROM:
        return False
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False  # whoever reads it says what is wrong
    return bool(found.dtype == np.uint8 and found.ndim > 1)


def streamed(
    path: Path,
    *,
    settings: Mapping[str, Any],
    split: tuple[float, float, float] | None,
    seed: int,
    event: Event | None,
    roles: Mapping[str, str],
) -> Dataset:
    """A data set whose train split is read from the file batch by batch; see `zoo.data.files.load.load_file`.

    It is split as a smaller file would be, but validation and test have at most 2^26 entries each, and what they leave
    trains. The order of batches depends on the seed only, so a run that was stopped goes on with the same batches.

    Raises:
        ZooError: settings, roles or an event of fields, which streamed data do not have; channels that are last;
            values beyond the event's levels.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if settings or roles or (event and event.fields):
        raise ZooError(f"{path} is streamed, one array of levels, and takes no settings and no fields: leave them out")
    if array.ndim == 4 and array.shape[3] in CHANNELS and array.shape[1] not in CHANNELS:
        raise ZooError(f"{path} has its channels last, which cannot be streamed: save np.moveaxis(x, -1, 1)")
    event = event or Event(array.shape[1:], BYTES)
    n, size = len(array), int(np.prod(array.shape[1:]))
    if event.size != size or event.levels is None:
        raise ZooError(f"{path}: a datum has {size} levels and is streamed, so the event cannot be {event}")
    shares, most = split or DEFAULT_SPLIT, max(1, HELD_OUT_NUMBERS // size)
    _, validation, test = (min(count, most) for count in parts_of(path, n, shares))
    places = np.random.default_rng(seed).permutation(n)
    train = StreamedRows(path, places[: n - validation - test], event.shape)
    if event.levels < BYTES:
        _require_levels(path, array, event.levels)
    held_out = StreamedRows(path, places[n - validation - test :], event.shape)[:]
    source = (
        f"{n} data of {path}, shuffled with seed {seed} and split {slashed(shares)}, at most {most} of validation and "
        f"of test: {len(train)} train, read from the file, {validation} validation, {test} test."
    )
    return Dataset(path.stem, event, cast(Tensor, train), held_out[:validation], held_out[validation:], source)


def _require_levels(path: Path, array: Any, levels: int) -> None:
    step = max(1, rows.PIECE // max(1, int(np.prod(array.shape[1:]))))
    largest = max(int(array[first : first + step].max()) for first in range(0, len(array), step))
    if largest >= levels:
        raise ZooError(f"{path}: expected levels 0 to {levels - 1}, got {largest}; drop or repair such data")


def pack_folder(spec: str, out: Path) -> tuple[int, ...]:
    """Write the images of a folder into a new ``.npy`` of bytes, one after the other.

    Args:
        spec: the folder, with the settings of `zoo.data.files.images.read_images` behind a colon.
        out: the file.

    Returns:
        The shape of the file's array.

    Raises:
        ZooError: no folder of images, images that differ in size or mode, or a file that is there.
    """
    folder, settings = path_and_settings(spec)
    if not folder.is_dir() or not {*settings} <= {"mode", "size", "crop", "tile"}:
        raise ZooError(f"pack takes a folder of images with mode=, and size=, crop= or tile=; got {spec}")
    if out.exists() or out.suffix != ".npy":
        raise ZooError(f"images are packed into a new file that ends in .npy, got {out}")
    shapes = Counter(image.shape for image in each_image(folder, **settings))
    if len(shapes) > 1:
        found = ", ".join("x".join(map(str, shape)) for shape in list(shapes)[:3])
        raise ZooError(f"images are packed if all are of one size and mode, got {found}; give mode= and size= or crop=")
    (shape,) = shapes
    file = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=(shapes[shape], *shape))
    for place, image in enumerate(each_image(folder, **settings)):
        file[place] = image
    file.flush()
    return tuple(file.shape)
