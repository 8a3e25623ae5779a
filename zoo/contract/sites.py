"""Laws read off the traces: the programs run, and their sites, plates and supports agree."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributions import transform_to

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.contract.values import extent, fits, supports
from zoo.event import Event
from zoo.pairs.pair import HasPlayers
from zoo.pairs.sites import latent_sites, observed_sites, per_datum
from zoo.pairs.traces import capabilities, log_prob, traced


def runs(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        capabilities(pair)
        for n in case.sizes:
            x = case.x(n)
            pair.model(x)
            traced(pair, x)


def lie_in_the_plate(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        exact = capabilities(pair).likelihood == "exact"
        for n in case.sizes:
            x = case.x(n)
            for trace in traced(pair, x):
                per_datum(trace, n)
            if exact and log_prob(pair, x).shape != (n,):
                raise BrokenError(f"log_prob(x) should have shape ({n},), got {tuple(log_prob(pair, x).shape)}")


def same_sites(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        model_trace, _ = traced(pair, case.x(case.sizes[0]))
        latents, guided = latent_sites(model_trace), set(capabilities(pair).latents)
    if not guided and isinstance(pair.extras, HasPlayers):
        raise NotApplicableError("it has an objective of its own and no guide")
    for name in sorted(latents - guided):
        raise BrokenError(f"the model's latent {name!r} is not sampled by the guide")
    for name in sorted(guided - latents):
        raise BrokenError(
            f"the guide samples {name!r}, which is no latent of the model ({', '.join(sorted(latents)) or 'none'})"
        )


def supports_agree(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, case.x(case.sizes[0]))
        for name in capabilities(pair).latents:
            _within(name, guide_trace.nodes[name], model_trace.nodes[name])
        for name in observed_sites(model_trace):
            _observes(case.event, name, model_trace.nodes[name])


def _within(name: str, guided: Any, latent: Any) -> None:
    ours, theirs = guided["fn"].support, latent["fn"].support
    probe = guided["fn"].sample()
    if ours.is_discrete != theirs.is_discrete:
        raise BrokenError(f"latent {name!r} is {_kind(theirs)} in the model and {_kind(ours)} in the guide")
    if not ours.is_discrete:
        free = transform_to(ours)
        probe = free(5 * torch.randn_like(free.inv(probe)))  # all over the support, not only where the guide draws
    if probe.shape != latent["value"].shape:
        raise BrokenError(
            f"latent {name!r} has shape {tuple(latent['value'].shape)} in one run and {tuple(probe.shape)} in another"
        )
    if not supports(latent["fn"], probe):
        raise BrokenError(
            f"the guide's {_name(guided)} for {name!r} may draw what the model's {_name(latent)} rules out: "
            f"its support {ours} is not within {theirs}"
        )


def _observes(event: Event, name: str, site: Any) -> None:
    support = site["fn"].support
    if support.is_discrete != (event.levels is not None):
        raise BrokenError(
            f"the data are {event.support} ({event}), and {name!r} is observed under a {_kind(support)} {_name(site)}"
        )
    if not supports(site["fn"], site["value"]):
        raise BrokenError(
            f"{name!r} is observed under a {_name(site)} of support {support}, which does not take all of {event}"
        )
    draws = torch.stack([site["fn"].sample() for _ in range(5)])
    if not fits(event, draws):
        raise BrokenError(
            f"{name!r} is observed under a {_name(site)} that draws {extent(draws)}, which is not within {event}"
        )


def _kind(support: Any) -> str:
    return "discrete" if support.is_discrete else "continuous"


def _name(site: Any) -> str:
    base = site["fn"]
    while hasattr(base, "base_dist"):
        base = base.base_dist
    return type(base).__name__
