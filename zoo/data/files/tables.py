"""Tables: ``.csv``, and ``.parquet`` if pandas can read it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.files.contents import Array, Contents, shortened
from zoo.errors import ZooError
from zoo.event import Event

if TYPE_CHECKING:
    import pandas as pd


def read_csv(path: Path) -> Contents:
    """Numbers and words separated by commas, one datum a line; the first line is a header unless all are numbers."""
    import pandas as pd

    try:
        first = [
            str(cell).strip() for cell in pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False).iloc[0]
        ]
        header = not all(_is_number(cell) for cell in first if cell)
        # The header is read by itself: pandas silently takes the first cells of longer lines for an index.
        frame = pd.read_csv(path, header=None, skiprows=int(header))
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {path} as values separated by commas: {str(error).strip()}") from error
    if header and not (all(first) and len(first) == frame.shape[1]):
        raise ZooError(f"{path}: the header does not name every column; name them all, or drop an index column")
    frame.columns = pd.Index(first if header else [str(number) for number in range(1, frame.shape[1] + 1)])
    return columns_of(path, frame)


def read_parquet(path: Path) -> Contents:
    """The columns of a ``.parquet`` file; its index is left out."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise ZooError(
            f"{path}: pandas reads .parquet by pyarrow; install pyarrow, or save the table as .csv"
        ) from None
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {path} as a parquet file: {str(error).strip()}") from error
    return columns_of(path, frame.rename(columns=str))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def columns_of(path: Path, frame: pd.DataFrame) -> Contents:
    """Each column as an array by itself: numbers, or words."""
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ZooError(f"{path}: two columns are called {twice!r}; give them different names")
    return Contents(path, {str(name): _column(path, frame[name]) for name in frame.columns}, list(frame.columns))


def _column(path: Path, column: pd.Series) -> Array:
    from pandas.api.types import is_numeric_dtype, is_object_dtype, is_string_dtype

    if is_numeric_dtype(column.dtype):
        numbers: Array = column.to_numpy(np.float64, na_value=np.nan)
        return numbers
    known = column.dropna()
    if not is_string_dtype(column.dtype) and not is_object_dtype(column.dtype) and column.dtype != "category":
        raise ZooError(f"{path}: column {column.name!r} holds {column.dtype}; write it as numbers or words")
    if not all(isinstance(each, str) for each in known):
        kinds = sorted({type(each).__name__ for each in known})
        raise ZooError(f"{path}: column {column.name!r} holds {' and '.join(kinds)}; write it as numbers or words")
    if any(map(_is_number, known)):
        number = next(each for each in known if _is_number(each))
        word = next(each for each in known if not _is_number(each))
        raise ZooError(
            f"{path}: column {column.name!r} is not numeric: it holds {word!r} as well as {number!r}; drop it, or "
            "write it as numbers or as words"
        )
    return column.astype(object).fillna("").to_numpy(dtype=str)


def by_column(contents: Contents, event: Event | None, roles: Collection[str]) -> Contents:
    """A table as one array, or as a record: columns with ``roles`` or of the event's fields, and ``x`` of all others.

    Where the event names a column for each of its fields, the other columns are left out.
    """
    table, named = contents.arrays, {*roles, *(field.name for field in (event.fields if event else ()))}
    if strange := [name for name in roles if name not in table]:
        raise ZooError(f"{contents.path} has the columns {shortened(list(table))}; there is no {strange[0]}")
    rest = [column for column in table if column not in named]
    fields = {column: values for column, values in table.items() if column in named}
    main = event.main.name if event and event.fields else "x"
    if not fields:
        return replace(contents, arrays={"": _joined(contents, rest)})
    if not rest or main in fields:
        if rest and not (event and event.fields):
            raise ZooError(
                f"{contents.path}: column {rest[0]!r} is in no field, as 'x' is a column by itself; write an event of "
                "the columns that are meant, such as --event x=:real,y=:3@label"
            )
        return replace(contents, arrays=fields, columns=list(fields))
    return replace(contents, arrays={main: _joined(contents, rest), **fields}, columns=rest)


def _joined(contents: Contents, columns: list[str]) -> Array:
    """Columns as one array; words and numbers have no common support."""
    table = contents.arrays
    words = [column for column in columns if table[column].dtype.kind == "U"]
    if words and len(words) < len(columns):
        found = shortened([str(word) for word in np.unique(table[words[0]]) if word], 3)
        raise ZooError(
            f"{contents.path}: column {words[0]!r} holds words ({found}), which are levels and have no place among "
            f"numbers; give it a role, such as --field {words[0]}=label, or leave it out"
        )
    return np.stack([table[column] for column in columns], 1)
