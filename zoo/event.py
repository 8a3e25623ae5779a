"""What one datum is: its shape and its support."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from zoo.errors import ZooError

Support = Literal["binary", "levels", "real"]


@dataclass(frozen=True, init=False)
class Event:
    """One datum ``x``: an array of ``shape`` whose entries lie in a support.

    Args:
        shape: ``(8, 8)``, or ``64`` for ``(64,)``.
        support: ``"binary"`` for {0, 1}, an integer ``K`` for the levels {0, ..., K-1}, ``"real"``.

    Batches are float tensors of shape ``(n, *shape)`` whatever the support.

    Raises:
        ZooError: an empty or non-positive shape, or an unknown support.
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
        """Read ``"64:binary"``, ``"8x8:17"`` or ``"2:real"``."""
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


EXAMPLES = {"levels": Event((8, 8), 17), "binary": Event((8, 8), "binary"), "real": Event(2, "real")}
"""A small event of each support, on which a family is described and checked."""
