"""Numpy's files: ``.npy`` and ``.npz``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError

import numpy as np

from zoo.data.files.contents import SPLITS, Array, Contents
from zoo.errors import ZooError
from zoo.event import Event

_ERRORS = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, TokenError)
_SPLIT_WORDS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_FIELD_WORDS = {
    **dict.fromkeys(("x", "data", "images", "features"), "x"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets"), "y"),
}
CHANNELS = (1, 3, 4)


def read_numpy(path: Path) -> Contents:
    """One array of a ``.npy`` or ``.npz``, its splits, or the fields of a record by name.

    Names as people have them are understood: ``images`` and ``labels``, ``x_train`` and ``y_test``, ``val_images``.
    """
    try:
        # Opened here, because numpy does not close a damaged archive.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        for name, array in arrays.items():
            if array.dtype.kind == "S":
                arrays[name] = np.char.decode(array, "utf-8")
    except _ERRORS as error:
        raise ZooError(
            f"cannot read {path}: expected numpy arrays of numbers or words without pickles ({error}); save objects by "
            "array.astype(float) or array.astype(str)"
        ) from error
    if len(arrays) == 1:
        return Contents(path, {"": next(iter(arrays.values()))})
    meant = [_meaning(name) for name in arrays]
    if arrays and all(split for _, split in meant):
        if len(set(meant)) < len(meant):
            raise ZooError(f"{path} holds {', '.join(sorted(arrays))}, of which two are the same; leave one out")
        return _split(path, dict(zip(meant, arrays.values(), strict=True)))
    if not arrays or set(arrays) & set(SPLITS):
        raise ZooError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no array'}; expected train, validation and test, or one "
            "array, or the fields of a record"
        )
    return Contents(path, arrays)


def by_usual_names(contents: Contents, named: Collection[str]) -> Contents:
    """Two arrays such as ``images`` and ``labels`` as ``x`` and the label ``y``, unless they are ``named``."""
    meant, names = {_meaning(name): name for name in contents.arrays}, set(contents.arrays)
    if set(meant) != {("x", ""), ("y", "")} or len(names) > 2 or names == {"x", "y"} or names & set(named):
        return contents
    x, y = (contents.arrays[meant[field, ""]] for field in ("x", "y"))
    return replace(contents, arrays={"x": x, "y": _one_axis(y)}, roles={"y": "label"})


def _meaning(name: str) -> tuple[str, str]:
    """The field and the split that a name such as ``x_train``, ``val_images`` or ``test`` stands for."""
    words = name.lower().split("_")
    fields = [_FIELD_WORDS[word] for word in words if word in _FIELD_WORDS]
    splits = [_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS]
    if max(len(fields), len(splits)) > 1 or len(fields) + len(splits) < len(words):
        return "", ""
    return "".join(fields), "".join(splits)


def _split(path: Path, arrays: Mapping[tuple[str, str], Array]) -> Contents:
    """The arrays of each field, put together in the order of the splits."""
    fields = list(dict.fromkeys(field for field, _ in arrays))
    found = [split for split in SPLITS if (fields[0], split) in arrays]
    complete = {(field, split) for field in fields for split in found} == set(arrays)
    if not complete or not {"train", "test"} <= set(found) or fields not in ([""], ["x"], ["x", "y"], ["y", "x"]):
        names = ", ".join(sorted("_".join(filter(None, each)) for each in arrays))
        raise ZooError(f"{path} holds {names}; expected train, validation and test of each field")
    for (field, split), array in arrays.items():
        if not array.size:
            raise ZooError(f"{path}, array {split!r}{f' of {field!r}' if field else ''} is empty: {array.shape}")
    sizes = [len(arrays[fields[0], split]) if split in found else 0 for split in SPLITS]
    whole = {}
    for field in fields:
        parts = {split: arrays[field, split] for split in found}
        if len({part.shape[1:] for part in parts.values()}) > 1:
            shapes = ", ".join(f"{split} {part.shape[1:]}" for split, part in parts.items())
            raise ZooError(f"{path}: the splits hold data of different shapes ({shapes}); expected one")
        if [len(part) for part in parts.values()] != [size for size in sizes if size]:
            raise ZooError(f"{path}: the splits of {fields[0]!r} and {field!r} differ in their numbers of data")
        whole[field] = np.concatenate(list(parts.values()))
    given = (sizes[0], sizes[1], sizes[2])
    if "y" not in fields:
        return Contents(path, {"": whole[fields[0]]}, sizes=given)
    return Contents(path, {"x": whole["x"], "y": _one_axis(whole["y"])}, roles={"y": "label"}, sizes=given)


def _one_axis(y: Array) -> Array:
    """Labels of shape ``(n, 1)`` as ``(n,)``."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def channels_first(contents: Contents, event: Event | None) -> Contents:
    """Images of bytes ``(n, h, w, 3)``, whose channels are last, as ``(n, 3, h, w)``, unless another event is given."""
    wanted = {field.shape for field in event.parts} if event else None
    arrays = dict(contents.arrays)
    for name, array in contents.arrays.items():
        last = array.ndim == 4 and array.shape[3] in CHANNELS and array.shape[1] not in CHANNELS
        moved = np.moveaxis(array, 3, 1) if last else array
        if array.dtype == np.uint8 and last and (wanted is None or moved.shape[1:] in wanted):
            arrays[name] = moved
            note = f"{'x'.join(map(str, array.shape[1:]))} images as {'x'.join(map(str, arrays[name].shape[1:]))}"
            contents = replace(contents, note="; ".join(filter(None, (contents.note, note))))
    return replace(contents, arrays=arrays)
