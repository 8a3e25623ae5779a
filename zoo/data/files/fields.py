"""Checked values and their event: data of one array, or a record of fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from zoo.data.files.contents import Contents, Floats
from zoo.errors import ZooError
from zoo.event import Event, Field

BYTES = 256
LARGEST_ROUNDING = 1e-3
"""How far k may be off where a float32 holds k/255."""
MEND = "leave these out by FILE:missing=drop, or fill in those of train by FILE:missing=impute"
LARGEST_INTEGER = 2**53
"""Float64 holds the integers up to it."""


def packed(
    contents: Contents, event: Event | None, roles: Mapping[str, str], missing: bool = False
) -> tuple[Event, Floats]:
    """The event of a record, and its data as one array; values may be ``missing``, as those of labels always may."""
    arrays, known = contents.arrays, {field.name: field for field in event.fields} if event else {}
    names = list(known or arrays)
    if strange := [name for name in (*names, *roles) if name not in arrays or name not in names]:
        raise ZooError(f"{contents.path} has the fields {', '.join(arrays)}; there is no {strange[0]}")
    if event and not known:
        raise ZooError(
            f"{contents.path} has the fields {', '.join(arrays)}; write an event of these, not {event}"
            + (f", or leave the labels out by {contents.path}:labels=0" if "y" in contents.roles else "")
        )
    fields, values = [], {}
    for name in names:
        own = known.get(name)
        role = roles.get(name) or (own.role if own else contents.roles.get(name, "observed"))
        found = _numbers(contents, name, axes=1, missing=missing or role == "label")
        support = own.levels or "real" if own else _support(found, contents.levels.get(name))
        length = own.length if own else contents.lengths.get(name, "")
        fields.append(Field(name, own.shape if own else found.shape[1:], support, role, length))
        if own and own.length and found.shape[1:][1:] == own.shape[1:]:
            found = _lengthened(contents, found, own)
        values[name] = found.reshape(len(found), *fields[-1].shape) if found[0].size == fields[-1].size else found
    try:
        record = Event.record(*fields)
        packed: Floats = record.pack(values, torch.float64).numpy()
    except ZooError as error:
        raise ZooError(f"{contents.path}: {error}") from None
    return record, packed


def _lengthened(contents: Contents, found: Floats, field: Field) -> Floats:
    """Sequences with as many steps of padding that they have those of the field."""
    steps = found.shape[1]
    if steps > field.shape[0]:
        raise ZooError(
            f"{contents.path}: {field.name!r} has up to {steps} steps, more than the {field.shape[0]} of {field}; cut "
            "or leave out what is longer"
        )
    return np.pad(found, [(0, 0), (0, field.shape[0] - steps), *[(0, 0)] * (found.ndim - 2)])


def whole(contents: Contents, event: Event | None, missing: bool = False) -> tuple[Event, Floats]:
    """The event of data of one array, and the data in its shape; values may be ``missing``."""
    found = _numbers(contents, "", missing=missing)
    event = event or Event(found.shape[1:], _support(found, contents.levels.get("")))
    if found[0].size != event.size:
        raise ZooError(
            f"{contents.path}: a datum has shape {found.shape[1:]} ({found[0].size} numbers), the event {event} needs "
            f"{event.size}; name an event of that size"
        )
    if event.levels is not None:
        wrong = (found != np.rint(found)) | (found < 0) | (found >= event.levels)
        contents.refuse("", wrong & ~np.isnan(found), f"data of {event} with levels 0 to {event.levels - 1}")
    return event, found.reshape(-1, *event.shape)


def _numbers(contents: Contents, name: str, axes: int = 2, missing: bool = False) -> Floats:
    """An array of the file as numbers, with ``axes`` or more axes; NaN is allowed if values may be ``missing``."""
    array = contents.arrays[name]
    label = f"{contents.path}{f', array {name!r}' if name else ''}"
    if array.dtype.kind not in "biuf":
        raise ZooError(f"{label}: expected real numbers or words, got {array.dtype}; write it as one of these")
    if array.ndim < axes:
        raise ZooError(
            f"{label}: expected shape (n, ...), one datum a row, got {array.shape}; reshape it, e.g. to (n, 1)"
        )
    if not array.size:
        raise ZooError(f"{label} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    expected = "finite numbers" if axes > 1 else "finite numbers (only a label may be missing)"
    contents.refuse(name, np.isinf(single), expected)
    if not missing and np.isnan(single).any():
        count = int(np.isnan(single).reshape(len(single), -1).any(1).sum())
        expected += f" ({count} of {len(single)} data lack some: {MEND})"
        contents.refuse(name, np.isnan(single), expected)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 4:
        contents.refuse(name, np.abs(array.astype(np.float64)) > LARGEST_INTEGER, f"integers up to {LARGEST_INTEGER}")
    exact = np.result_type(array.dtype, np.float32) == np.float32
    return single if exact else array.astype(np.float64)


def scaled_to_levels(contents: Contents, event: Event | None) -> Contents:
    """The contents with levels for numbers in [0, 1] that are all k/255, or k/(K - 1) for K levels of the event.

    Without an event only arrays of more than one number a datum, such as images, are looked at.
    """
    wanted = {field.name if event.fields else "": field.levels for field in event.parts} if event else {}
    arrays, levels, notes = dict(contents.arrays), dict(contents.levels), [contents.note]
    for name, array in contents.arrays.items():
        count = wanted.get(name, None if event or array.ndim < 2 else BYTES)
        if count is None or array.dtype.kind != "f" or not array.size or not (array.min() >= 0 and array.max() <= 1):
            continue
        found = np.rint(array.astype(np.float64) * (count - 1))
        off = np.abs(array.astype(np.float64) * (count - 1) - found).max()
        coarser = not event and np.gcd.reduce(found.astype(np.int64).ravel()) > 1
        if off <= LARGEST_ROUNDING and not coarser and (array != np.rint(array)).any():
            arrays[name], levels[name] = found.astype(np.float32), count
            notes.append(f"values k/{count - 1} are taken for the levels k")
    return replace(contents, arrays=arrays, levels=levels, note="; ".join(filter(None, notes)))


def _support(entries: Floats, levels: int | None) -> int | str:
    """The support of data of ``levels``, or that these entries show."""
    known = entries[~np.isnan(entries)]
    whole = known.size and known.min() >= 0 and known.max() <= 255 and (known == np.rint(known)).all()
    return levels or (max(2, int(known.max()) + 1) if whole else "real")
