"""Selective prediction: the risk of the answers that are given, over the share of questions that are answered."""

from __future__ import annotations

import torch
from torch import Tensor

QUANTILE = 0.05
"""Of log p(x) of validation data, below which a rule with p(x) abstains."""


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
    answered = _BestFirst(confidence, errors, weights)
    before, sizes, wrong = answered.before, answered.sizes, answered.wrong
    # within a group risk(c) = rate + (missed - rate * before) / c
    growth = torch.where(before > 0, (sizes / before.clamp(min=1e-12)).log1p(), 0.0)
    area = (wrong + (answered.missed - answered.rate * before) * growth).sum(1)
    return area, answered.risk(torch.tensor([coverage], dtype=torch.double))[:, 0]


def risk_curve(confidence: Tensor, errors: Tensor, weights: Tensor | None, coverages: Tensor) -> Tensor:
    """The risk at each of several coverages: the curve whose area `selective_risks` gives.

    Args:
        confidence, errors, weights: as for `selective_risks`.
        coverages: above 0, up to 1, shape ``(c,)``.

    Returns:
        Shape ``(b, c)``, float64.

    Example:
        >>> confidence, errors = torch.tensor([0.9, 0.8, 0.6, 0.5]), torch.tensor([0, 0, 0, 1])
        >>> risk_curve(confidence, errors, None, torch.tensor([0.5, 0.75, 1.0])).tolist()
        [[0.0, 0.0, 0.25]]
    """
    return _BestFirst(confidence, errors, weights).risk(coverages.double())


class _BestFirst:
    """Sums over the data of each confidence, the highest first, each of shape ``(b, groups)``."""

    def __init__(self, confidence: Tensor, errors: Tensor, weights: Tensor | None) -> None:
        weights = torch.ones(1, len(errors)) if weights is None else weights
        weights = weights.double() / weights.double().sum(1, keepdim=True)
        order = confidence.argsort(descending=True)
        _, group = confidence[order].unique_consecutive(return_inverse=True)
        self.sizes = _by_group(weights[:, order], group)
        self.wrong = _by_group(weights[:, order] * errors.double()[order], group)
        self.reached = self.sizes.cumsum(1)
        self.before, self.missed = self.reached - self.sizes, self.wrong.cumsum(1) - self.wrong
        self.rate = self.wrong / self.sizes.clamp(min=torch.finfo(torch.double).tiny)

    def risk(self, coverages: Tensor) -> Tensor:
        """The risk at each coverage, shape ``(b, c)``."""
        wanted = coverages.expand(len(self.reached), -1).contiguous()
        place = torch.searchsorted(self.reached, wanted - 1e-12).clamp(max=self.reached.shape[1] - 1)
        part = wanted - self.before.gather(1, place)
        return (self.missed.gather(1, place) + self.rate.gather(1, place) * part) / wanted


def _by_group(values: Tensor, group: Tensor) -> Tensor:
    """The sums of the columns ``(b, n)`` of each group: ``(b, groups)``."""
    return values.new_zeros(len(values), int(group.max()) + 1).index_add(1, group, values)
