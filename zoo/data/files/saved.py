"""A whole `zoo.data.Dataset` in one file: its event, its three splits, and what its levels are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.files.contents import SPLITS, Names
from zoo.data.streamed import is_streamed
from zoo.data.units import Units
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_tensors

SUFFIX = ".safetensors"
KIND = "zoo data set"
BYTES = 256


def save_data(data: Dataset, path: Path | str) -> None:
    """Write a data set as safetensors, with a checksum; `zoo.load_data` of the path gives it again.

    Real entries are written as they are: standardise them before (`zoo.standardised`) if that is wanted.

    Args:
        data: any; levels take a byte each where that holds them.
        path: ends in ``.safetensors``; its stem is the name of the data that are read.

    Raises:
        ZooError: another ending, or data that are streamed from a file already.

    Example:
        >>> import tempfile, zoo
        >>> path = Path(tempfile.mkdtemp()) / "half-moons.safetensors"
        >>> moons = zoo.load_data("moons")
        >>> save_data(moons, path)
        >>> again = zoo.load_data(str(path))
        >>> again.name, again.fingerprint == moons.fingerprint
        ('half-moons', True)
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ZooError(f"a data set is written to a file that ends in {SUFFIX}, got {path}")
    if is_streamed(data.train):
        raise ZooError(f"{data.name} is streamed from a file, which is a data set by itself; name that file instead")
    splits = {word: _bytes(getattr(data, word), data) for word in SPLITS}
    if data.own is not None:
        splits |= {f"own_{word}": split for word, split in zip(SPLITS, data.own, strict=True)}
    note = {
        "kind": KIND,
        "event": str(data.event),
        "source": data.source,
        "binarise": data.binarise,
        "names": {field: list(words) for field, words in data.names.items()},
        "columns": list(data.columns),
        "units": data.units and data.units.to_json(),
        "rate": data.rate,
    }
    write_tensors(path, splits, note)


def load_saved(path: Path, event: Event | None, roles: Mapping[str, str], names: Names) -> Dataset:
    """What `save_data` wrote.

    Args:
        path: of the file.
        event: other shapes of the same data (see `zoo.data.Dataset.reshaped`).
        roles: of named fields.
        names: of the levels of other data, such as a trained model's, which have to be the same.

    Raises:
        ZooError: a damaged file or one of something else, such as weights; an event or names that differ.
    """
    try:
        tensors, note = read_tensors(path)
    except RunError as error:
        why = str(error).partition(";")[0]
        raise ZooError(f"cannot read it as a data set of zoo.data.save_data: {why}; write it again") from error
    if not isinstance(note, dict) or note.get("kind") != KIND:
        raise ZooError(f"{path} holds tensors but no data set: expected a file that zoo.data.save_data has written")
    train, validation, test = (tensors[word].float() for word in SPLITS)
    units = Units.from_json(note["units"]) if note["units"] else None
    data = Dataset(
        path.stem,
        Event.parse(note["event"]),
        train,
        validation,
        test,
        note["source"],
        binarise=note["binarise"],
        names={field: tuple(words) for field, words in note["names"].items()},
        columns=tuple(note["columns"]),
        units=units,
        own=(tensors["own_train"], tensors["own_validation"], tensors["own_test"]) if units else None,
        rate=note["rate"],
    )
    if strange := [field for field, words in names.items() if tuple(words) != data.names.get(field)]:
        raise ZooError(f"{path} names the levels of {strange[0]} otherwise than {', '.join(names[strange[0]])}")
    if roles:
        data = data.reshaped(data.event.with_roles(roles))
    return data if event is None else data.reshaped(event)


def _bytes(split: Tensor, data: Dataset) -> Tensor:
    """Levels of an array as bytes, where these hold them."""
    levels = None if data.event.fields or data.binarise else data.event.levels
    return split.to(torch.uint8) if levels and levels <= BYTES else split
