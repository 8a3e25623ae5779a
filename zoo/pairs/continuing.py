"""Long sequences by a model of short ones: each part is given the end of the part before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pyro import poutine
from torch import Tensor
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities

PAST = "past"
"""The field that holds the entries before those of the main field."""


@dataclass(frozen=True)
class Parts:
    """How long sequences are cut into data of an event: ``window`` entries each, given the ``past`` entries before.

    Args:
        event: a record such as ``x=2048:256,past=1023:256@given``; further fields that are given are alike for all
            parts of a sequence.

    Raises:
        ZooError: a record without a past, or of other fields.

    Example:
        >>> parts = Parts(Event.parse("x=3:9,past=2:9@given"))
        >>> parts.cut(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        tensor([[1., 2., 3., 4., 4.],
                [4., 4., 4., 2., 3.]])
    """

    event: Event

    def __post_init__(self) -> None:
        x, past = self.event.main, next((each for each in self.event.fields if each.name == PAST), None)
        others = [each for each in self.event.fields if each not in (x, past)]
        if (
            (past is None or past.role != "given" or any(each.role != "given" for each in others))
            or len(x.shape) != 1
            or len(past.shape) != 1
            or x.levels is None
            or past.levels != x.levels
        ):
            raise ZooError(
                "a sequence is cut into parts given what is before them, of a record such as "
                f"x=2048:256,past=1023:256@given; got {self.event}"
            )

    @property
    def window(self) -> int:
        """Entries of a part."""
        return self.event.main.size

    @property
    def past(self) -> int:
        """Entries before a part, which are given."""
        return next(each.size for each in self.event.fields if each.name == PAST)

    @property
    def levels(self) -> int:
        """Of an entry."""
        return self.event.main.levels or 0

    @property
    def before(self) -> Tensor:
        """The past at the start of a sequence: the level in the middle, which of sound is silence; ``(past,)``."""
        return torch.full((self.past,), float(self.levels // 2))

    def cut(self, sequence: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """All of a sequence, shape ``(entries,)``, as packed parts; the last one is filled by the middle level.

        Args:
            sequence: one or more levels.
            given: the other fields, each of shape ``field.shape``.

        Raises:
            ZooError: no levels of the event, or other fields than the event has.
        """
        if sequence.dim() != 1 or not len(sequence) or not _are_levels(sequence, self.levels):
            raise ZooError(f"a sequence is one or more whole numbers from 0 to {self.levels - 1} ({self.event})")
        count = -(-len(sequence) // self.window)
        long = torch.cat([self.before.to(sequence), sequence])
        long = F.pad(long, (0, self.past + count * self.window - len(long)), value=float(self.levels // 2))
        rows = long.unfold(0, self.past + self.window, self.window)
        return self.pack(rows[:, self.past :], rows[:, : self.past], given)

    def pack(self, x: Tensor, past: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """Parts ``x``, shape ``(n, window)``, with what is before them and the other fields, which all share."""
        values = {name: torch.as_tensor(value).expand(len(x), *value.shape) for name, value in (given or {}).items()}
        return self.event.pack({self.event.main.name: x, PAST: past, **values}, x.dtype)

    def size(self, part: int, entries: int) -> int:
        """How many entries of a part, counted from 0, are of a sequence of so many ``entries``."""
        return min(self.window, entries - part * self.window)


def entrywise(pair: Pair, parts: Tensor) -> Autoregressive:
    """The distribution of packed parts, shape ``(n, event.size)``, entry by entry given the entries before.

    Raises:
        ZooError: the pair has latents, or its model gives no such distribution.
    """
    trace = poutine.trace(pair.model).get_trace(parts)
    fn = trace.nodes[capabilities(pair, parts[:1]).output]["fn"]
    if not isinstance(fn, Autoregressive):
        raise ZooError(f"{pair.label} does not give each entry a distribution given those before it, as wavenets do")
    return fn


def sequence_nats(pair: Pair, sequence: Tensor, given: Mapping[str, Tensor] | None = None, chunk: int = 32) -> Tensor:
    """-log p of each entry of a sequence given all before it that the pair sees, in nats: shape ``(entries,)``.

    Args:
        pair: of an event of `Parts`.
        sequence: shape ``(entries,)``.
        given: the other fields.
        chunk: parts in one pass.

    Raises:
        ZooError: see `Parts` and `entrywise`.
    """
    rows = Parts(pair.event).cut(sequence, given).to(next(iter(pair.parameters()), sequence))
    found = []
    with pair.evaluating():
        for some in rows.split(chunk):
            x = pair.event.main_of(some)
            logits = entrywise(pair, some).logits(x)
            found.append(F.cross_entropy(logits.flatten(0, -2), x.long().flatten(), reduction="none"))
    return torch.cat(found)[: len(sequence)]


def continued(
    pair: Pair,
    past: Tensor,
    entries: int,
    given: Mapping[str, Tensor] | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Draw what follows the ``past``: part by part, each given the end of the one before it.

    Args:
        pair: of an event of `Parts`.
        past: shape ``(n, past)``.
        entries: how many are drawn of each.
        given: the other fields, each of shape ``(n, *field.shape)``.
        watch: called with the number of entries done so far.

    Returns:
        Shape ``(n, entries)``.

    Raises:
        ZooError: see `Parts`.
    """
    parts, drawn = Parts(pair.event), past.to(torch.float32)
    for done in range(math.ceil(entries / parts.window)):
        packed = sample(pair, len(past), given={PAST: drawn[:, drawn.shape[1] - parts.past :], **(given or {})})
        drawn = torch.cat([drawn, pair.event.main_of(packed).to(drawn)], 1)
        watch(min(entries, (done + 1) * parts.window))
    return drawn[:, past.shape[1] : past.shape[1] + entries]


def _are_levels(values: Tensor, levels: int) -> bool:
    return bool(((values == values.round()) & (values >= 0) & (values < levels)).all())
