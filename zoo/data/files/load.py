"""A data set of what a file holds: its event, checked values, and three splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data.atoms import in_units
from zoo.data.dataset import Dataset
from zoo.data.files.arrays import by_usual_names, channels_first
from zoo.data.files.contents import SPLITS, Contents, Names, coded, shortened
from zoo.data.files.fields import packed, scaled_to_levels, whole
from zoo.data.files.missing import filled, require_fillable
from zoo.data.files.quantised import quantised
from zoo.data.files.read import read
from zoo.data.files.saved import SUFFIX as SAVED
from zoo.data.files.saved import load_saved
from zoo.data.files.splits import divided
from zoo.data.files.streaming import is_large, streamed
from zoo.data.files.tables import by_column
from zoo.data.labels import with_labels
from zoo.data.units import incomplete
from zoo.data.units import places as places_of
from zoo.errors import ZooError
from zoo.event import Event

OF_VALUES: Mapping[str, Any] = {"missing": "", "quantise": 0, "quantile": ""}
"""Settings of what becomes of values, whatever the kind of file, and what they are by default."""


def load_file(
    path: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    split: tuple[float, float, float] | None = None,
    seed: int = 0,
    event: Event | None = None,
    roles: Mapping[str, str] | None = None,
    names: Names | None = None,
) -> Dataset:
    """The data in a file or folder, checked.

    - ``.npz``: one array; or ``train``, ``validation`` and ``test``; or ``images`` and ``labels``, or these of each
      split, such as ``x_train``; or the fields of a record by name. ``.npy``: one array, shape ``(n, ...)``. Images of
      bytes with the channels last, ``(n, h, w, 3)``, become ``(n, 3, h, w)``.
      A ``.npy`` of bytes of 256 MiB or more is streamed (`zoo.data.files.streaming`).
    - ``.csv``: one datum a line, as `zoo.data.files.dialect.sniff` reads it. ``.parquet``: a table, if pyarrow is
      installed. Columns of times are left out. Columns that ``roles`` or the event names are fields of their own; the
      others together are the field ``x``. Settings: ``columns=age+income``, or ``columns=-id`` for all others;
      ``time=when`` for a split in the order of a column; ``quantile=income`` for heavy tails, or ``quantile=all`` (see
      `zoo.data.quantiles`); ``quantise=64`` for that many levels instead of real numbers (see
      `zoo.data.files.quantised`); ``header=yes`` or ``no``; ``decimal=comma`` or ``point``.
    - a folder: its ``.png`` and ``.jpg`` files by name; grey ones are ``(h, w)``, coloured ones ``(3, h, w)``. In a
      folder with a folder for each class, the class is the label ``y``. Settings: ``mode=grey`` or ``rgb``;
      ``size=32``, ``crop=32`` or ``tile=32``. Of a folder with ``.wav`` files: as of one.
    - ``.wav``: windows of a recording, with 256 levels (see `zoo.data.files.sounds.read_sound`). Settings:
      ``window=256``, ``past=1023`` for records with the samples before, ``encoding=mulaw`` or ``linear``, ``channel=``.
    - ``.txt``: lines, which are sequences of characters, or windows (see `zoo.data.files.texts.read_text`). Settings:
      ``cut=100``, ``window=256``.
    - ``.safetensors``: a whole data set, with its event and its split (see `zoo.data.files.saved.save_data`).

    Words in an array or a column, and names of classes, are levels: each is its place among the sorted words. Data with
    the fields ``x`` and the label ``y`` take the settings ``labels`` and ``unlabelled`` of `zoo.data.labels`;
    ``labels=0`` leaves the labels out. Data that lack values are refused unless ``missing=drop`` leaves them out, or
    ``missing=impute`` fills in those of the train split by draws of a Gaussian and leaves out the others.

    One array, or a record, is shuffled with ``seed`` and split by the shares ``split``. Without an ``event``, images
    have 256 levels; otherwise data of only 0 and 1 are binary, integers between 0 and 255 have one level more than the
    greatest of them, and everything else is real. A field is observed unless ``roles`` say otherwise.

    Args:
        path: the file or folder.
        settings: of its kind, by name.
        split, seed, event, roles: see `zoo.data.load_data`.
        names: field or column -> the words that are its levels, in this order: those of the data of a trained model.

    Raises:
        ZooError: data that are unreadable, not numeric, not finite, of the wrong rank or size, or out of the event's
            levels; an empty split; a real column that is constant in the train split, whose density is unbounded; a
            field that is not there, or of which there are fewer or more data than of the others.
    """
    roles, settings = roles or {}, dict(settings or {})
    if path.suffix.lower() == SAVED and path.is_file():
        if settings or split:
            raise ZooError(f"{path} is a data set with its own split and takes neither settings nor a split")
        return load_saved(path, event, roles, names or {})
    if is_large(path):
        return streamed(path, settings=settings, split=split, seed=seed, event=event, roles=roles)
    labels, unlabelled = settings.pop("labels", "all"), settings.pop("unlabelled", True)
    missing, levels, quantile = (settings.pop(word, none) for word, none in OF_VALUES.items())
    if missing not in ("", "drop", "impute"):
        raise ZooError(f"{path}: missing is drop or impute, got {missing!r}")
    named = [*roles, *(field.name for field in (event.fields if event else ()))]
    contents = channels_first(by_usual_names(read(path, settings), named), event)
    contents = by_column(contents, event, roles) if contents.columns else contents
    contents = coded(quantised(contents, levels, names or {}), names or {})
    relabelled = (labels, unlabelled) != ("all", True)
    if relabelled and (set(contents.arrays) != {"x", "y"} or "y" not in contents.roles):
        raise ZooError(f"{path} has no label y by itself, so it takes neither labels= nor unlabelled=")
    contents = scaled_to_levels(contents, event)
    if "" in contents.arrays:
        if named:
            raise ZooError(f"{path} has no field {named[0]!r}: fields are arrays of an .npz or columns of a table")
        kind, array = whole(contents, event, missing != "")
    else:
        kind, array = packed(contents, None if relabelled else event, roles, missing != "")
    absent = incomplete(kind, torch.from_numpy(array)).numpy()
    if missing == "drop" and absent.any():
        contents = contents.of_rows(~absent, f"{absent.sum()} data that lack a value are left out")
        array, absent = array[~absent], absent[~absent]
    places, story = divided(contents, len(array), split, seed)
    if absent.any():
        require_fillable(path, kind, array)
        places = {word: rows if word == "train" else rows[~absent[rows]] for word, rows in places.items()}
        filled_in, left_out = absent[places["train"]].sum(), len(array) - sum(map(len, places.values()))
        story += f", {filled_in} train data filled in by draws of a Gaussian and {left_out} others left out for lack"
    for word in SPLITS:
        if not len(places[word]):
            raise ZooError(f"{path}: no datum of {word} is complete; bring more, or leave out the columns that lack")
    splits = {word: torch.from_numpy(np.ascontiguousarray(array[places[word]])) for word in SPLITS}
    raw = [split.float() for split in splits.values()]
    columns = _entries(contents, kind) if contents.columns else ()
    transformed = _transformed(path, columns, quantile)
    units, splits = in_units(kind, splits, str(path), lambda entry: _name(contents, kind, entry), seed, transformed)
    if units and absent.any():
        train, real = splits["train"].flatten(1), places_of(kind) >= 0
        train[:, real] = filled(train[:, real], torch.Generator().manual_seed(seed))
        splits["train"] = train.reshape(raw[0].shape)
        raw[0] = torch.where(raw[0].isnan(), units.restore(splits["train"]).float(), raw[0])
    sizes = ", ".join(f"{len(places[word])} {word}" for word in SPLITS)
    of_quantiles = shortened([columns[entry] for entry in transformed])
    notes = (
        contents.note,
        f"{of_quantiles} transformed to quantiles of a normal" if transformed else "",
        *(f"{part} is {_numbered(words)}" for part, words in contents.names.items() if not levels),
    )
    source = "; ".join((f"{len(array)} data of {path}, {story}: {sizes}", *filter(None, notes)))
    name = path.resolve().name if path.is_dir() else path.stem
    train, validation, test = (splits[word] for word in SPLITS)
    data = Dataset(
        name,
        kind,
        train,
        validation,
        test,
        f"{source}.",
        names=contents.names,
        columns=columns,
        units=units,
        own=(raw[0], raw[1], raw[2]) if units else None,
        rate=contents.rate,
    )
    if relabelled:
        data = _relabelled(data, labels, unlabelled, seed)
        data = data.reshaped(event) if event else data
    return data


def _transformed(path: Path, columns: Sequence[str], quantile: str | int) -> list[int]:
    """The entries whose columns are transformed to quantiles."""
    named = [each.strip() for each in str(quantile).split("+")] if quantile else []
    if named == ["all"] and "all" not in columns:
        return list(range(len(columns)))
    if strange := [name for name in named if name not in columns]:
        known = f"has the columns {shortened(list(columns))}" if columns else "is no table"
        raise ZooError(f"{path} {known}; there is no {strange[0]!r} to transform to quantiles")
    return [place for place, column in enumerate(columns) if column in named]


def _numbered(words: Sequence[str]) -> str:
    return shortened([f"{level} for {word if word.strip() else repr(word)}" for level, word in enumerate(words)])


def _relabelled(data: Dataset, labels: int | str, unlabelled: bool, seed: int) -> Dataset:
    """Data of the fields ``x`` and ``y`` with some of the labels, or none."""
    event, splits = data.event, (data.train, data.validation, data.test)
    if event.fields[1].levels is None or any(event.missing(split).any() for split in splits):
        raise ZooError(f"{data.name}: labels= chooses among data that all have a class, and not all have one")
    y = [event.unpack(split)["y"] for split in splits]
    alone = data.map(event.main_of, event=event.array)
    labelled = with_labels(alone, [each for each in y if each is not None], labels, unlabelled, seed)
    names = [field.name for field in event.parts for _ in range(field.size)]
    entries = [entry for field in labelled.event.parts for entry, name in enumerate(names) if name == field.name]
    return replace(
        labelled,
        units=data.units and data.units.of_entries(entries),
        columns=[data.columns[entry] for entry in entries] if data.columns else (),
    )


def _entries(contents: Contents, event: Event) -> tuple[str, ...]:
    """The column of each entry of a datum of a table."""
    rest = [column for column in contents.columns if column not in {field.name for field in event.fields}]
    found = list[str]()
    for field in event.parts:
        found += rest if field.size == len(rest) and field.name not in contents.columns else [field.name] * field.size
    return tuple(found)


def _name(contents: Contents, event: Event, entry: int) -> str:
    """An entry of a datum in the file's terms."""
    for field in event.parts:
        if entry < field.size:
            break
        entry -= field.size
    if contents.columns and (field.name in contents.columns or field.size == len(contents.columns)):
        column = field.name if event.fields and field.name in contents.columns else contents.columns[entry]
        return f"column {column!r}"
    place = tuple(int(each) for each in np.unravel_index(entry, field.shape or (1,)))
    return f"the entry {place} of a datum{f' of {field.name!r}' if event.fields else ''}"
