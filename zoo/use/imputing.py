"""Missing entries drawn from their distribution given the others.

Exact where the conditionals are derivable. An autoregressive model with observed entries behind missing ones draws
candidates entry by entry, weights them by the probability of the observed entries and resamples. A model with latents
alternates z ~ p(z | x), resampled among draws of the guide by their importance weights, and x_m ~ p(x_m | z)
(Rezende et al. 2014, arXiv:1401.4082, appendix F; the weights correct the guide, as in Mattei & Frellsen 2018,
arXiv:1802.04826). Chains start at the prior, resampled by p(x_o | z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.distributions.autoregressive import Autoregressive, draw
from zoo.errors import ZooError
from zoo.metrics.bounds import relative_error
from zoo.metrics.labels import posterior
from zoo.metrics.memory import MEMORY, rows_within
from zoo.pairs.pair import Pair
from zoo.pairs.records import cut, pair_for
from zoo.pairs.sites import data_first, data_plate, per_datum, random_sites, unmasked_entries_of
from zoo.pairs.traces import capabilities, traced
from zoo.scores import Kind
from zoo.use.columns import data_sites, nats_of_entries
from zoo.use.gaussian import gaussian_marginal

CANDIDATES = 16
"""Draws of the guide that each draw of the latents is chosen from, where they are not counted by a user."""
ROUNDS = 15
"""Of z and x_m in turn. The error of the start falls by about the share of information that is missing in each."""


@dataclass(frozen=True)
class Found:
    """Draws ``(draws, n, *event.shape)``, their mean, the effective number of candidates ``(n,)``."""

    draws: Tensor
    mean: Tensor
    ess: Tensor
    exact: bool


def impute(pair: Pair, x: Tensor, missing: Tensor, draws: int, particles: int) -> Found:
    """See `zoo.use.model.TrainedModel.impute`; in evaluation mode, all randomness is torch's.

    Args:
        pair: trained.
        x: data, ``(n, *event.shape)``; missing entries may be anything.
        missing: bool, in the shape of ``x``.
        draws, particles: for each datum.

    Raises:
        ZooError: the pair's conditionals cannot be derived.
    """
    if draws < 1 or particles < 1:
        raise ZooError(f"imputation takes one draw and one particle or more, got {draws} and {particles}")
    if pair.event.label is None:
        return _imputed(pair, x, missing, draws, particles)
    return _with_labels(pair, x, missing, draws, particles)


def _with_labels(pair: Pair, x: Tensor, missing: Tensor, draws: int, particles: int) -> Found:
    """Of a record with a label: what is missing of x is drawn first, then the label given x, where it is missing."""
    event, parts = pair.event, list[tuple[Tensor, Found]]()
    label = event.label
    assert label is not None  # see `impute`
    free = torch.tensor([field.role != "label" for field in event.parts for _ in range(field.size)])
    without = torch.where(free.to(x.device) | ~missing, x, torch.nan)
    for rows, part in cut(event, without):
        own = pair_for(pair, part)
        absent = missing[rows] if own is pair else missing[rows][:, free.to(x.device)]
        if absent.any():
            found = _imputed(own, part, absent, draws, particles)
        else:
            found = Found(part.expand(draws, *part.shape), part, torch.full((len(part),), float(draws)), exact=True)
        if own is not pair:
            found = _labelled(pair, found)
        parts.append((rows, found))
    order = torch.cat([rows for rows, _ in parts]).argsort()
    draw, mean, ess = (
        torch.cat([getattr(found, name) for _, found in parts], dim).index_select(dim, order.to(device))
        for name, dim, device in (("draws", 1, x.device), ("mean", 0, x.device), ("ess", 0, "cpu"))
    )
    return Found(draw, mean, ess, exact=all(found.exact for _, found in parts))


def _labelled(pair: Pair, found: Found) -> Found:
    """Draws without a label with one drawn from p(y | x); the mean has the most probable one over all draws."""
    event, (draws, n) = pair.event, found.draws.shape[:2]
    label = event.label
    assert label is not None  # see `impute`

    def joined(x: Tensor, y: Tensor) -> Tensor:
        return event.pack({**event.unlabelled.unpack(x), label.name: y}).to(x)

    flat = found.draws.flatten(0, 1)
    log_q = posterior(pair, joined(flat, torch.zeros_like(flat[:, 0])), particles=CANDIDATES)
    drawn = joined(flat, torch.distributions.Categorical(logits=log_q).sample().to(flat))
    best = log_q.exp().reshape(draws, n, -1).mean(0).argmax(1)
    return Found(drawn.reshape(draws, n, -1), joined(found.mean, best.to(flat)), found.ess, exact=False)


def _imputed(pair: Pair, x: Tensor, missing: Tensor, draws: int, particles: int) -> Found:
    gaussian = None if pair.event.fields else gaussian_marginal(pair)
    if gaussian is not None:
        drawn, mean = gaussian.given(x.flatten(1), missing.flatten(1).cpu(), draws)
        drawn, mean = (part.reshape(*part.shape[:-1], *pair.event.shape).to(x) for part in (drawn, mean))
        return Found(drawn, mean, torch.full((len(x),), float(draws)), exact=True)
    ordered, missing = in_order(pair, missing), _present(pair, x, missing)
    x = torch.where(missing, 0.0, x)
    latent = bool(pair.structure.sampled)
    copies = draws if ordered else max(particles, draws)
    rows = rows_within(MEMORY, x, lambda part: _weighted(pair, part)) // (draws * particles if latent else copies)
    found = [
        _chains(pair, *part, draws, particles, ordered) if latent else _resampled(pair, *part, draws, copies, ordered)
        for part in zip(x.split(max(1, rows)), missing.split(max(1, rows)), strict=True)
    ]
    return Found(
        torch.cat([each.draws for each in found], 1),
        torch.cat([each.mean for each in found]),
        torch.cat([each.ess for each in found]),
        exact=ordered and not latent,
    )


def missing_log_prob(pair: Pair, x: Tensor, missing: Tensor, particles: int) -> tuple[Tensor, Tensor, Kind]:
    """log p(x_m | x_o) of the ``missing`` entries given the others; in evaluation mode.

    With latents it is the log of the mean of p(x_m | z) over draws of z given x_o.

    Args:
        pair: trained.
        x: complete data, ``(n, *event.shape)``.
        missing: bool, in the shape of ``x``.
        particles: draws of z for each datum.

    Returns:
        Value and Monte Carlo error, shape ``(n,)``, float64, on the CPU, and kind.

    Raises:
        ZooError: the pair's conditionals cannot be derived.
    """
    gaussian = None if pair.event.fields else gaussian_marginal(pair)
    if gaussian is not None:
        value = gaussian.log_prob(x.flatten(1)) - gaussian.log_prob_of(x.flatten(1), ~missing.flatten(1).cpu())
        return value, torch.zeros_like(value), "exact"
    missing = _present(pair, x, missing)
    ordered, latent = in_order(pair, missing), bool(pair.structure.sampled)
    if not ordered:
        raise ZooError(
            f"{pair.label} draws entries in order, and some that are scored come before some that are given: only "
            "the last ones have a conditional log-probability"
        )
    copies = particles if latent else 1
    rows = max(1, rows_within(MEMORY, x, lambda part: _weighted(pair, part)) // (copies * CANDIDATES))
    found = list[Tensor]()
    for part, absent in zip(x.split(rows), missing.split(rows), strict=True):
        wide = part.repeat_interleave(copies, 0)
        latents = poutine.Trace()
        if latent:
            latents, _, _ = _posterior(pair, torch.where(absent, 0.0, part), absent, copies, CANDIDATES, ordered)
        trace = poutine.trace(poutine.replay(pair.model, trace=latents)).get_trace(wide)
        nats = torch.where(absent.flatten(1).repeat_interleave(copies, 0), nats_of_entries(pair, trace, len(wide)), 0.0)
        found.append(nats.sum(1).double().reshape(-1, copies).cpu())
    weights = torch.cat(found)
    value = weights.logsumexp(1) - math.log(copies)
    if not latent:
        return value, torch.zeros_like(value), "exact"
    return value, relative_error(1 / weights.softmax(1).square().sum(1), copies), "estimate"


def _present(pair: Pair, x: Tensor, missing: Tensor) -> Tensor:
    """The missing entries less those that lie beyond the length of a sequence."""
    padding = pair.event.padding(x)
    return missing if padding is None else missing & ~padding


def in_order(pair: Pair, missing: Tensor) -> bool:
    """Whether what is missing can be drawn entry by entry given the rest (and latents).

    Raises:
        ZooError: the pair's conditionals cannot be derived.
    """
    return all(_comes_last(pair, name, fn, missing) for name, fn in conditional_sites(pair).items())


def conditional_sites(pair: Pair) -> dict[str, Any]:
    """The observed sites with their distributions, if any entries of them can be drawn given the others and z.

    Raises:
        ZooError: they cannot; the message says why.
    """
    can = capabilities(pair)
    if not can.observed or can.dequantising or not pair.structure.plain:
        reason = (
            "an implicit model: it observes nothing"
            if not can.observed
            else "a density of dequantised data, whose conditionals are not derivable"
            if can.dequantising
            else "it has latents that are summed, shared or auxiliary"
        )
        raise ZooError(f"{pair.label} gives no distribution of missing entries: {reason}; impute by another family")
    pair.structure.require_sound()
    trace, _ = traced(pair, pair.event.zeros(3).to(pair.device))
    sites = {name: trace.nodes[name]["fn"] for name in data_sites(pair)}
    drawn = [name for name, _ in random_sites(trace) if name in pair.layout.places]
    if drawn[-1] not in sites:
        raise ZooError(
            f"{pair.label} gives no distribution of missing entries: it draws the label {drawn[-1]!r} given x, so what "
            "the label says of x is not derivable; impute by a model that draws x given the label, such as ssvae"
        )
    for name, fn in sites.items():
        if not isinstance(fn, Autoregressive) and unmasked_entries_of(fn).event_shape:
            raise ZooError(
                f"{pair.label} gives no distribution of missing entries: the conditionals of {type(fn).__name__} "
                f"(site {name!r}) are not derivable; impute by another family, such as vae"
            )
    if len(sites) > 1:
        raise ZooError(
            f"{pair.label} gives no distribution of missing entries: it observes x in {len(sites)} sites, which may "
            "depend on each other; observe it in one"
        )
    return sites


def _comes_last(pair: Pair, name: str, fn: Any, missing: Tensor) -> bool:
    """Whether no entry that is missing comes before one that is observed, in the order they are drawn."""
    if not isinstance(fn, Autoregressive):
        return True  # the entries are independent
    ordered = missing.flatten(1)[:, pair.layout.places[name].to(missing.device)].int()
    return bool((ordered.diff(dim=1) >= 0).all())


def _resampled(pair: Pair, x: Tensor, missing: Tensor, draws: int, copies: int, exact: bool) -> Found:
    """Candidates for each datum, and ``draws`` of them by their weights."""
    n = len(x)
    wide, absent = (part.repeat_interleave(copies, 0) for part in (x, missing))
    drawn, weights = _completed(pair, poutine.trace(pair.model).get_trace(wide), wide, absent)
    drawn, shares = drawn.reshape(n, copies, *x.shape[1:]), _shares(pair, weights.reshape(n, copies))
    mean = (shares.unsqueeze(1) @ drawn.flatten(2).double()).squeeze(1).to(x).reshape(x.shape)
    chosen = torch.arange(draws, device=x.device).expand(n, draws)
    if not exact:
        chosen = shares.multinomial(draws, replacement=True)
    picked = drawn[torch.arange(n, device=x.device)[:, None], chosen]
    return Found(picked.transpose(0, 1), mean, 1 / shares.square().sum(1).cpu(), exact)


def _chains(pair: Pair, x: Tensor, missing: Tensor, draws: int, particles: int, ordered: bool) -> Found:
    """A chain for each draw of each datum; ``ess`` is of the guide's particles in the last round."""
    _, drawn, ess = _posterior(pair, x, missing, draws, particles, ordered)
    drawn = drawn.reshape(len(x), draws, *x.shape[1:]).transpose(0, 1)
    return Found(drawn, drawn.double().mean(0).to(x), ess.reshape(len(x), draws).mean(1).cpu(), exact=False)


def _posterior(
    pair: Pair, x: Tensor, missing: Tensor, draws: int, particles: int, ordered: bool
) -> tuple[Any, Tensor, Tensor]:
    """Latents given the observed entries, as a trace to replay, with the data completed and the effective sample size.

    All are of ``n * draws`` data: those of a datum follow each other.
    """
    copies = 1 if ordered else particles
    x, missing = (part.repeat_interleave(draws, 0) for part in (x, missing))
    wide, absent = x.repeat_interleave(particles, 0), missing.repeat_interleave(copies, 0)
    trace = poutine.trace(pair.model).get_trace(wide)
    _, weights = _completed(pair, trace, wide, missing.repeat_interleave(particles, 0))
    for _ in range(ROUNDS):
        chosen = _chosen(pair, weights, particles)
        latents = _picked(pair, trace, len(wide), chosen.repeat_interleave(copies))
        x = x.repeat_interleave(copies, 0)
        model = poutine.trace(poutine.replay(pair.model, trace=latents)).get_trace(x)
        x, weights = _completed(pair, model, x, absent)
        x = x[_chosen(pair, weights, copies)]
        trace, weights = _weighted(pair, x.repeat_interleave(particles, 0))
    ess = 1 / _shares(pair, weights.reshape(-1, particles)).square().sum(1)
    return _picked(pair, trace, len(wide), _chosen(pair, weights, particles)), x, ess


def _weighted(pair: Pair, x: Tensor) -> tuple[Any, Tensor]:
    """A trace of the guide, and the log importance weight of each of its draws, shape ``(n,)``."""
    model, guide = traced(pair, x)
    return guide, per_datum(model, len(x)) - per_datum(guide, len(x))


def _shares(pair: Pair, weights: Tensor) -> Tensor:
    """Normalised weights along the last dimension.

    Raises:
        ZooError: none of a row's candidates has any probability.
    """
    shares = weights.double().softmax(-1)
    if not shares.isfinite().all():
        raise ZooError(
            f"a datum has no probability under {pair.label}, whatever is missing; check the observed entries"
        )
    return shares


def _chosen(pair: Pair, weights: Tensor, particles: int) -> Tensor:
    """The places of one of each ``particles`` successive candidates, drawn by their weights."""
    found = _shares(pair, weights.reshape(-1, particles)).multinomial(1)[:, 0]
    return found + particles * torch.arange(len(found), device=found.device)


def _picked(pair: Pair, trace: Any, n: int, chosen: Tensor) -> Any:
    """The latents of the data at the places ``chosen`` of ``n``, as a trace to replay."""
    found = poutine.Trace()
    for name in pair.structure.sampled:
        site = trace.nodes[name]
        value = site["value"].index_select(data_plate(name, site, n).dim - len(site["fn"].event_shape), chosen)
        found.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
    return found


def _completed(pair: Pair, trace: Any, x: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` with missing entries drawn given the latents in a trace, and log p of the observed ones, as drawn through.

    For independent entries that is log p(x_o | z). For autoregressive ones it is the sum over observed entries of their
    log-probability given all before them, the weight of the draws. log p(y | z) of a label is added.
    """
    [(name, places)] = data_sites(pair).items()
    site, flat = trace.nodes[name], x.flatten(1).clone()
    order = places.to(x.device)
    absent = missing.flatten(1)[:, order]
    if isinstance(site["fn"], Autoregressive):
        values, nats = _clamped(site["fn"], flat[:, order], absent)
    else:
        both = (site["fn"].sample(), unmasked_entries_of(site["fn"]).log_prob(site["value"]))
        values, nats = (data_first(name, {**site, "value": each}, len(x)).reshape(len(x), -1) for each in both)
    flat[:, order] = torch.where(absent, values.to(flat), flat[:, order])
    label = per_datum(trace, len(x), pair.layout.places.keys() - {name}).to(nats)
    padding = pair.event.padding(x)
    unseen = absent if padding is None else absent | padding[:, order]
    return flat.reshape(x.shape), torch.where(unseen, 0.0, nats).sum(1) + label


def _clamped(fn: Autoregressive, x: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """Entries in order: the observed ones as they are, the others drawn; and the log-probability of each."""
    stream = fn.stream(len(x))
    values, nats, logits = list[Tensor](), list[Tensor](), next(stream)
    while True:
        place = len(values)
        value = torch.where(missing[:, place], draw(logits), x[:, place])
        values.append(value)
        nats.append(logits.log_softmax(-1).gather(-1, value.long().unsqueeze(-1)).squeeze(-1))
        if len(values) == x.shape[1]:
            return torch.stack(values, 1), torch.stack(nats, 1)
        logits = stream.send(value)
