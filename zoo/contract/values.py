"""Supports and ranges of values, for several laws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.event import Event, Field


def supports(distribution: Any, value: Tensor) -> bool:
    """Whether all of ``value`` lies in the distribution's support, as far as it declares one."""
    try:
        return bool(distribution.support.check(value).all())
    except NotImplementedError:
        return True


def fits(event: Event, batch: Tensor) -> bool:
    """Whether all of a batch lies in the event's support; a label may be missing."""
    values = event.unpack(batch)
    return all(_fits(field, values[field.name]) for field in event.parts)


def _fits(field: Field, value: Tensor | None) -> bool:
    if value is None or (field.role == "label" and value.isnan().all()):
        return True
    if field.levels is None:
        return bool(value.isfinite().all())
    return bool(((value == value.round()) & (value >= 0) & (value < field.levels)).all())


def random_data(event: Event, n: int) -> Tensor:
    """Random data, shape ``(n, *event.shape)``: levels, or standard normals; a sequence has one step or more."""
    values = {
        field.name: torch.randn(n, *field.shape)
        if field.levels is None
        else torch.randint(field.levels, (n, *field.shape)).float()
        for field in event.parts
    }
    for length in {field.length for field in event.parts} - {""}:
        values[length] = values[length].clamp(min=1.0)
    return event.pack(values)


def other_data(event: Event, batch: Tensor) -> Tensor:
    """Other data with what the data of a batch are given: random levels, or real entries in another order."""
    values, found = event.unpack(batch), dict[str, Tensor | None]()
    for field in event.parts:
        value = values[field.name]
        if value is None or field.role == "given":
            found[field.name] = value
        elif field.levels is not None:
            found[field.name] = torch.randint(field.levels, value.shape, device=batch.device)
        else:
            found[field.name] = value.flatten()[torch.randperm(value.numel(), device=batch.device)].reshape(value.shape)
    return event.pack(found).to(batch)


def shortened(event: Event, batch: Tensor) -> Tensor:
    """The batch with sequences of many lengths: from one step to all that a datum has."""
    values = event.unpack(batch)
    for field in event.parts:
        if field.length and (steps := values[field.length]) is not None:
            most = torch.arange(len(batch), device=batch.device) % field.shape[0] + 1
            values[field.length] = torch.minimum(steps, most.flip(0))
    return event.pack(values).to(batch)


def complete(event: Event, batch: Tensor) -> Tensor:
    """The batch with all steps of its sequences, of which those that a datum does not have are zero."""
    blank, values = event.unpack(event.zeros(len(batch)).to(batch)), event.unpack(batch)
    return event.pack(values | {field.length: blank[field.length] for field in event.parts if field.length}).to(batch)


def extent(value: Tensor) -> str:
    """The range of ``value`` as text."""
    low, high = float(value.min()), float(value.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
