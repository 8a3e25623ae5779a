"""Law: a distribution's log-probabilities are those of its draws. Only a user's own distributions are checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.contract.ground import NOISE, noisy
from zoo.contract.normalisation import DRAWS as DRAWS_OF_VECTORS
from zoo.contract.normalisation import evidence
from zoo.contract.volumes import MOST_ENTRIES, changes, counts_volume
from zoo.distributions import Unnormalised
from zoo.pairs.sites import is_discrete, random_sites
from zoo.pairs.traces import traced

LIBRARIES = ("torch", "pyro", "zoo")
POINTS, DRAWS, PLACES = 4001, 4000, 5
"""Points of the grid of an integral, draws, and distributions of a batch that are looked at."""
OFF_ONE = 0.02
"""By which the numerical integral of a density may differ from 1."""
DOUBT = 2.5
"""Nats by which a density of vectors may be off unseen before it counts as not verified."""
FARTHEST = 2.5
"""Largest Kolmogorov-Smirnov statistic, in units of 1 / sqrt(draws): an honest distribution's is larger once in 1e5."""


def densities_are_of_their_draws(case: Case) -> None:
    with case.pair.evaluating():
        with noisy(case.pair, NOISE):
            _doubts(case)
        doubts = _doubts(case)
    if doubts:
        raise NotApplicableError(f"not verified: {'; '.join(doubts)}")


def _doubts(case: Case) -> list[str]:
    """What remains in doubt of the distributions and changes of variables that no library answers for."""
    doubts = list[str]()
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
            elif math.prod(fn.event_shape) <= MOST_ENTRIES:
                doubts += _compare_vectors(what, fn)
            else:
                doubts.append(f"the {what} has {math.prod(fn.event_shape)} dimensions, more than {MOST_ENTRIES}")
    return doubts


def _of_the_user(fn: Any) -> Iterator[Any]:
    """The distributions that no library answers for: a user's own, and what a library makes of several such."""
    if type(fn).__module__.partition(".")[0] not in LIBRARIES:
        yield fn
        return
    for wrapped in ("base_dist", "dist"):  # the latter by pyro.contrib.zuko.ZukoToPyro
        if hasattr(fn, wrapped):
            yield from _of_the_user(getattr(fn, wrapped))
            return
    parts = (part for part in vars(fn).values() if isinstance(part, torch.distributions.Distribution))
    if any(any(True for _ in _of_the_user(part)) for part in parts):
        yield fn  # a mixture


def _compare_vectors(what: str, fn: Any) -> Iterator[str]:
    """What remains in doubt of the first and of the last of a batch of distributions of vectors."""
    whole = fn.sample(torch.Size([DRAWS_OF_VECTORS]))
    for place in dict.fromkeys((0, math.prod(fn.batch_shape) - 1)):
        yield from _compare_vectors_at(what, fn, whole, place)


def _compare_vectors_at(what: str, fn: Any, whole: Tensor, place: int) -> Iterator[str]:
    """The same of one distribution of the batch, of which ``whole`` has draws."""
    one: tuple[slice | int, ...] = (slice(None), *_index(place, fn.batch_shape))
    draws = whole[one].float()

    def claimed(x: Tensor) -> Tensor:
        values = x.reshape(-1, *(1 for _ in fn.batch_shape), *fn.event_shape)
        values = values.expand(-1, *fn.batch_shape, *fn.event_shape)
        inside = torch.ones(values.shape[: values.dim() - len(fn.event_shape)], dtype=torch.bool)
        with suppress(NotImplementedError):
            inside = fn.support.check(values)
        known = inside.reshape(*inside.shape, *(1 for _ in fn.event_shape))
        logs: Tensor = fn.log_prob(values.where(known, draws[0]))
        return logs[one].where(inside[one], -math.inf)

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
    """The draws of some of a batch of distributions of numbers, and their integrals on a grid."""
    whole = fn.sample(torch.Size([DRAWS]))
    places = torch.linspace(0, math.prod(fn.batch_shape) - 1, PLACES).round().long().unique().tolist()
    for place in places:
        one = (slice(None), *_index(place, fn.batch_shape))
        draws = whole[one].contiguous()
        points, weights = _grid(fn, draws)
        batch = points.reshape(-1, *(1 for _ in fn.batch_shape)).expand(len(points), *fn.batch_shape)
        _compare_on_grid(what, draws, points, (fn.log_prob(batch)[one].exp() * weights).nan_to_num(0.0))


def _compare_on_grid(what: str, draws: Tensor, points: Tensor, mass: Tensor) -> None:
    """Draws of a distribution with the probabilities that it gives to the points of a grid."""
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


def _index(place: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The index of a place in a flattened batch."""
    return tuple(int(each) for each in torch.unravel_index(torch.tensor(place), torch.Size(shape))) if shape else ()


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
