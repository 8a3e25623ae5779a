"""The nearest training datum of each sample that a report shows."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zoo.data import Dataset
from zoo.data.words import words_of
from zoo.metrics.neighbours import nearest, ratio_of_means


def held_out(data: Dataset, most: int) -> Tensor:
    """The distance from each of the first ``most`` test data to the nearest training datum, shape ``(n,)``."""
    return nearest(_flat(data, data.test[:most]), _flat(data, data.train))[1]


def neighbours(data: Dataset, samples: Tensor, of_test: Tensor) -> tuple[Tensor, dict[str, Any]] | None:
    """The nearest training data of samples, and their mean distance over that of test data.

    Distances are Euclidean, of the main field as a pair is given it: levels as they are, real entries standardised.

    Args:
        data: as the pair of the samples is given them.
        samples: shape ``(n, *event.shape)``.
        of_test: what `held_out` returns.

    Returns:
        The training data, shape ``(n, *event.shape)``, and the ``ratio`` with its ``stderr`` and ``n``; ``None`` if a
        sample is not finite, and of text, whose levels are no quantities.
    """
    points = _flat(data, samples)
    if words_of(data.event, data.names) or not points.isfinite().all():
        return None
    places, distances = nearest(points, _flat(data, data.train))
    ratio = ratio_of_means(distances, of_test)
    return data.train[places], {"ratio": ratio.value, "stderr": ratio.stderr, "n": len(points)}


def _flat(data: Dataset, batch: Tensor) -> Tensor:
    return data.event.main_of(batch.reshape(-1, *data.event.shape)).flatten(1).cpu()
