"""New data for a trained model: the rows of a file or a data frame, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.data.files.arrays import by_usual_names, channels_first
from zoo.data.files.contents import Contents, Floats, Names, coded
from zoo.data.files.fields import packed, whole
from zoo.data.files.quantised import quantised
from zoo.data.files.read import path_and_settings, read, settings_of
from zoo.data.files.tables import TABLES, by_column, columns_of
from zoo.errors import ZooError
from zoo.event import Event

if TYPE_CHECKING:
    import pandas as pd


class NewRows(NamedTuple):
    """See `read_rows`."""

    x: Floats
    columns: Sequence[str]
    note: str


def read_rows(
    source: Path | pd.DataFrame,
    event: Event,
    columns: Sequence[str] = (),
    names: Names | None = None,
    settings: Mapping[str, Any] | None = None,
) -> NewRows:
    """The data of a file, a folder or a data frame in their order, for a model of ``event``.

    The label of images is left out for a model that has none. Values that are missing are NaN.

    Args:
        source: as for `zoo.data.load_data`; of a data frame the columns are what they are in a ``.csv``.
        event: of the model.
        columns: of the table that the model was trained on, for each entry of a datum. Where both tables have names,
            columns are taken by name, and others are left out.
        names: of the levels that the model was trained on, by field or column.
        settings: with which its data were read: those of the source's kind that the source itself does not state.

    Returns:
        The data, shape ``(n, *event.shape)``, the names of the columns, none for data that are no table, and what was
        changed in reading.

    Raises:
        ZooError: see `zoo.data.files.load.load_file`; a column that is missing.
    """
    if not isinstance(source, Path):
        contents = _of_table(Path("the data frame"), source, event, columns)
    else:
        path, own = path_and_settings(str(source))
        inherited = {name: value for name, value in (settings or {}).items() if name in settings_of(path)}
        if path.suffix.lower() in TABLES:
            of_file = {name: value for name, value in (inherited | own).items() if name in ("header", "decimal")}
            contents = _of_table(path, TABLES[path.suffix.lower()](path, **of_file)[0], event, columns)
        else:
            contents = by_usual_names(read(path, inherited | own), [field.name for field in event.fields])
            contents = channels_first(contents, event)
    contents = by_column(contents, event, ()) if contents.columns else contents
    contents = coded(quantised(contents, 0, names or {}), names or {})
    if not event.fields and contents.roles == {"y": "label"}:
        contents = replace(contents, arrays={"": contents.arrays["x"]})
    if event.fields:
        return NewRows(packed(contents, event, {}, missing=True)[1], (), contents.note)
    if set(contents.arrays) != {""}:
        raise ZooError(f"{contents.path} holds {', '.join(contents.arrays)}; rows to score are one array or table")
    return NewRows(whole(contents, event, missing=True)[1], contents.columns, contents.note)


def _of_table(path: Path, frame: pd.DataFrame, event: Event, columns: Sequence[str]) -> Contents:
    """The columns of a table that a model was trained on, or all where one of the tables has no names."""
    frame = frame.rename(columns=str)
    known = list(frame.columns)
    absent = [column for column in columns if column not in known]
    if columns and (not absent or (named(known) and named(columns))):
        if absent and not event.fields:
            raise ZooError(f"{path} has no column {absent[0]!r}, which the model was trained on")
        frame = frame[list(dict.fromkeys(column for column in columns if column in known))]
    return columns_of(path, frame)


def table_columns(path: Path) -> Sequence[str]:
    """The names of the columns of a table, in their order; empty for data that are none, or are no longer there."""
    return read(path, {}).columns if path.suffix.lower() in TABLES and path.is_file() else ()


def named(columns: Sequence[str]) -> bool:
    """Whether the columns of a table have names, rather than numbers from 1 on."""
    return list(columns) != [str(number) for number in range(1, len(columns) + 1)]
