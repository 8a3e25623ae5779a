"""Labels that are given only for the data that are asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.errors import ZooError


class Oracle:
    """Holds the labels of a pool, and gives those of the data that are asked for.

    Args:
        labels: the class of each datum of the pool, shape ``(n,)``.

    Example:
        >>> oracle = Oracle(torch.tensor([3.0, 1.0, 2.0]))
        >>> oracle.ask(torch.tensor([2, 0])), oracle.asked.tolist()
        (tensor([2, 3]), [True, False, True])
    """

    def __init__(self, labels: Tensor) -> None:
        self.__labels = labels.clone()
        self.asked = torch.zeros(len(labels), dtype=torch.bool)
        """Which labels were given."""

    def __len__(self) -> int:
        return len(self.asked)

    def ask(self, places: Tensor) -> Tensor:
        """The classes of the data at ``places``: int64, of the shape of ``places``.

        Raises:
            ZooError: a place outside the pool, or a label that is missing.
        """
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self):
            raise ZooError(
                f"labels are asked for by places from 0 to {len(self) - 1}, got {places.min()} to {places.max()}"
            )
        given = self.__labels[places]
        if not given.isfinite().all():
            raise ZooError(f"the oracle has no label for {int((~given.isfinite()).sum())} of the data asked for")
        self.asked[places] = True
        return given.long()
