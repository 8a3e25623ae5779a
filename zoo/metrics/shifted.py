"""Data that a model has not seen: batches of an event changed so that they are no longer like the data.

What is changed is the main field; of a record the label becomes missing, and what is given stays.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from zoo.data import Dataset, load_data
from zoo.errors import UnfitError, ZooError
from zoo.event import Event


def shifted(name: str, event: Event, x: Tensor, seed: int = 0) -> Tensor:
    """A batch changed by one of `SHIFTS`; it stays within the event's support.

    - ``shuffled``: the entries of each datum in a random order, another for each datum; the channels of a pixel stay
      together.
    - ``rotated``: images of equal sides turned by 90 degrees, counter-clockwise.
    - ``inverted``: level k of K becomes K - 1 - k.
    - ``noise``: each entry drawn by itself: uniform over the levels, or a normal with the mean and deviation that the
      entry has in the batch.

    Args:
        name: of the shift.
        event: of the batch.
        x: shape ``(n, *event.shape)``.
        seed: of the random numbers, which are the same on every device.

    Returns:
        Shape and type of ``x``.

    Raises:
        UnfitError: data that the shift does not apply to; the message says why.
        ZooError: an unknown shift.

    Example:
        >>> shifted("inverted", Event(2, 5), torch.tensor([[0.0, 3.0]]))
        tensor([[4., 1.]])
    """
    if name not in SHIFTS:
        raise ZooError(f"a shift is {', '.join(SHIFTS)}; got {name!r}")
    if event.support == "sequence":
        raise UnfitError("a sequence has a length of its own; shifts are of data of one shape")
    values = SHIFTS[name](event.array, event.main_of(x), torch.Generator().manual_seed(seed))
    return without_label(event, with_main(event, x, values))


def novel(name: str, data: Dataset, x: Tensor, *, seed: int = 0, data_dir: Path | None = None) -> Tensor:
    """Data of another kind than ``x``: one of `SHIFTS` of it, or the test data of another data set.

    Args:
        name: a shift, else a data set as `zoo.data.load_data` takes it.
        data: what ``x`` is a batch of.
        x: shape ``(n, *data.event.shape)``.
        seed: of a shift.
        data_dir: where files of registered data sets are looked for.

    Returns:
        Shape ``(n, *data.event.shape)`` of a shift; of a data set its first ``n`` test data, or all if it has fewer, in
        the units of ``data``. Labels are missing.

    Raises:
        UnfitError: ``data`` itself, data of another shape or support, or what a shift does not apply to.

    Example:
        >>> digits = load_data("digits")
        >>> novel("inverted", digits, digits.test[:5]).shape
        torch.Size([5, 8, 8])
    """
    if name in SHIFTS:
        return shifted(name, data.event, x, seed)
    if data.registered and short_name(data.name) == short_name(name):
        raise UnfitError(f"{name} is what the model was trained on")
    other = load_data(name, data_dir=data_dir)
    ours, theirs = data.event.array, other.event.array
    if (ours.size, ours.levels) != (theirs.size, theirs.levels):
        raise UnfitError(f"{name} holds {theirs}, {data.name} {ours}: the shapes and supports differ")
    values = other.event.main_of(other.restore(other.test[: len(x)])).to(x)
    same = data.restore(x[: len(values)])
    placed = with_main(data.event, same, values.reshape(-1, *ours.shape).to(same))
    return without_label(data.event, data.standardise(placed).to(x.device))


def short_name(name: str) -> str:
    """A data set without its settings: its name in the names of scores.

    Example:
        >>> short_name("digits:labels=all")
        'digits'
    """
    return name.partition(":")[0]


def mutated(event: Event, x: Tensor, rate: float, seed: int = 0) -> Tensor:
    """A batch in which each entry is replaced, with probability ``rate``, by one of the shift ``noise``.

    Labels stay: this is what a background model is trained on.

    Args:
        event: of the batch.
        x: shape ``(n, *event.shape)``.
        rate: from 0 to 1.
        seed: of the random numbers.

    Raises:
        UnfitError: a sequence.

    Example:
        >>> x = torch.zeros(1000, 2)
        >>> 0.2 < float(mutated(Event(2, 17), x, rate=0.3).bool().double().mean()) < 0.35
        True

    Reference:
        Ren et al. 2019, arXiv:1906.02845, section 3.2.
    """
    generator = torch.Generator().manual_seed(seed)
    values = event.main_of(x)
    replaced = (torch.rand(values.shape, generator=generator) < rate).to(x.device)
    drawn = event.main_of(shifted("noise", event, x, seed + 1))
    return with_main(event, x, torch.where(replaced, drawn, values))


def with_main(event: Event, x: Tensor, values: Tensor) -> Tensor:
    """The batch ``x`` with other ``values`` in its main field, ``(n, *event.array.shape)``."""
    if not event.fields:
        return values
    return event.pack(event.unpack(x) | {event.main.name: values.reshape(-1, *event.main.shape)}, x.dtype)


def without_label(event: Event, x: Tensor) -> Tensor:
    """The batch ``x`` with all labels missing."""
    return x if event.label is None else event.pack(event.unpack(x) | {event.label.name: None}, x.dtype)


def _shuffled(event: Event, x: Tensor, generator: torch.Generator) -> Tensor:
    channels = event.shape[0] if len(event.shape) == 3 else 1
    pixels = x.reshape(len(x), channels, -1)
    if pixels.shape[2] == 1:
        raise UnfitError(f"{event} has one entry, and so one order")
    order = torch.rand(len(x), 1, pixels.shape[2], generator=generator, dtype=torch.float64).argsort(2).to(x.device)
    return pixels.gather(2, order.expand_as(pixels)).reshape(x.shape)


def _rotated(event: Event, x: Tensor, generator: torch.Generator) -> Tensor:
    if len(event.shape) not in (2, 3) or event.shape[-1] != event.shape[-2]:
        raise UnfitError(f"only images of equal sides are rotated, got {event}")
    return x.rot90(1, (-2, -1)).contiguous()


def _inverted(event: Event, x: Tensor, generator: torch.Generator) -> Tensor:
    if event.levels is None:
        raise UnfitError("real data have no highest value to be inverted at")
    return event.levels - 1 - x


def _noise(event: Event, x: Tensor, generator: torch.Generator) -> Tensor:
    if event.levels is None:
        drawn = torch.randn(x.shape, generator=generator).to(x)
        return x.mean(0) + x.std(0, correction=0) * drawn
    return torch.randint(event.levels, x.shape, generator=generator).to(x)


SHIFTS: dict[str, Callable[[Event, Tensor, torch.Generator], Tensor]] = {
    "shuffled": _shuffled,
    "rotated": _rotated,
    "inverted": _inverted,
    "noise": _noise,
}
"""Name -> what `shifted` does to the array of the main field."""
