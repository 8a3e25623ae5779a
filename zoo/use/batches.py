"""A user's arrays as batches of a pair, and what comes out as the user gave it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.contract.values import extent, fits
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.records import cut

Array = np.ndarray[Any, Any] | Tensor
Batch = Array | dict[str, Any]
"""An array, or the fields of a record by name."""


@dataclass(frozen=True)
class Form:
    """How a batch was given, and its answers are returned.

    Args:
        device: of a tensor; ``None`` for numpy.
        shape: of a datum.
    """

    device: torch.device | None
    shape: tuple[int, ...]

    def array(self, values: Tensor) -> Array:
        """Numbers that are no data, such as log-probabilities."""
        return values.detach().cpu().numpy() if self.device is None else values.detach().to(self.device)

    def batch(self, event: Event, x: Tensor) -> Batch:
        """Data of ``event``, shape ``(..., *event.shape)``; a record by fields."""
        lead = x.shape[: x.dim() - len(event.shape)]
        if not event.fields:
            return self.array(x.reshape(*lead, *self.shape))
        fields = event.unpack(x.reshape(-1, *event.shape))
        return {
            name: self.array(value.reshape(*lead, *value.shape[1:]))
            for name, value in fields.items()
            if value is not None
        }


def read_batch(event: Event, x: Any, missing: bool = False) -> tuple[Tensor, Form]:
    """A user's batch as data of ``event``, in its own precision, and the form it was given in.

    Args:
        event: what a datum is.
        x: an array or tensor of shape ``(n, *event.shape)`` or ``(n, event.size)``, or the fields of a record by name.
        missing: NaN is allowed, and stands for an entry that is missing.

    Raises:
        ZooError: another shape, no numbers, or values out of the event's support.
    """
    if event.fields:
        if not isinstance(x, Mapping):
            names = ", ".join(f"{field.name!r}: ..." for field in event.fields)
            raise ZooError(f"data of {event} are given by field, {{{names}}}; got {type(x).__name__}")
        batch = event.pack({name: _tensor(value) for name, value in x.items()}, torch.float64)
        device = next((value.device for value in x.values() if isinstance(value, Tensor)), None)
        form = Form(device, event.shape)
    else:
        batch = _tensor(x)
        if batch.shape == event.shape:
            raise ZooError(f"data of {event} come in batches of shape (n, ...), got one datum; write x[None]")
        if batch.shape[1:] not in (event.shape, (event.size,)) or not len(batch):
            sizes = ", ".join(map(str, event.shape))
            raise ZooError(f"data of {event} have shape (n, {sizes}), got {tuple(batch.shape)}")
        form = Form(x.device if isinstance(x, Tensor) else None, tuple(batch.shape[1:]))
        batch = batch.reshape(-1, *event.shape)
    known = (torch.where(batch.isnan(), 0.0, batch) if missing else batch).float()
    if not all(fits(event, part) for _, part in cut(event, known)):
        wanted = "finite numbers" if event.fields or event.levels is None else f"levels 0 to {event.levels - 1}"
        got = "NaN; fill missing entries by impute, or drop them" if known.isnan().any() else extent(known)
        raise ZooError(f"data of {event} should be {wanted}, as the training data were; got {got}")
    return batch, form


def _tensor(x: Any) -> Tensor:
    """Numbers as a tensor, float64 if they are."""
    if isinstance(x, Tensor):
        return x.detach() if x.is_floating_point() else x.detach().float()
    array = np.asarray(x)
    if array.dtype.kind not in "buif":
        raise ZooError(f"data should be numbers, got an array of {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array).astype(np.float64))


def form_of(like: Any, shape: tuple[int, ...]) -> Form:
    """The form of answers that are like an array, with data of ``shape``."""
    return Form(like.device if isinstance(like, Tensor) else None, shape)


def read_mask(event: Event, mask: Any, x: Tensor) -> Tensor:
    """A mask of the entries of ``x``, data of ``event``, on its device.

    Of a record, masks by field; fields without one are not masked.

    Raises:
        ZooError: another shape, no booleans, or a field that there is not.
    """
    if event.fields and isinstance(mask, Mapping):
        fields = {name: torch.as_tensor(value).bool() for name, value in mask.items()}
        blank = {field.name: torch.zeros(len(x), *field.shape) for field in event.fields}
        mask = event.pack({**blank, **fields}).bool()
    found = torch.as_tensor(mask).to(x.device)
    if found.dtype != torch.bool or found.numel() != x.numel() or len(found) != len(x):
        raise ZooError(
            f"a mask is boolean, True where an entry is missing, of the shape of x, {tuple(x.shape)}; got "
            f"{found.dtype} of shape {tuple(found.shape)}"
        )
    return found.reshape(x.shape)


def read_missing(event: Event, x: Tensor, mask: Any = None) -> Tensor:
    """Which entries of data are missing: those of a ``mask`` (see `read_mask`), else NaN; a label that is NaN always.

    Raises:
        ZooError: entries are NaN that the mask does not mark, or given fields are missing.
    """
    roles = [field.role for field in event.parts for _ in range(field.size)]
    label, given = (
        torch.tensor([role == kind for role in roles], device=x.device).reshape(event.shape)
        for kind in ("label", "given")
    )
    missing = x.isnan() if mask is None else read_mask(event, mask, x) | (x.isnan() & label)
    if (x.isnan() & ~missing).any():
        raise ZooError("entries are NaN that the mask does not mark; mark them, or leave the mask out")
    if (missing & given).any():
        raise ZooError(f"fields of {event} that are given have no distribution: none of them may be missing")
    return missing
