"""Numpy's files: ``.npy`` and ``.npz``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
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
_CHANNELS = (1, 3, 4)


def read_numpy(path: Path) -> Contents:
    """One array of a ``.npy`` or ``.npz``, its splits, or the fields of a record by name.

    Names as people have them are understood: ``images`` and ``labels``, ``x_train`` and ``y_test``, ``val_images``.
    """
    try:
        # Opened here, because numpy does not close a damaged archive.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except _ERRORS as error:
        raise ZooError(
            f"cannot read {path}: expected numpy arrays of numbers or words without pickles ({error}); save objects by "
            "array.astype(float) or array.astype(str)"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind == "S":
            arrays[name] = np.char.decode(array, "utf-8")
    if len(arrays) == 1:
        return Contents(path, {"": next(iter(arrays.values()))})
    return _named(path, arrays)


def _named(path: Path, arrays: Mapping[str, Array]) -> Contents:
    """Several arrays: splits, splits of images and labels, or fields."""
    meant = {name: _meaning(name) for name in arrays}
    splits = {split for _, split in meant.values()}
    if arrays and "" not in splits:
        return _split(path, {meant[name]: array for name, array in arrays.items()})
    if not arrays or set(arrays) & set(SPLITS):
        raise ZooError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no array'}; expected train, validation and test, or one "
            "array, or the fields of a record"
        )
    fields = [field for field, _ in meant.values()]
    if sorted(fields) == ["x", "y"] and set(arrays) != {"x", "y"}:
        x, y = (next(name for name in arrays if meant[name][0] == field) for field in ("x", "y"))
        return Contents(path, {"x": arrays[x], "y": _one_axis(arrays[y])}, roles={"y": "label"})
    return Contents(path, arrays)


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
        whole[field] = (
            _one_axis(np.concatenate(list(parts.values()))) if field == "y" else np.concatenate(list(parts.values()))
        )
    if fields == ["x"]:
        whole = {"": whole["x"]}
    roles = {"y": "label"} if "y" in fields else {}
    return Contents(path, whole, roles=roles, sizes=(sizes[0], sizes[1], sizes[2]))


def _one_axis(y: Array) -> Array:
    """Labels of shape ``(n, 1)`` as ``(n,)``."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def channels_first(contents: Contents, event: Event | None) -> Contents:
    """Images of bytes ``(n, h, w, 3)``, whose channels are last, as ``(n, 3, h, w)``, unless the event is of them."""
    wanted = {field.shape for field in event.parts} if event else set()
    arrays = dict(contents.arrays)
    for name, array in contents.arrays.items():
        last = array.ndim == 4 and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS
        if array.dtype == np.uint8 and last and array.shape[1:] not in wanted:
            arrays[name] = np.moveaxis(array, 3, 1)
            note = f"{'x'.join(map(str, array.shape[1:]))} images as {'x'.join(map(str, arrays[name].shape[1:]))}"
            contents = replace(contents, note="; ".join(filter(None, (contents.note, note))))
    return replace(contents, arrays=arrays)
