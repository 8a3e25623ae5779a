"""Nearest neighbours of samples among the training data: has a model learnt its data by heart?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 2**26
"""Bytes of the distances that are computed at once."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means with its standard error, ``None`` where it cannot be known."""

    value: float | None
    stderr: float | None


def nearest(points: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """The place of the nearest row of ``among`` for each point, and its Euclidean distance.

    Args:
        points: finite, shape ``(m, d)``.
        among: shape ``(n, d)``.

    Returns:
        Shapes ``(m,)``; distances in float64, recomputed for the row that was found, so that of a copy is 0.

    Example:
        >>> places, distances = nearest(torch.tensor([[3.0, 4.0]]), torch.tensor([[9.0, 9.0], [0.0, 0.0]]))
        >>> places.tolist(), distances.tolist()
        ([1], [5.0])
    """
    centre = among.mean(0)  # the distances are of differences of squares, which an offset would round away
    shifted, rows = among - centre, max(1, CHUNK // (4 * len(among)))
    places = torch.cat([torch.cdist(part - centre, shifted).argmin(1) for part in points.split(rows)])
    return places, (points.double() - among[places].double()).norm(dim=1)


def ratio_of_means(above: Tensor, below: Tensor) -> Ratio:
    """The mean of independent values over the mean of others, with its standard error to first order.

    Args:
        above: shape ``(m,)``.
        below: shape ``(n,)``.

    Example:
        >>> ratio_of_means(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 4.0]))
        Ratio(value=0.5, stderr=0.25)
    """
    top, bottom = float(above.double().mean()), float(below.double().mean())
    if not bottom or not math.isfinite(top):
        return Ratio(None, None)
    if min(len(above), len(below)) < 2:
        return Ratio(top / bottom, None)
    errors = [float(each.double().var()) / len(each) for each in (above, below)]
    return Ratio(top / bottom, math.sqrt(errors[0] + (top / bottom) ** 2 * errors[1]) / bottom)
