"""The task of a contender, and the entrant that it becomes when it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.bench.models import HandmadeVAE, OfTheZoo, Programs
from zoo.bench.rows import Row
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise, Pair
from zoo.seeding import seeded


@dataclass(frozen=True)
class Entrant:
    """A contender that is ready.

    ``step()`` does ``share`` of one unit of work and gives a number (a tensor or an array) to be read later;
    ``note()`` is a remark on its times, often empty; ``cost`` is the seconds of a step where they are known, so that no
    warm-up is needed.
    """

    step: Callable[[], Any]
    share: float = 1.0
    note: Callable[[], str] = str
    cost: float | None = None


class SkippedError(ZooError):
    """A contender that cannot take part here, with the reason."""


class Task:
    """A row with its data, from which each contender starts."""

    def __init__(self, row: Row, seed: int = 0, device: torch.device | str = "cpu") -> None:
        self.row, self.seed, self.event, self.device = row, seed, Event.parse(row.event), torch.device(device)
        with seeded(seed):
            self.x = _data(self.event, row.batch).to(device)

    def vae(self) -> HandmadeVAE:
        """The row's VAE, with the same weights at each call."""
        with seeded(self.seed):
            return HandmadeVAE(self.event.size, **self.row.by_hand).to(self.device)

    def pair(self) -> Pair:
        """The row's pair of the zoo, with the same weights at each call."""
        pair = build(self.row.family, self.event, self.row.hyper, self.seed).to(self.device)
        if isinstance(pair.extras, HasInitialise):
            with torch.no_grad(), seeded(self.seed):
                pair.extras.initialise(self.x)
        return pair

    def programs(self) -> Programs:
        """What is trained."""
        return self.vae() if self.row.by_hand else OfTheZoo(self.pair().train(True))


def _data(event: Event, n: int) -> Tensor:
    """``n`` data whose pixels share one brightness, so that there is something to learn."""
    centre = torch.rand(n, *[1] * len(event.shape))
    noisy = 0.7 * centre + 0.3 * torch.rand(n, *event.shape)
    if event.levels is None:
        return noisy
    return (noisy * event.levels).floor().clamp(max=event.levels - 1)


Contenders = dict[str, Callable[[Task], Entrant]]
"""Name -> what makes it ready for a task."""
