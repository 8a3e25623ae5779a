"""Law: a distribution's log-probabilities are those of its draws. Only a user's own distributions are checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.contract.normalisation import DRAWS as DRAWS_OF_VECTORS
from zoo.contract.normalisation import evidence
from zoo.contract.volumes import MOST_ENTRIES, changes, counts_volume
from zoo.distributions import Unnormalised
from zoo.pairs.sites import is_discrete, random_sites
from zoo.pairs.traces import traced

LIBRARIES = ("torch", "pyro", "zoo")
POINTS, DRAWS = 4001, 4000
OFF_ONE = 0.02
"""By which the numerical integral of a density may differ from 1."""
DOUBT = 2.5
"""Nats by which a density of vectors may be off unseen before it counts as not verified."""
FARTHEST = 2.5
"""Largest Kolmogorov-Smirnov statistic, in units of 1 / sqrt(draws): an honest distribution's is larger once in 1e5."""


def densities_are_of_their_draws(case: Case) -> None:
    doubts = list[str]()
    with case.pair.evaluating():
        sites = [each for trace in traced(case.pair, case.x(case.sizes[0])) for each in random_sites(trace)]
        for name, site in sites:
            for change in changes(site["fn"]):
                counts_volume(name, change)
            for fn in _of_the_user(site["fn"]):
                what = f"{type(fn).__name__} at {name!r}"
                if isinstance(fn, Unnormalised) and not fn.normalised:
                    doubts.append(f"the {what} is unnormalised: its log-probabilities are known up to a constant")
                elif not fn.event_shape:
                    _compare(what, fn)
                elif fn.event_shape.numel() <= MOST_ENTRIES:
                    doubts += _compare_vectors(what, fn)
                else:
                    doubts.append(f"the {what} has {fn.event_shape.numel()} dimensions, more than {MOST_ENTRIES}")
    if doubts:
        raise NotApplicableError(f"not verified: {'; '.join(doubts)}")


def _of_the_user(fn: Any) -> Iterator[Any]:
    """The distributions that no library answers for: a user's own, and mixtures of them."""
    if type(fn).__module__.partition(".")[0] not in LIBRARIES:
        yield fn
    elif isinstance(fn, dist.MixtureSameFamily):
        if any(_of_the_user(fn.component_distribution)) or any(_of_the_user(fn.mixture_distribution)):
            yield fn
    else:
        for wrapped in ("base_dist", "dist"):  # the latter by pyro.contrib.zuko.ZukoToPyro
            if hasattr(fn, wrapped):
                yield from _of_the_user(getattr(fn, wrapped))


def _compare_vectors(what: str, fn: Any) -> Iterator[str]:
    """What remains in doubt of the first of a batch of distributions of vectors."""
    first: tuple[slice | int, ...] = (slice(None), *(0 for _ in fn.batch_shape))
    draws = fn.sample(torch.Size([DRAWS_OF_VECTORS]))[first].float()

    def claimed(x: Tensor) -> Tensor:
        values = x.reshape(-1, *(1 for _ in fn.batch_shape), *fn.event_shape)
        values = values.expand(-1, *fn.batch_shape, *fn.event_shape)
        inside = torch.ones(values.shape[: values.dim() - len(fn.event_shape)], dtype=torch.bool)
        with suppress(NotImplementedError):
            inside = fn.support.check(values)
        known = inside.reshape(*inside.shape, *(1 for _ in fn.event_shape))
        logs: Tensor = fn.log_prob(values.where(known, draws[0]))
        return logs[first].where(inside[first], -math.inf)

    found = evidence(claimed, draws.flatten(1), is_discrete(fn))
    if found is None:
        yield f"the draws of the {what} have no volume"
        return
    for each, word in zip(found, ("small", "great"), strict=True):
        if each.wrong:
            raise BrokenError(
                f"the log_prob of the {what} is too {word}, by {each.off:.2g} nats or more: it is not normalised, or "
                "not that of its draws"
            )
        if each.unseen > DOUBT:
            yield f"the log_prob of the {what} may be too {word} by up to {each.unseen:.2g} nats"


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
