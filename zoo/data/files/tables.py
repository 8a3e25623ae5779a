"""Tables: ``.csv``, and ``.parquet`` if pandas can read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.files.contents import Array, Contents, shortened
from zoo.data.files.dialect import is_number, sniff
from zoo.errors import ZooError
from zoo.event import Event

if TYPE_CHECKING:
    import pandas as pd

TIME = re.compile(
    r"\d{4}-\d\d?-\d\d?([T ]\d\d?:\d\d(:\d\d([.,]\d+)?)?\s*(Z|UTC|[+-]\d\d:?\d\d)?)?"
    r"|\d\d?[./-]\d\d?[./-]\d{2,4}([ T]\d\d?:\d\d(:\d\d)?)?|\d\d?:\d\d(:\d\d([.,]\d+)?)?"
)
"""Dates and times of day as people write them."""


LIKE_NUMBER = re.compile(r"[-+]?[$€£]\s*[\d.,]+|[-+]?[\d.,]+\s*[%$€£]|[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
"""Numbers as people print them, which would become levels."""
MISSING = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
"""Marks of a missing value that may be words as well."""


def read_csv(
    path: Path, *, columns: str | int = "", time: str | int = "", header: str = "auto", decimal: str = "auto"
) -> Contents:
    """Numbers and words, one datum a line, separated as `zoo.data.files.dialect.sniff` finds.

    A first column without a name numbers the rows, as pandas writes its index, and is left out.

    Args:
        path: a ``.csv`` file in UTF-8.
        columns: those that are read, such as ``age+income``, in this order; ``-id+name`` reads all others. By default
            all but those that hold times.
        time: a column of times: the earliest rows train, the next validate and the last test. It is no part of a datum.
        header, decimal: see `zoo.data.files.dialect.sniff`.
    """
    frame, note = frame_of_csv(path, header=header, decimal=decimal)
    return columns_of(path, frame, columns, time, note)


def read_parquet(path: Path, *, columns: str | int = "", time: str | int = "") -> Contents:
    """The columns of a ``.parquet`` file; its index is left out. See `read_csv`."""
    frame, note = frame_of_parquet(path)
    return columns_of(path, frame, columns, time, note)


def frame_of_csv(path: Path, *, header: str = "auto", decimal: str = "auto") -> tuple[pd.DataFrame, str]:
    """A file as a data frame of named columns, and what was decided in reading it."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    dialect = sniff(path, header, decimal)
    # The header is read by itself: pandas silently takes the first cells of longer lines for an index.
    plain: dict[str, Any] = {"header": None, "skiprows": dialect.skipped, "sep": dialect.separator}
    try:
        frame = pd.read_csv(path, decimal=dialect.decimal, **plain)
        # Among words pandas' marks of what is missing, such as None, may be words.
        if words := [column for column in frame if not is_numeric_dtype(frame[column].dtype)]:
            frame[words] = pd.read_csv(path, usecols=words, dtype=str, keep_default_na=False, na_values=[""], **plain)
    except pd.errors.EmptyDataError:
        raise ZooError(f"{path} has a header and no row") from None
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {path} as values separated by commas: {str(error).strip()}") from error
    names, note = list(dialect.names), dialect.note
    if len(names) == frame.shape[1] > 1 and (not names[0] or names[0].startswith("Unnamed:")):
        frame, names = frame.iloc[:, 1:], names[1:]
        note = "; ".join(filter(None, (note, "the first column has no name and is left out as an index")))
    if dialect.names and frame.shape[1] == len(names) + 1 > 2 and frame.iloc[:, -1].isna().all():
        frame = frame.iloc[:, :-1]  # lines but the header end in a separator
    while len(names) == frame.shape[1] > 1 and not names[-1] and frame.iloc[:, -1].isna().all():
        frame, names = frame.iloc[:, :-1], names[:-1]  # lines that end in a separator
    if dialect.names and not (all(names) and len(names) == frame.shape[1]):
        raise ZooError(f"{path}: the header does not name every column; name them all, or drop an index column")
    frame.columns = pd.Index(names or [str(number) for number in range(1, frame.shape[1] + 1)])
    return frame, note


def frame_of_parquet(path: Path) -> tuple[pd.DataFrame, str]:
    """A file as a data frame, and an empty note."""
    import pandas as pd

    try:
        return pd.read_parquet(path).rename(columns=str), ""
    except ImportError:
        raise ZooError(
            f"{path}: pandas reads .parquet by pyarrow; install pyarrow, or save the table as .csv"
        ) from None
    except (OSError, ValueError) as error:
        raise ZooError(f"cannot read {path} as a parquet file: {str(error).strip()}") from error


TABLES: Mapping[str, Callable[..., tuple[pd.DataFrame, str]]] = {".csv": frame_of_csv, ".parquet": frame_of_parquet}
"""Ending of a table's file -> what reads it as a data frame."""


def columns_of(
    path: Path, frame: pd.DataFrame, columns: str | int = "", time: str | int = "", note: str = ""
) -> Contents:
    """Columns of a data frame as arrays: numbers, or words. See `read_csv`.

    Raises:
        ZooError: there is no such column, two have one name, or one holds neither numbers nor words.
    """
    known, text, order = list(map(str, frame.columns)), str(columns), str(time)
    if len(set(known)) < len(known):
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ZooError(f"{path}: two columns are called {twice!r}; give them different names")
    names = [each.strip() for each in text.removeprefix("-").split("+") if each.strip()]
    for name in (*names, *filter(None, [order])):
        if name not in known:
            raise ZooError(f"{path} has the columns {shortened(known)}; there is no {name!r}")
    if order in names and not text.startswith("-"):
        raise ZooError(f"{path}: column {order!r} orders the rows and is no part of a datum; leave it out of columns=")
    others = [name for name in known if name not in (*names, order)]
    kept = others if not names or text.startswith("-") else list(dict.fromkeys(names))
    times = [name for name in kept if _holds_times(frame[name])]
    if times and kept is not others:
        raise ZooError(f"{path}: column {times[0]!r} holds times, which are no numbers; time={times[0]} splits by them")
    kept = [name for name in kept if name not in times]
    if not kept:
        raise ZooError(f"{path} has no column of numbers or words left; choose columns that are")
    notes = [note, *(f"column {name!r} holds times and is left out" for name in times)]
    return Contents(
        path,
        {name: _column(path, frame[name]) for name in kept},
        kept,
        times=_times(path, frame[order]) if order else None,
        note="; ".join(filter(None, notes)),
    )


def _holds_times(column: pd.Series) -> bool:
    """Whether all that is known of a column are times, or words that are times or dates."""
    from pandas.api.types import is_datetime64_any_dtype

    known = column.dropna()
    known = known[~known.isin(MISSING)]
    return is_datetime64_any_dtype(column.dtype) or (
        len(known) > 0 and all(isinstance(each, str) and TIME.fullmatch(each.strip()) is not None for each in known)
    )


def _times(path: Path, column: pd.Series) -> NDArray[np.float64]:
    """A column of numbers, or of times as ISO 8601 has them, as numbers that are ordered as they are."""
    import pandas as pd
    from pandas.api.types import is_numeric_dtype

    try:
        if not is_numeric_dtype(column.dtype):
            column = pd.to_datetime(column, format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        raise ZooError(
            f"{path}: column {column.name!r} is not ordered by time: expected numbers or times such as 2024-05-31 or "
            f"2024-05-31 08:00:00 ({str(error).strip()})"
        ) from None
    if column.isna().any():
        row = int(column.isna().to_numpy().argmax()) + 1
        raise ZooError(f"{path}: column {column.name!r} has no time in data row {row}; drop it, or fill the time in")
    return np.unique(column, return_inverse=True)[1].astype(np.float64)


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
    if marks := [each for each in known if each.strip() in MISSING]:
        raise ZooError(
            f"{path}: column {column.name!r} holds {marks[0]!r} in {len(marks)} rows, which may be a word or a missing "
            "value; write another word, or leave the cell empty"
        )
    if any(map(is_number, known)):
        number = next(each for each in known if is_number(each))
        word = next((each for each in known if not is_number(each)), "")
        if not word:
            raise ZooError(
                f"{path}: column {column.name!r} holds {known.iloc[0]!r}, which may be a date or a number with points "
                "of thousands; write plain numbers with one decimal mark in the whole file, or leave the column out"
            )
        raise ZooError(
            f"{path}: column {column.name!r} is not numeric: it holds {word!r} as well as {number!r}; drop it, or "
            "write it as numbers or as words"
        )
    if len(known) and all(LIKE_NUMBER.fullmatch(each.strip()) for each in known):
        raise ZooError(
            f"{path}: column {column.name!r} holds {known.iloc[0]!r}, a number with a unit or with commas of "
            "thousands; write plain numbers, or leave the column out"
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
