"""A data set of what a file holds: its event, checked values, and three splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data.dataset import Dataset
from zoo.data.files.arrays import by_usual_names, channels_first
from zoo.data.files.contents import SPLITS, Contents, Floats, Names, coded, shortened
from zoo.data.files.fields import packed, whole
from zoo.data.files.read import read
from zoo.data.files.splits import divided
from zoo.data.files.tables import by_column
from zoo.data.labels import with_labels
from zoo.errors import ZooError
from zoo.event import Event


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
    - ``.csv``: one datum a line; the first line is a header unless all its cells are numbers. ``.parquet``: a table, if
      pyarrow is installed. Columns that ``roles`` or the event names are fields of their own; the others together are
      the field ``x``.
    - a folder: its ``.png`` and ``.jpg`` files by name; grey ones are ``(h, w)``, coloured ones ``(3, h, w)``. In a
      folder with a folder for each class, the class is the label ``y``. Settings: ``mode=grey`` or ``rgb``,
      ``size=32``. Of a folder with ``.wav`` files: as of one.
    - ``.wav``: windows of a recording, with 256 levels (see `zoo.data.files.sounds.read_sound`). Settings:
      ``window=256``, ``encoding=mulaw`` or ``linear``, ``channel=0``.
    - ``.txt``: lines, which are sequences of characters, or windows (see `zoo.data.files.texts.read_text`). Settings:
      ``cut=100``, ``window=256``.

    Words in an array or a column, and names of classes, are levels: each is its place among the sorted words. Data with
    the fields ``x`` and the label ``y`` take the settings ``labels`` and ``unlabelled`` of `zoo.data.labels`;
    ``labels=0`` leaves the labels out.

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
    labels, unlabelled = settings.pop("labels", "all"), settings.pop("unlabelled", True)
    named = [*roles, *(field.name for field in (event.fields if event else ()))]
    contents = channels_first(by_usual_names(read(path, settings), named), event)
    contents = coded(by_column(contents, event, roles) if contents.columns else contents, names or {})
    relabelled = (labels, unlabelled) != ("all", True)
    if relabelled and (set(contents.arrays) != {"x", "y"} or "y" not in contents.roles):
        raise ZooError(f"{path} has no label y by itself, so it takes neither labels= nor unlabelled=")
    if "" in contents.arrays:
        if named:
            raise ZooError(f"{path} has no field {named[0]!r}: fields are arrays of an .npz or columns of a table")
        kind, array = whole(contents, event)
    else:
        kind, array = packed(contents, None if relabelled else event, roles)
    places, story = divided(contents, len(array), split, seed)
    train, validation, test = (torch.from_numpy(np.ascontiguousarray(array[places[word]])) for word in SPLITS)
    sizes = ", ".join(f"{len(places[word])} {word}" for word in SPLITS)
    notes = (contents.note, *(f"{part} is {_numbered(words)}" for part, words in contents.names.items()))
    source = "; ".join((f"{len(array)} data of {path}, {story}: {sizes}", *filter(None, notes)))
    name = path.resolve().name if path.is_dir() else path.stem
    data = Dataset(name, kind, train, validation, test, f"{source}.", names=contents.names)
    if relabelled:
        data = _relabelled(data, labels, unlabelled, seed)
        data = data.reshaped(event) if event else data
    _refuse_constant(contents, data.event, data.train.numpy())
    return data


def _numbered(words: Sequence[str]) -> str:
    return shortened([f"{level} for {word if word.strip() else repr(word)}" for level, word in enumerate(words)])


def _relabelled(data: Dataset, labels: int | str, unlabelled: bool, seed: int) -> Dataset:
    """Data of the fields ``x`` and ``y`` with some of the labels, or none."""
    event, splits = data.event, (data.train, data.validation, data.test)
    if event.fields[1].levels is None or any(event.missing(split).any() for split in splits):
        raise ZooError(f"{data.name}: labels= chooses among data that all have a class, and not all have one")
    y = [event.unpack(split)["y"] for split in splits]
    alone = data.map(event.main_of, event=event.array)
    return with_labels(alone, [each for each in y if each is not None], labels, unlabelled, seed)


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
