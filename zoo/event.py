"""The shape and support of one datum."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from zoo.errors import ZooError

Support = Literal["binary", "levels", "real"]


@dataclass(frozen=True, init=False)
class Event:
    """The type of one datum: its shape, and the support of its entries.

    Batches are float tensors of shape ``(n, *shape)``, whatever the support.

    Args:
        shape: ``(8, 8)``, or ``64`` for ``(64,)``.
        support: ``"binary"`` for {0, 1}, an integer ``K`` for the levels {0, ..., K-1}, or ``"real"``.

    Raises:
        ZooError: an empty or non-positive shape, or an unknown support.

    Example:
        >>> event = Event((8, 8), 17)
        >>> event.shape, event.size, event.levels, event.support
        ((8, 8), 64, 17, 'levels')
        >>> print(event, Event(64, "binary"), Event.parse("2:real"))
        8x8:17 64:binary 2:real
    """

    shape: tuple[int, ...]
    levels: int | None
    """Number of levels of discrete data, ``None`` for real data."""

    def __init__(self, shape: int | tuple[int, ...] | list[int], support: str | int) -> None:
        sizes = (shape,) if isinstance(shape, int) else tuple(int(size) for size in shape)
        if not sizes or min(sizes) < 1:
            raise ZooError(f"an event's shape needs positive sizes, got {shape!r}; write e.g. (8, 8) or 64")
        object.__setattr__(self, "shape", sizes)
        object.__setattr__(self, "levels", _levels(support))

    @classmethod
    def parse(cls, text: str) -> Event:
        """The event written as ``text``, such as ``"64:binary"``, ``"8x8:17"`` or ``"2:real"``.

        Raises:
            ZooError: text of another form.
        """
        match = re.fullmatch(r"(\d+(?:x\d+)*):(\w+)", text.strip())
        if not match:
            raise ZooError(f"an event is written SHAPE:SUPPORT, such as 64:binary, 8x8:17 or 2:real; got {text!r}")
        return cls(tuple(int(size) for size in match[1].split("x")), match[2])

    @property
    def support(self) -> Support:
        """``"binary"``, ``"levels"`` or ``"real"``."""
        if self.levels is None:
            return "real"
        return "binary" if self.levels == 2 else "levels"

    @property
    def size(self) -> int:
        """Number of dimensions of one datum."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        support = self.levels if self.support == "levels" else self.support
        return f"{'x'.join(map(str, self.shape))}:{support}"


def _levels(support: str | int) -> int | None:
    if support == "real":
        return None
    if support == "binary":
        return 2
    if str(support).isdigit() and int(support) >= 2:
        return int(support)
    raise ZooError(f"a support is 'binary', 'real' or a number of levels K >= 2, got {support!r}")


def image_size(event: Event, family: str, otherwise: str) -> tuple[int, int]:
    """Height and width of an image of one channel.

    Args:
        event: its shape should be ``(height, width)`` or ``(1, height, width)``.
        family: who needs the image, for the message.
        otherwise: what to do with another event, for the message.

    Raises:
        ZooError: an event of another shape.
    """
    if len(event.shape) == 2 or (len(event.shape) == 3 and event.shape[0] == 1):
        return event.shape[-2], event.shape[-1]
    raise ZooError(f"{family} needs an image of shape (height, width) or (1, height, width), got {event}; {otherwise}")


EXAMPLES = {"levels": Event((8, 8), 17), "binary": Event((8, 8), "binary"), "real": Event(2, "real")}
"""A small event of each support, used to describe and check families."""
