"""New data for a trained model: the rows of a file or a data frame, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.files.arrays import by_usual_names, channels_first
from zoo.data.files.contents import Contents, Floats, Names, coded
from zoo.data.files.fields import packed, whole
from zoo.data.files.read import path_and_settings, read, settings_of
from zoo.data.files.tables import by_column, columns_of
from zoo.errors import ZooError
from zoo.event import Event

if TYPE_CHECKING:
    import pandas as pd


def read_rows(
    source: Path | pd.DataFrame,
    event: Event,
    columns: Sequence[str] = (),
    names: Names | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Floats, Sequence[str]]:
    """The data of a file, a folder or a data frame in their order, for a model of ``event``.

    The label of images is left out for a model that has none.

    Args:
        source: as for `zoo.data.load_data`; of a data frame the columns are what they are in a ``.csv``.
        event: of the model.
        columns: of the table that the model was trained on, in its order. Where both tables have names, columns are
            taken by name, and others are left out.
        names: of the levels that the model was trained on, by field or column.
        settings: with which its data were read: those of the source's kind that the source itself does not state.

    Returns:
        Shape ``(n, *event.shape)``, and the names of the columns; empty for data that are no table.

    Raises:
        ZooError: see `zoo.data.files.load.load_file`; a column that is missing.
    """
    if isinstance(source, Path):
        path, own = path_and_settings(str(source))
        inherited = {name: value for name, value in (settings or {}).items() if name in settings_of(path)}
        contents = by_usual_names(read(path, inherited | own), [field.name for field in event.fields])
        contents = channels_first(contents, event)
    else:
        contents = columns_of(Path("the data frame"), source)
    if named(contents.columns) and named(columns):
        contents = _chosen(contents, columns, event)
    contents = coded(by_column(contents, event, ()) if contents.columns else contents, names or {})
    if not event.fields and contents.roles == {"y": "label"}:
        contents = replace(contents, arrays={"": contents.arrays["x"]})
    if event.fields:
        return packed(contents, event, {})[1], ()
    if set(contents.arrays) != {""}:
        raise ZooError(f"{contents.path} holds {', '.join(contents.arrays)}; rows to score are one array or table")
    return whole(contents, event)[1], contents.columns


def _chosen(contents: Contents, columns: Sequence[str], event: Event) -> Contents:
    """A table's columns of those names, in their order."""
    absent = [column for column in columns if column not in contents.arrays]
    if absent and not event.fields:
        raise ZooError(f"{contents.path} has no column {absent[0]!r}, which the model was trained on")
    kept = {column: contents.arrays[column] for column in columns if column not in absent}
    return replace(contents, arrays=kept, columns=list(kept))


def table_columns(path: Path) -> Sequence[str]:
    """The names of the columns of a table, in their order; empty for data that are none, or are no longer there."""
    return read(path, {}).columns if path.suffix.lower() in (".csv", ".parquet") and path.is_file() else ()


def named(columns: Sequence[str]) -> bool:
    """Whether the columns of a table have names, rather than numbers from 1 on."""
    return list(columns) != [str(number) for number in range(1, len(columns) + 1)]
