"""Differences of two models on the same data, which are far more certain than the errors of each suggest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import scipy
from torch import Tensor

LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class Difference:
    """The mean difference of one value per datum between two models.

    Attributes:
        mean: of the first less the second.
        stderr_data: its standard error over data; ``None`` for a single datum.
        stderr_seeds: its standard error over seeds; ``None`` if a model has one seed.
        low, high: the interval of `LEVEL`, by both errors; ``None`` for a single datum.
        n: number of data.
    """

    mean: float
    stderr_data: float | None
    stderr_seeds: float | None
    low: float | None
    high: float | None
    n: int


def difference(first: Tensor, second: Tensor) -> Difference:
    """The mean difference of two models that were measured on the same data, with its interval.

        d_i = mean_k a_ki - mean_k b_ki,   s_data² = var_i(d_i) / n,
        s_seeds² = var_k(mean_i a_ki) / K_a + var_k(mean_i b_ki) / K_b

    The two variances are added, and the interval is Student's with Welch and Satterthwaite's degrees of freedom: with
    two or three seeds that matter it is wide. With one seed of a model the second is unknown and left out: the interval
    is then of these trained weights on other data.

    Args:
        first: a value per seed and datum, shape ``(seeds, n)``.
        second: likewise; its number of seeds may differ.

    Example:
        >>> import torch
        >>> a, b = torch.tensor([[1.0, 5.0, 9.0]]), torch.tensor([[0.0, 3.0, 6.0]])
        >>> found = difference(a, b)
        >>> found.mean, round(found.stderr_data, 4), found.stderr_seeds
        (2.0, 0.5774, None)

    Reference:
        Welch 1947, Biometrika 34, pp. 28-35.
    """
    first, second = first.double(), second.double()
    values = first.mean(0) - second.mean(0)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return Difference(mean, None, None, None, None, n)
    parts = [(float(values.var()) / n, n - 1)]
    seeds = [(float(each.mean(1).var()) / len(each), len(each) - 1) for each in (first, second) if len(each) > 1]
    known = len(seeds) == 2
    parts += seeds if known else []
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / free for part, free in parts) if variance else n - 1
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
    over_seeds = math.sqrt(sum(part for part, _ in seeds)) if known else None
    return Difference(mean, math.sqrt(parts[0][0]), over_seeds, mean - half, mean + half, n)
