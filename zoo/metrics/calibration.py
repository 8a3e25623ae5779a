"""Whether probabilities of classes are met: the calibration error, with what chance alone would give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15
"""Of equal width over the probability of the predicted class."""
DRAWS = 1000
"""Of bootstrap resamples, and of labels of a calibrated model."""


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error, and what it would be if the probabilities were right.

    Attributes:
        error: sum over bins of (n_b / n) |accuracy_b - confidence_b|.
        stderr: of ``error``, by a bootstrap over data.
        chance: its mean where the prediction is right with the probability that it has: finite bins are never met
            exactly, so the error of a calibrated model is above zero.
        chance_stderr: the standard deviation of one such value.
    """

    error: float
    stderr: float
    chance: float
    chance_stderr: float


def calibration(log_posterior: Tensor, y: Tensor, bins: int = BINS, seed: int = 0) -> CalibrationError:
    """The binned calibration error of the predicted class.

    Args:
        log_posterior: log p(y = k | x), shape ``(n, K)``.
        y: classes, shape ``(n,)``.
        bins: number of bins of equal width.
        seed: of resamples and draws.

    Example:
        >>> p = torch.tensor([[0.75, 0.25]]).repeat(1000, 1)
        >>> y = (torch.arange(1000) % 4 == 0).long()  # right in three of four
        >>> found = calibration(p.log(), y)
        >>> round(found.error, 6), found.chance > 0
        (0.0, True)

    Reference:
        Guo et al. 2017, arXiv:1706.04599, section 2 (ECE); Vaicenavicius et al. 2019, arXiv:1902.06977 (its value under
        calibration).
    """
    generator = torch.Generator().manual_seed(seed)
    confidence, guess = log_posterior.double().exp().cpu().max(1)
    right, n = (guess == y.cpu()).double(), len(y)
    member = torch.zeros(n, bins, dtype=torch.double)
    member[torch.arange(n), (confidence * bins).long().clamp(max=bins - 1)] = 1.0

    def errors(gaps: Tensor) -> Tensor:
        """Of right minus confidence, or a multiple of it by the times a datum is drawn: shape ``(draws, n)``."""
        return (gaps @ member).abs().sum(1) / n

    times = torch.randint(n, (DRAWS, n), generator=generator)
    counts = torch.zeros(DRAWS, n, dtype=torch.double).scatter_add(1, times, torch.ones(DRAWS, n, dtype=torch.double))
    met = (torch.rand(DRAWS, n, generator=generator, dtype=torch.double) < confidence).double()
    chance = errors(met - confidence)
    return CalibrationError(
        error=float(errors((right - confidence)[None])),
        stderr=float(errors(counts * (right - confidence)).std()),
        chance=float(chance.mean()),
        chance_stderr=float(chance.std()),
    )


def brier(log_posterior: Tensor, y: Tensor) -> Tensor:
    """The Brier score of each datum, sum_k (p(k | x) - [y = k])^2: 0 is best, 2 worst; shape ``(n,)``.

    Args:
        log_posterior: log p(y = k | x), shape ``(n, K)``.
        y: classes, shape ``(n,)``.

    Example:
        >>> brier(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([0])).item()
        0.5

    Reference:
        Brier 1950, Monthly Weather Review 78.
    """
    p = log_posterior.exp()
    return (p - torch.nn.functional.one_hot(y.long(), p.shape[1]).to(p)).square().sum(1)
