"""Selective prediction: the risk of the answers that are given, over the share of questions that are answered."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_risks(
    confidence: Tensor, errors: Tensor, weights: Tensor | None = None, coverage: float = 0.9
) -> tuple[Tensor, Tensor]:
    """The area under the risk-coverage curve, and the risk at one coverage.

        risk(c) = share of errors among the share c of data with the highest confidence
        AURC = integral of risk(c) over c from 0 to 1

    Data of equal confidence are answered in random order, in expectation. A perfect ranking, all errors last, has
    AURC = e + (1 - e) log(1 - e) where e is the share of errors; a random one has e.

    Args:
        confidence: shape ``(n,)``.
        errors: 1 where the answer is wrong, 0 where it is right, shape ``(n,)``.
        weights: of the data, not negative, shape ``(b, n)``, for example of ``b`` resamples; they need not sum to 1. By
            default ``b`` is 1 and all are equal.
        coverage: above 0, up to 1.

    Returns:
        Both of shape ``(b,)``, float64.

    Example:
        >>> area, risk = selective_risks(torch.tensor([0.9, 0.8, 0.6, 0.5]), torch.tensor([0, 0, 0, 1]), coverage=0.75)
        >>> round(area.item(), 4), round(risk.item(), 4)  # 0.25 + 0.75 log 0.75
        (0.0342, 0.0)

    Reference:
        Geifman et al. 2019, arXiv:1805.08206, section 4 (AURC, and that of a perfect ranking).
    """
    weights = torch.ones(1, len(errors)) if weights is None else weights
    weights = weights.double() / weights.double().sum(1, keepdim=True)
    order = confidence.argsort(descending=True)
    _, group = confidence[order].unique_consecutive(return_inverse=True)
    sizes = _by_group(weights[:, order], group)
    wrong = _by_group(weights[:, order] * errors.double()[order], group)
    reached, sunk = sizes.cumsum(1), wrong.cumsum(1)
    before, missed = reached - sizes, sunk - wrong
    rate = wrong / sizes.clamp(min=torch.finfo(torch.double).tiny)
    # within a group risk(c) = rate + (missed - rate * before) / c
    growth = torch.where(before > 0, (sizes / before.clamp(min=1e-12)).log1p(), 0.0)
    area = (wrong + (missed - rate * before) * growth).sum(1)
    place = (reached < coverage - 1e-12).sum(1, keepdim=True).clamp(max=reached.shape[1] - 1)
    part = coverage - before.gather(1, place)
    risk = (missed.gather(1, place) + rate.gather(1, place) * part)[:, 0] / coverage
    return area, risk


def _by_group(values: Tensor, group: Tensor) -> Tensor:
    """The sums of the columns ``(b, n)`` of each group: ``(b, groups)``."""
    return values.new_zeros(len(values), int(group.max()) + 1).index_add(1, group, values)
