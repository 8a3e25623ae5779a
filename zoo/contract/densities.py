"""Law: a distribution's log-probabilities are those of its draws. Only distributions that a user defines are checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.pairs.sites import random_sites
from zoo.pairs.traces import traced

LIBRARIES = ("torch", "pyro", "zoo")
POINTS, DRAWS = 4001, 400
OFF_ONE = 0.02
"""By which the numerical integral of a density may differ from 1."""
FARTHEST = 2.5
"""Largest distance between the draws' distribution function and the density's, in units of 1/sqrt(draws): see the
Kolmogorov-Smirnov test, where it has a probability of 1e-5."""


def densities_are_of_their_draws(case: Case) -> None:
    pair, x = case.pair, case.x(case.sizes[0])
    with pair.evaluating():
        own = [(name, fn) for trace in traced(pair, x) for name, site in random_sites(trace) for fn in _own(site["fn"])]
        if not own:
            raise NotApplicableError("all distributions are of Pyro or the zoo")
        for name, fn in own:
            if not fn.event_shape:
                _check(name, fn)


def _own(fn: Any) -> Iterator[Any]:
    """The distributions of the user's own in one and those that it wraps."""
    while fn is not None:
        if type(fn).__module__.partition(".")[0] not in LIBRARIES:
            yield fn
        fn = getattr(fn, "base_dist", None)


def _check(name: str, fn: Any) -> None:
    draws = fn.sample(torch.Size([DRAWS])).flatten(1)
    first = tuple(0 for _ in fn.batch_shape)
    draws = draws[:, 0]
    points, weights = _grid(fn, draws)
    shape = (len(points), *[1] * len(fn.batch_shape))
    density = fn.log_prob(points.reshape(shape).expand(len(points), *fn.batch_shape))[(slice(None), *first)].exp()
    mass = (density * weights).nan_to_num(0.0)
    total = float(mass.sum())
    word = type(fn).__name__
    if abs(total - 1) > OFF_ONE:
        raise BrokenError(f"the probabilities of the {word} at {name!r} add up to {total:.3g}, not to 1")
    below = (mass.cumsum(0) / total)[torch.searchsorted(points, draws.contiguous(), right=True).clamp(1, len(points)) - 1]
    ranks = torch.searchsorted(draws.sort().values, draws.contiguous(), right=True) / DRAWS
    gap = float((below - ranks).abs().max()) * math.sqrt(DRAWS)
    if gap > FARTHEST:
        raise BrokenError(
            f"the {word} at {name!r} draws other values than its log_prob gives probability to: their distribution "
            f"functions differ by {gap / math.sqrt(DRAWS):.2f}"
        )


def _grid(fn: Any, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Points over the whole line, or the integers, and the weight of each in an integral."""
    if fn.support.is_discrete:
        low, high = float(draws.min()), float(draws.max())
        points = torch.arange(min(low, 0.0), 2 * high + 100)
        return points, torch.ones_like(points)
    centre, width = draws.median(), (draws.quantile(0.75) - draws.quantile(0.25)).clamp(min=1e-9)
    angles = math.pi * ((torch.arange(POINTS) + 0.5) / POINTS - 0.5)
    return centre + width * angles.tan(), width / angles.cos().square() * math.pi / POINTS
