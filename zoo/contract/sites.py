"""Laws read off the traces: the programs run, and their sites, plates and supports agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Any

import torch
from pyro.distributions import MaskedDistribution, constraints
from torch import Tensor
from torch.distributions import transform_to

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.contract.values import extent
from zoo.errors import ContractError
from zoo.event import Field
from zoo.pairs.enumeration import misread_sites
from zoo.pairs.pair import HasPlayers, Pair
from zoo.pairs.sites import is_discrete, is_point, layers, observed_sites, per_datum, random_sites
from zoo.pairs.traces import capabilities, log_prob, traced

MANY = 101
"""Data on which parameters are looked at: some of what an unconstrained network puts out is then negative."""
FEW, SPREAD = 8, 40
"""Draws of a latent whose support is looked at, and points all over a known support: some of them are of each sign."""
PROBABILITY = 1e-3
"""By how much a sum of probabilities may exceed one, by rounding."""


def runs(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        pair.model(case.x(case.sizes[0]))  # with draws of its own
        if pair.structure.fixed:
            return  # it takes one size of batch only: the next law
        capabilities(pair)
        for n in case.sizes:
            traced(pair, case.x(n))


def are_amortised(case: Case) -> None:
    case.pair.structure.require_amortised()


def lie_in_the_plate(case: Case) -> None:
    pair = case.pair
    events = dict[tuple[str, str], list[torch.Size]]()
    with pair.evaluating():
        for n in case.sizes:
            for word, trace in zip(("model", "guide"), traced(pair, case.x(n)), strict=True):
                try:
                    per_datum(trace, n, without=pair.structure.outside)
                except ContractError as error:
                    raise BrokenError(f"in the {word}, {error}") from error
                for name, site in random_sites(trace):
                    events.setdefault((word, name), []).append(site["fn"].event_shape)
        for (word, name), shapes in events.items():
            if len(set(shapes)) > 1:
                raise BrokenError(
                    f"in the {word}, one draw of {name!r} has the event shape {tuple(shapes[0])} of {case.sizes[0]} "
                    "data: its .to_event(...) takes in the dimension of the data, so declare one dimension fewer"
                )
        if capabilities(pair, case.x(case.sizes[0])).likelihood == "exact":
            n = case.sizes[0]
            value = log_prob(pair, case.x(n))
            if value.shape != (n,):
                raise BrokenError(f"log_prob(x) should have shape ({n},), got {tuple(value.shape)}")


def same_sites(case: Case) -> None:
    pair = case.pair
    can = capabilities(pair, case.x(case.sizes[0]))
    if can.likelihood == "none" and not can.latents and isinstance(pair.extras, HasPlayers):
        raise NotApplicableError("it has an objective of its own and no guide")
    if pair.structure.mismatch:
        raise BrokenError(pair.structure.mismatch)


def guide_is_a_density(case: Case) -> None:
    if case.pair.structure.no_density:
        raise BrokenError(case.pair.structure.no_density)


def sums_are_sums(case: Case) -> None:
    pair = case.pair
    if not pair.structure.enumerated:
        return
    with pair.evaluating():
        wrong = misread_sites(pair, case.x(case.sizes[0]))
    if wrong:
        raise BrokenError(
            f"{', '.join(map(repr, wrong))} should have one distribution, whether the summed latents take one value or "
            "all of them in a dimension of their own; it has another"
        )


def parameters_are_valid(case: Case) -> None:
    with case.pair.evaluating():
        traces = traced(case.pair, case.x(MANY))
    for word, trace in zip(("model", "guide"), traces, strict=True):
        for name, site in random_sites(trace):
            for layer in layers(site["fn"]):
                for parameter, value, constraint in _parameters(layer):
                    if not constraint.check(value).all():
                        raise BrokenError(
                            f"in the {word}, the {type(layer).__name__} at {name!r} has {parameter} = {extent(value)}, "
                            f"which should be {_words(constraint)}"
                        )


def _parameters(fn: Any) -> Iterator[tuple[str, Tensor, Any]]:
    """The parameters that a distribution was given, with their constraints."""
    for name, constraint in getattr(fn, "arg_constraints", {}).items():
        if name in vars(fn) and isinstance(vars(fn)[name], Tensor) and not constraints.is_dependent(constraint):
            yield name, vars(fn)[name], constraint


def _words(constraint: Any) -> str:
    if isinstance(constraint, constraints.interval):
        return f"between {constraint.lower_bound:g} and {constraint.upper_bound:g}"
    return "positive" if constraint in (constraints.positive, constraints.nonnegative) else f"within {constraint}"


def supports_agree(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, case.x(case.sizes[0]))
        for name, site in random_sites(guide_trace):
            if name not in pair.structure.auxiliary:
                _within(name, site, model_trace.nodes[name])
        for name in observed_sites(model_trace):
            _observes(_observed_field(pair, name), name, model_trace.nodes[name])


def _within(name: str, guided: Any, latent: Any) -> None:
    if is_point(guided["fn"]):
        return  # no density: `zoo.contract.ground.spreads_as_the_prior`
    if is_discrete(guided["fn"]) != is_discrete(latent["fn"]):
        raise BrokenError(
            f"latent {name!r} is {_kind(latent['fn'])} in the model and {_kind(guided['fn'])} in the guide"
        )
    ours, theirs = _support(guided["fn"]), _support(latent["fn"])
    draw = guided["fn"]()
    if draw.shape != latent["value"].shape:
        raise BrokenError(
            f"latent {name!r} has shape {tuple(latent['value'].shape)} in one run and {tuple(draw.shape)} in another"
        )
    if ours is None or ours.is_discrete:
        probe = torch.stack([draw, *(guided["fn"]() for _ in range(FEW))])
    else:  # all over the support, not only where the guide draws
        free = transform_to(ours)
        probe = free(5 * torch.randn(SPREAD, *free.inv(draw).shape).to(draw))
    if theirs is not None and not theirs.check(probe).all():
        raise BrokenError(
            f"the guide's {_name(guided)} for {name!r} may draw what the model's {_name(latent)} rules out: "
            f"its support {ours} is not within {theirs}"
        )


def _observed_field(pair: Pair, name: str) -> Field:
    """The field that a site observes; the main one if it is not known."""
    with suppress(ContractError):  # a law of its own
        place = int(pair.layout.places[name][0])
        ends = accumulate(field.size for field in pair.event.parts)
        return next(field for field, end in zip(pair.event.parts, ends, strict=True) if place < end)
    return pair.event.main


def _observes(field: Field, name: str, site: Any) -> None:
    if is_discrete(site["fn"]) != (field.levels is not None):
        raise BrokenError(
            f"the data are {field.support} ({field.event}), and {name!r} is observed under a {_kind(site['fn'])} "
            f"{_name(site)}"
        )
    support = _support(site["fn"])
    if support is not None and not support.check(site["value"]).all():
        raise BrokenError(
            f"{name!r} is observed under a {_name(site)} of support {support}, which does not take all of {field.event}"
        )
    entries = site["fn"]
    while isinstance(entries, (torch.distributions.Independent, MaskedDistribution)):
        entries = entries.base_dist
    if field.levels is not None and not entries.event_shape:
        levels = torch.arange(field.levels, device=site["value"].device).to(site["value"].dtype)
        total = (
            torch.stack([entries.log_prob(level.expand(entries.batch_shape)) for level in levels]).logsumexp(0).exp()
        )
        if (total > 1 + PROBABILITY).any():
            raise BrokenError(
                f"under the {_name(site)} of {name!r} the levels of an entry have a total probability of "
                f"{float(total.max()):g}"
            )


def _support(fn: Any) -> Any:
    """The support of a distribution, ``None`` if it declares none."""
    try:
        return fn.support
    except NotImplementedError:
        return None


def _kind(fn: Any) -> str:
    return "discrete" if is_discrete(fn) else "continuous"


def _name(site: Any) -> str:
    base = site["fn"]
    while hasattr(base, "base_dist"):
        base = base.base_dist
    return type(base).__name__
