"""The user's own data: ``.npz``, ``.npy``, ``.csv``, or a folder of PNGs."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.errors import ZooError
from zoo.event import Event

DEFAULT_SPLIT = (0.8, 0.1, 0.1)
_SPLITS = ("train", "validation", "test")
_NUMPY_ERRORS = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, TokenError)
_PNG_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Contents:
    """What a file holds: one array under the name ``""`` or the three splits, column names, number of levels."""

    path: Path
    arrays: Mapping[str, Array]
    columns: Sequence[str] = ()
    levels: int | None = None

    def refuse(self, name: str, wrong: NDArray[np.bool_], expected: str) -> None:
        """Raise a `ZooError` that gives the position of the first wrong entry in the file's terms, if there is one."""
        places = np.argwhere(wrong)
        if not len(places):
            return
        index = tuple(map(int, places[0]))
        place = f"index {index}" + (f" of {name!r}" if name else "")
        if self.columns:
            place = f"data row {index[0] + 1}, column {self.columns[index[1]]!r}"
        value = self.arrays[name][index]
        raise ZooError(f"{self.path}: expected {expected}, got {value:g} at {place}; drop or repair such data")


def load_file(
    path: Path, *, split: tuple[float, float, float] | None = None, seed: int = 0, event: Event | None = None
) -> Dataset:
    """The data in a file or folder, checked.

    - ``.npz``: arrays ``train``, ``validation`` and ``test``, or one array; ``.npy``: one array; shape ``(n, ...)``.
    - ``.csv``: numbers and commas, one datum a line; the first line is a header unless all its cells are numbers.
    - a folder: its ``.png`` files by name, all of one size; grey ones are ``(h, w)``, coloured ones ``(3, h, w)``.

    One array is shuffled with ``seed`` and split by the shares ``split``. Without an ``event``, images have 256 levels;
    otherwise data of only 0 and 1 are binary, integers between 0 and 255 have one level more than the greatest of them,
    and everything else is real.

    Raises:
        ZooError: data that are unreadable, not numeric, not finite, of the wrong rank or size, or out of the event's
            levels; an empty split; a real column that is constant in the train split, whose density is unbounded.
    """
    contents = _read(path)
    arrays = {name: _numbers(contents, name) for name in contents.arrays}
    event = event or _infer(contents, arrays)
    data = {name: _shaped(contents, name, array, event) for name, array in arrays.items()}
    n, story = sum(map(len, data.values())), "split as in the file"
    if "" in data:
        shares = split or DEFAULT_SPLIT
        data = _divide(path, data[""], shares, seed)
        story = f"shuffled with seed {seed} and split {_slashed(shares)}"
    elif split is not None:
        raise ZooError(f"{path} holds its own train, validation and test; leave the split out")
    if event.support == "real":
        _refuse_constant(contents, data["train"])
    sizes = ", ".join(f"{len(data[name])} {name}" for name in _SPLITS)
    train, validation, test = (torch.from_numpy(np.ascontiguousarray(data[name])) for name in _SPLITS)
    name = path.resolve().name if path.is_dir() else path.stem
    return Dataset(name, event, train, validation, test, f"{n} data of {path}, {story}: {sizes}.")


def _read(path: Path) -> Contents:
    if path.is_dir():
        return _read_pngs(path)
    if not path.is_file():
        raise ZooError(f"there is no file or folder {path}; check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise ZooError(f"{path} is of an unknown kind: expected {', '.join(SUFFIXES)} or a folder of .png files")
    return _READERS[path.suffix.lower()](path)


def _read_numpy(path: Path) -> Contents:
    try:
        # Opened here, because numpy does not close a damaged archive.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return Contents(path, {"": loaded})
            arrays = {name: loaded[name] for name in loaded.files}
    except _NUMPY_ERRORS as error:
        raise ZooError(f"cannot read {path}: expected numpy arrays of numbers without pickles ({error})") from error
    if set(arrays) == set(_SPLITS):
        return Contents(path, arrays)
    if len(arrays) == 1:
        return Contents(path, {"": next(iter(arrays.values()))})
    raise ZooError(
        f"{path} holds {', '.join(sorted(arrays)) or 'no array'}; expected train, validation and test, or one array"
    )


def _read_csv(path: Path) -> Contents:
    import pandas as pd

    try:
        first = [
            str(cell).strip() for cell in pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False).iloc[0]
        ]
        header = not all(_is_number(cell) for cell in first if cell)
        # The header is read by itself: pandas silently takes the first cells of longer lines for an index.
        frame = pd.read_csv(path, header=None, skiprows=int(header))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {path} as numbers separated by commas: {str(error).strip()}") from error
    if header and not (all(first) and len(first) == frame.shape[1]):
        raise ZooError(f"{path}: the header does not name every column; name them all, or drop an index column")
    columns = first if header else [str(number) for number in range(1, frame.shape[1] + 1)]
    for column, dtype in zip(columns, frame.dtypes, strict=True):
        if not pd.api.types.is_numeric_dtype(dtype):
            raise ZooError(f"{path}: column {column!r} is not numeric; drop it or write it as numbers")
    return Contents(path, {"": frame.to_numpy(np.float64)}, columns)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_pngs(folder: Path) -> Contents:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    if not paths:
        raise ZooError(f"there is no .png file in the folder {folder}")
    images = [_read_png(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise ZooError(
                f"the images of a folder are all of one size: {path.name} is {_size(image)}, {paths[0].name} is "
                f"{_size(images[0])}; resize or remove it"
            )
    return Contents(folder, {"": np.stack(images)}, levels=256)


def _read_png(path: Path) -> Array:
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in _PNG_MODES:
                raise ZooError(
                    f"{path} is a PNG of mode {image.mode}; save it as 8-bit grey or RGB without transparency"
                )
            pixels = np.asarray(image.convert(_PNG_MODES[image.mode]))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ZooError(f"cannot read {path} as a PNG: {error}") from error
    return pixels if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _size(image: Array) -> str:
    return f"{image.shape[-2]}x{image.shape[-1]} {'grey' if image.ndim == 2 else 'colour'}"


def _numbers(contents: Contents, name: str) -> Floats:
    array = contents.arrays[name]
    label = f"{contents.path}{f', array {name!r}' if name else ''}"
    if array.dtype.kind not in "biuf":
        raise ZooError(f"{label}: expected real numbers, got {array.dtype}")
    if array.ndim < 2:
        raise ZooError(
            f"{label}: expected shape (n, ...), one datum a row, got {array.shape}; reshape it, e.g. to (n, 1)"
        )
    if not array.size:
        raise ZooError(f"{label} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    contents.refuse(name, ~np.isfinite(numbers), "finite numbers")
    return numbers


def _infer(contents: Contents, arrays: Mapping[str, Floats]) -> Event:
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ZooError(f"{contents.path}: the splits hold data of different shapes ({found}); expected one")
    entries = np.concatenate([array.ravel() for array in arrays.values()])
    whole = entries.min() >= 0 and entries.max() <= 255 and (entries == np.rint(entries)).all()
    levels = contents.levels or (max(2, int(entries.max()) + 1) if whole else "real")
    return Event(next(iter(shapes.values())), levels)


def _shaped(contents: Contents, name: str, array: Floats, event: Event) -> Floats:
    if array[0].size != event.size:
        raise ZooError(
            f"{contents.path}: a datum has shape {array.shape[1:]} ({array[0].size} numbers), the event {event} needs "
            f"{event.size}; name an event of that size"
        )
    if event.levels is not None:
        wrong = (array != np.rint(array)) | (array < 0) | (array >= event.levels)
        contents.refuse(name, wrong, f"data of {event} with levels 0 to {event.levels - 1}")
    return array.reshape(-1, *event.shape)


def _divide(path: Path, array: Floats, shares: tuple[float, float, float], seed: int) -> dict[str, Floats]:
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ZooError(f"a split is three positive shares that sum to 1, such as 0.8, 0.1, 0.1; got {_slashed(shares)}")
    n = len(array)
    validation, test = round(shares[1] * n), round(shares[2] * n)
    sizes = (n - validation - test, validation, test)
    if min(sizes) < 1:
        raise ZooError(
            f"{path}: {n} data split by {_slashed(shares)} leave {_slashed(sizes)} for {_slashed(_SPLITS)}; each needs "
            "at least one: bring more data or choose another split"
        )
    shuffled = array[np.random.default_rng(seed).permutation(n)]
    return dict(zip(_SPLITS, np.split(shuffled, [sizes[0], sizes[0] + validation]), strict=True))


def _slashed(values: Sequence[object]) -> str:
    return "/".join(map(str, values))


def _refuse_constant(contents: Contents, train: Floats) -> None:
    places = np.argwhere((train == train[0]).all(0))
    if not len(places):
        return
    place = tuple(map(int, places[0]))
    index = np.ravel_multi_index(place, train.shape[1:])
    column = f"column {contents.columns[int(index)]!r}" if contents.columns else f"the entry {place} of a datum"
    raise ZooError(
        f"{contents.path}: {column} is constant ({train[0][place]:g}) in the train split, so its density is unbounded; "
        "drop it"
    )


_READERS: Mapping[str, Callable[[Path], Contents]] = {".npz": _read_numpy, ".npy": _read_numpy, ".csv": _read_csv}
SUFFIXES = tuple(_READERS)
