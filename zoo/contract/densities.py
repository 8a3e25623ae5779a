"""Law: a distribution's log-probabilities are those of its draws. Only a user's own distributions are checked."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError
from zoo.pairs.sites import is_discrete, layers, random_sites
from zoo.pairs.traces import traced

LIBRARIES = ("torch", "pyro", "zoo")
POINTS, DRAWS = 4001, 4000
OFF_ONE = 0.02
"""By which the numerical integral of a density may differ from 1."""
FARTHEST = 2.5
"""Largest Kolmogorov-Smirnov statistic, in units of 1 / sqrt(draws): an honest distribution's is larger once in 1e5."""


def densities_are_of_their_draws(case: Case) -> None:
    with case.pair.evaluating():
        for trace in traced(case.pair, case.x(case.sizes[0])):
            for name, site in random_sites(trace):
                for fn in layers(site["fn"]):
                    if type(fn).__module__.partition(".")[0] not in LIBRARIES and not fn.event_shape:
                        _compare(f"{type(fn).__name__} at {name!r}", fn)


def _compare(what: str, fn: Any) -> None:
    """The draws of the first of a batch of distributions of numbers, and its integral on a grid."""
    first = (slice(None), *(0 for _ in fn.batch_shape))
    draws = fn.sample(torch.Size([DRAWS]))[first].contiguous()
    points, weights = _grid(fn, draws)
    batch = points.reshape(-1, *(1 for _ in fn.batch_shape)).expand(len(points), *fn.batch_shape)
    mass = (fn.log_prob(batch)[first].exp() * weights).nan_to_num(0.0)
    total = float(mass.sum())
    if abs(total - 1) > OFF_ONE:
        raise BrokenError(f"the probabilities of the {what} add up to {total:.3g}, not to 1")
    below = mass.cumsum(0)[torch.searchsorted(points, draws, right=True).clamp(1, len(points)) - 1]
    ranks = torch.searchsorted(draws.sort().values, draws, right=True) / DRAWS
    gap = float((below - ranks).abs().max())
    if gap > FARTHEST / math.sqrt(DRAWS):
        raise BrokenError(
            f"the {what} draws other values than its log_prob expects: their distribution functions differ by {gap:.2f}"
        )


def _grid(fn: Any, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Points over the whole line, the integers or a finite support, and the weight of each in an integral."""
    if fn.has_enumerate_support:
        points = fn.enumerate_support(expand=False).flatten().float()
        return points, torch.ones_like(points)
    if is_discrete(fn):
        low, high = float(draws.min()), float(draws.max())
        points = torch.arange(min(low, 0.0), 2 * high + 100)
        return points, torch.ones_like(points)
    centre, width = draws.median(), (draws.quantile(0.75) - draws.quantile(0.25)).clamp(min=1e-9)
    angles = math.pi * ((torch.arange(POINTS) + 0.5) / POINTS - 0.5)
    return centre + width * angles.tan(), width / angles.cos().square() * math.pi / POINTS
