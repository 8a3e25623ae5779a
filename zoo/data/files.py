"""The user's own data: ``.npz``, ``.npy``, ``.csv``, or a folder of PNGs, which may lie in a folder for each class."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.errors import ZooError
from zoo.event import Event, Field

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_SPLIT = (0.8, 0.1, 0.1)
_SPLITS = ("train", "validation", "test")
_NUMPY_ERRORS = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, TokenError)
_PNG_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Contents:
    """What a file holds: one array under the name ``""``, the three splits or the fields; column names; levels."""

    path: Path
    arrays: Mapping[str, Array]
    columns: Sequence[str] = ()
    levels: int | None = None
    """Of an image."""
    classes: Sequence[str] = ()
    """Names of the levels of the label ``y`` of an image."""

    @property
    def roles(self) -> Mapping[str, str]:
        """The roles of fields that are not observed."""
        return {"y": "label"} if self.classes else {}

    @property
    def whole(self) -> bool:
        """It holds data of one array, or the three splits of such data."""
        return set(self.arrays) in ({""}, set(_SPLITS))

    def refuse(self, name: str, wrong: NDArray[np.bool_], expected: str) -> None:
        """Raise a `ZooError` that gives the position of the first wrong entry in the file's terms, if there is one."""
        places = np.argwhere(wrong)
        if not len(places):
            return
        index = tuple(map(int, places[0]))
        place = f"index {index}" + (f" of {name!r}" if name else "")
        if self.columns and (not name or len(index) == 1):
            place = f"data row {index[0] + 1}, column {name or self.columns[index[1]]!r}"
        value = self.arrays[name][index]
        raise ZooError(f"{self.path}: expected {expected}, got {value:g} at {place}; drop or repair such data")


def load_file(
    path: Path,
    *,
    split: tuple[float, float, float] | None = None,
    seed: int = 0,
    event: Event | None = None,
    roles: Mapping[str, str] | None = None,
) -> Dataset:
    """The data in a file or folder, checked.

    - ``.npz``: arrays ``train``, ``validation`` and ``test``; or one array; or the fields of a record by name.
    - ``.npy``: one array, shape ``(n, ...)``.
    - ``.csv``: numbers and commas, one datum a line; the first line is a header unless all its cells are numbers.
      Columns that ``roles`` or the event names are fields of their own; the others together are the field ``x``.
    - a folder: its ``.png`` files by name, all of one size; grey ones are ``(h, w)``, coloured ones ``(3, h, w)``. Of a
      folder with a folder for each class, the class is the label ``y``, counted by name.

    One array, or a record, is shuffled with ``seed`` and split by the shares ``split``. Without an ``event``, images
    have 256 levels; otherwise data of only 0 and 1 are binary, integers between 0 and 255 have one level more than the
    greatest of them, and everything else is real. A field is observed unless ``roles`` say otherwise.

    Raises:
        ZooError: data that are unreadable, not numeric, not finite, of the wrong rank or size, or out of the event's
            levels; an empty split; a real column that is constant in the train split, whose density is unbounded; a
            field that is not there, or of which there are fewer or more data than of the others.
    """
    roles = roles or {}
    contents = _read(path)
    named = {*roles, *(field.name for field in (event.fields if event else ()))}
    if named and contents.columns:
        contents = _by_column(contents, named, event)
    if named and contents.whole:
        raise ZooError(f"{path} has no field {min(named)!r}: fields are the arrays of an .npz or columns of a .csv")
    if contents.whole:
        arrays = {name: _numbers(contents, name) for name in contents.arrays}
        event = event or _infer(contents, arrays)
        data = {name: _shaped(contents, name, array, event) for name, array in arrays.items()}
    else:
        event, data = _packed(contents, event, roles)
    n, story = sum(map(len, data.values())), "split as in the file"
    if "" in data:
        shares = split or DEFAULT_SPLIT
        data = _divide(path, data[""], shares, seed)
        story = f"shuffled with seed {seed} and split {_slashed(shares)}"
    elif split is not None:
        raise ZooError(f"{path} holds its own train, validation and test; leave the split out")
    _refuse_constant(contents, event, data["train"])
    sizes = ", ".join(f"{len(data[name])} {name}" for name in _SPLITS)
    if contents.classes:
        sizes += f"; y is {', '.join(f'{label} for {name}' for label, name in enumerate(contents.classes))}"
    train, validation, test = (torch.from_numpy(np.ascontiguousarray(data[name])) for name in _SPLITS)
    name = path.resolve().name if path.is_dir() else path.stem
    return Dataset(name, event, train, validation, test, f"{n} data of {path}, {story}: {sizes}.")


def read_rows(source: Path | pd.DataFrame, event: Event, columns: Sequence[str] = ()) -> tuple[Array, Sequence[str]]:
    """The data of a file, a folder or a data frame in their order, for a model of ``event``.

    Args:
        source: as for `load_file`; of a data frame the columns are what they are in a ``.csv``.
        event: of the model.
        columns: of the table that the model was trained on, in its order. Where both tables have names, columns are
            taken by name, and others are left out.

    Returns:
        Shape ``(n, *event.shape)``, and the names of the columns; empty for data that are no table.

    Raises:
        ZooError: see `load_file`; a column that is missing.
    """
    contents = _framed(source) if not isinstance(source, Path) else _read(source)
    if named(contents.columns) and named(columns):
        absent = [column for column in columns if column not in contents.columns]
        if absent and not event.fields:
            raise ZooError(f"{contents.path} has no column {absent[0]!r}, which the model was trained on")
        kept = [column for column in columns if column not in absent]
        table = contents.arrays[""][:, [list(contents.columns).index(column) for column in kept]]
        contents = replace(contents, arrays={"": table}, columns=kept)
    if event.fields:
        names = {field.name for field in event.fields}
        contents = _by_column(contents, names, event) if contents.columns else contents
        return _packed(contents, event, {})[1][""], ()
    if set(contents.arrays) != {""}:
        raise ZooError(f"{contents.path} holds {', '.join(contents.arrays)}; rows to score are one array or table")
    return _shaped(contents, "", _numbers(contents, ""), event), contents.columns


def table_columns(path: Path) -> Sequence[str]:
    """The names of the columns of a table, in their order; empty for data that are none, or are no longer there."""
    return _read(path).columns if path.suffix.lower() == ".csv" and path.is_file() else ()


def named(columns: Sequence[str]) -> bool:
    """Whether the columns of a table have names, rather than numbers from 1 on."""
    return list(columns) != [str(number) for number in range(1, len(columns) + 1)]


def _framed(frame: pd.DataFrame) -> Contents:
    import pandas as pd

    for column, dtype in frame.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype):
            raise ZooError(f"column {column!r} is not numeric; drop it or write it as numbers")
    return Contents(Path("the data frame"), {"": frame.to_numpy(np.float64)}, [str(name) for name in frame.columns])


def _by_column(contents: Contents, named: Collection[str], event: Event | None) -> Contents:
    """The columns of those names as fields of their own; the others together as ``x``, or the event's main field.

    Where the event names a column for each of its fields, the other columns are left out.
    """
    table, columns = contents.arrays[""], contents.columns
    rest = [index for index, column in enumerate(columns) if column not in named]
    fields = {column: table[:, index] for index, column in enumerate(columns) if column in named}
    main = event.main.name if event and event.fields else "x"
    if rest and main not in fields:
        fields = {main: table[:, rest], **fields}
    elif rest and not (event and event.fields):
        raise ZooError(
            f"{contents.path}: column {columns[rest[0]]!r} is in no field, as 'x' is a column by itself; write an "
            "event of the columns that are meant, such as --event x=:real,y=:3@label"
        )
    return replace(contents, arrays=fields)


def _packed(contents: Contents, event: Event | None, roles: Mapping[str, str]) -> tuple[Event, dict[str, Floats]]:
    """The event of a record, and its data as one array."""
    arrays, known = contents.arrays, {field.name: field for field in event.fields} if event else {}
    names = list(known or arrays)
    if strange := [name for name in (*names, *roles) if name not in arrays or name not in names]:
        raise ZooError(f"{contents.path} has the fields {', '.join(arrays)}; there is no {strange[0]}")
    if event and not known:
        raise ZooError(f"{contents.path} has the fields {', '.join(arrays)}; write an event of these, not {event}")
    fields, values = [], {}
    for name in names:
        own = known.get(name)
        role = roles.get(name) or (own.role if own else contents.roles.get(name, "observed"))
        found = _numbers(contents, name, axes=1, missing=role == "label")
        support = own.levels or "real" if own else _support(found, contents.levels if found.ndim > 1 else None)
        fields.append(Field(name, own.shape if own else found.shape[1:], support, role, own.length if own else ""))
        values[name] = found.reshape(len(found), *fields[-1].shape) if found[0].size == fields[-1].size else found
    try:
        record = Event.record(*fields)
        return record, {"": record.pack(values).numpy()}
    except ZooError as error:
        raise ZooError(f"{contents.path}: {error}") from None


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
    if len(arrays) == 1:
        return Contents(path, {"": next(iter(arrays.values()))})
    if not arrays or (set(arrays) & set(_SPLITS) and set(arrays) != set(_SPLITS)):
        raise ZooError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no array'}; expected train, validation and test, or one "
            "array, or the fields of a record"
        )
    return Contents(path, arrays)


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
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = _pngs(folder) or [path for each in classes for path in _pngs(each)]
    if not files:
        raise ZooError(f"there is no .png file in the folder {folder}, nor in a folder of it")
    images = [_read_png(path) for path in files]
    for path, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise ZooError(
                f"the images of a folder are all of one size: {path.name} is {_size(image)}, {files[0].name} is "
                f"{_size(images[0])}; resize or remove it"
            )
    if files[0].parent == folder:
        return Contents(folder, {"": np.stack(images)}, levels=256)
    names = [each.name for each in classes if _pngs(each)]
    y = np.array([names.index(path.parent.name) for path in files])
    return Contents(folder, {"x": np.stack(images), "y": y}, levels=256, classes=names)


def _pngs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")


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


def _numbers(contents: Contents, name: str, axes: int = 2, missing: bool = False) -> Floats:
    """An array of the file as numbers, with ``axes`` or more axes; NaN is allowed if values may be ``missing``."""
    array = contents.arrays[name]
    label = f"{contents.path}{f', array {name!r}' if name else ''}"
    if array.dtype.kind not in "biuf":
        raise ZooError(f"{label}: expected real numbers, got {array.dtype}; write classes as numbers from 0 on")
    if array.ndim < axes:
        raise ZooError(
            f"{label}: expected shape (n, ...), one datum a row, got {array.shape}; reshape it, e.g. to (n, 1)"
        )
    if not array.size:
        raise ZooError(f"{label} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    expected = "finite numbers" if axes > 1 else "finite numbers (only a label may be missing)"
    contents.refuse(name, np.isinf(numbers) if missing else ~np.isfinite(numbers), expected)
    return numbers


def _infer(contents: Contents, arrays: Mapping[str, Floats]) -> Event:
    shapes = {name: array.shape[1:] for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ZooError(f"{contents.path}: the splits hold data of different shapes ({found}); expected one")
    entries = np.concatenate([array.ravel() for array in arrays.values()])
    return Event(next(iter(shapes.values())), _support(entries, contents.levels))


def _support(entries: Floats, levels: int | None) -> int | str:
    """The support of data of ``levels``, or that these entries show."""
    known = entries[~np.isnan(entries)]
    whole = known.size and known.min() >= 0 and known.max() <= 255 and (known == np.rint(known)).all()
    return levels or (max(2, int(known.max()) + 1) if whole else "real")


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


def _refuse_constant(contents: Contents, event: Event, train: Floats) -> None:
    """Refuse real observed entries that are constant in the train split."""
    for field in event.parts:
        values = event.unpack(torch.from_numpy(train))[field.name]
        if field.role != "observed" or field.levels is not None or values is None:
            continue
        places = (values == values[0]).all(0).nonzero()
        if not len(places):
            continue
        place = tuple(places[0].tolist())
        index = sum(p * s for p, s in zip(place, values.stride()[1:], strict=True))
        of_field = f" of {field.name!r}" if event.fields else ""
        named = contents.columns and not event.fields
        entry = f"column {contents.columns[index]!r}" if named else f"the entry {place} of a datum{of_field}"
        value = float(values[(0, *place)])
        raise ZooError(
            f"{contents.path}: {entry} is constant ({value:g}) in the train split, so its density is unbounded; drop it"
        )


_READERS: Mapping[str, Callable[[Path], Contents]] = {".npz": _read_numpy, ".npy": _read_numpy, ".csv": _read_csv}
SUFFIXES = tuple(_READERS)
