"""Supports and ranges of values, for several laws."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zoo.event import Event


def supports(distribution: Any, value: Tensor) -> bool:
    """Whether all of ``value`` lies in the distribution's support, as far as it declares one."""
    try:
        return bool(distribution.support.check(value).all())
    except NotImplementedError:
        return True


def fits(event: Event, value: Tensor) -> bool:
    """Whether all of ``value`` lies in the event's support."""
    if event.levels is None:
        return bool(value.isfinite().all())
    return bool(((value == value.round()) & (value >= 0) & (value < event.levels)).all())


def extent(value: Tensor) -> str:
    """The range of ``value`` as text."""
    low, high = float(value.min()), float(value.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
