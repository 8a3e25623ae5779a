"""What an acquisition is given: unlabelled data, labelled data, and a classifier trained on these."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.nn.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Query:
    """A choice to be made: of which data in the pool to ask the label.

    Args:
        pool: data without a label, shape ``(m, *event.shape)``.
        x: data with a label, shape ``(n, *event.shape)``.
        y: their classes, shape ``(n,)``, int64.
        classifier: trained on ``x`` and ``y``, in evaluation mode; ``classifier.event`` is the event of ``x``.
        count: how many data of the pool to choose.
        generator: the random numbers of this choice, on the CPU.

    Example:
        >>> from zoo import Event, Query
        >>> from zoo.nn.classifier import Classifier
        >>> pool, x, y = torch.arange(8.0).reshape(4, 2), torch.zeros(2, 2), torch.tensor([0, 1])
        >>> query = Query(pool, x, y, Classifier(Event(2, "real"), 2).eval(), 3, torch.Generator())
        >>> query.log_probs.shape, query.lowest(-pool[:, 0]).tolist()
        (torch.Size([4, 2]), [3, 2, 1])
    """

    pool: Tensor
    x: Tensor
    y: Tensor
    classifier: Classifier
    count: int
    generator: torch.Generator

    @cached_property
    def log_probs(self) -> Tensor:
        """log p(y | x) of every class for the data of the pool: shape ``(m, classes)``."""
        return self.classifier.log_probs(self.pool)

    @cached_property
    def seed(self) -> int:
        """A seed, drawn from the generator, for what draws random numbers of its own."""
        return int(torch.randint(2**31, (), generator=self.generator))

    def lowest(self, scores: Tensor) -> Tensor:
        """The places of the ``count`` lowest scores, the lowest first; of equal ones those that come first.

        Args:
            scores: one number for each datum of the pool, shape ``(m,)``.

        Raises:
            ZooError: another shape, or a score that is not finite.
        """
        if scores.shape != self.pool.shape[:1] or not scores.isfinite().all():
            bad = "" if scores.isfinite().all() else f", {int((~scores.isfinite()).sum())} of them not finite"
            raise ZooError(
                f"an acquisition needs a finite score of each of the {len(self.pool)} data of the pool, got scores of "
                f"shape {tuple(scores.shape)}{bad}"
            )
        return scores.cpu().argsort(stable=True)[: self.count]
