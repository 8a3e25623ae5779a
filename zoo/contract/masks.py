"""Law: masks hide the padding of sequences and nothing else, and what they hide of the latents matters to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError
from zoo.contract.ground import NOISE, given, noisy
from zoo.contract.values import shortened
from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_first, latent_sites, layers, per_datum, random_sites
from zoo.pairs.traces import traced

REDRAWN = 3
"""How often hidden latents are drawn again: a discrete one may keep its value."""
TOLERANCE = 1e-4
"""Relative and absolute, between log-probabilities that should be equal."""


def scores_everything(case: Case) -> None:
    pair, x = case.pair, shortened(case.event, case.x(case.sizes[1]))
    with pair.evaluating():
        traces = traced(pair, x)
    for name, site in chain.from_iterable(map(random_sites, traces)):
        if any(isinstance(layer, dist.Unit) for layer in layers(site["fn"])):
            raise BrokenError(
                f"{name!r} is a factor, so the program's density need not integrate to one; the Jacobian of a change "
                "of variables is counted by dist.TransformedDistribution"
            )
    _observed_are_scored(pair, x, traces[0])
    for noise in (0.0, NOISE):
        with pair.evaluating(), noisy(pair, noise):
            _hidden_latents_are_idle(pair, x)


def _observed_are_scored(pair: Pair, x: Tensor, model_trace: Any) -> None:
    """Every observed entry is scored unless it is padding."""
    shown = {name: _shown(site) for name, site in random_sites(model_trace) if site["is_observed"]}
    padding = pair.event.padding(x)
    if padding is None:
        for name in (name for name, scored in shown.items() if not scored.all()):
            raise BrokenError(f"a mask hides {name!r}, or a part of it, so that it is not scored")
        return
    nodes = model_trace.nodes
    found = {name: data_first(name, {**nodes[name], "value": each.to(x)}, len(x)) for name, each in shown.items()}
    scored = pair.layout.place(found, torch.zeros_like(x)).bool()
    for name, places in pair.layout.places.items():
        if (~scored & ~padding)[:, places].any():
            raise BrokenError(f"{name!r} is masked, or left out, at steps before the length of its sequence")
        if (scored & padding)[:, places].any():
            raise BrokenError(f"{name!r} is scored where it is padding, beyond the length of its sequence")


def _hidden_latents_are_idle(pair: Pair, x: Tensor) -> None:
    """A latent is masked in both programs or in none, and drawing it again where it is masked changes no result."""
    traces = traced(pair, x)
    names = [name for name in latent_sites(traces[0]) if name in traces[1].nodes]
    hidden = dict[str, Tensor]()
    for name in names:
        ours, theirs = (_shown(trace.nodes[name]) for trace in traces)
        if not torch.equal(*torch.broadcast_tensors(ours, theirs)):
            raise BrokenError(f"a mask hides {name!r} in one program and not in the other, so it is not scored")
        if not ours.all():
            hidden[name] = ~ours
    if not hidden:
        return
    values = {name: traces[0].nodes[name]["value"] for name in latent_sites(traces[0])}
    before = _log_weights(pair, x, values)
    for _ in range(REDRAWN):
        drawn = traced(pair, x)[1]
        others = {name: torch.where(mask, drawn.nodes[name]["value"], values[name]) for name, mask in hidden.items()}
        if not torch.allclose(_log_weights(pair, x, values | others), before, rtol=TOLERANCE, atol=TOLERANCE):
            raise BrokenError(
                f"a mask hides {', '.join(map(repr, hidden))}, or a part of it, so that it is not scored, and other "
                "sites depend on what is hidden"
            )


def _log_weights(pair: Pair, x: Tensor, values: dict[str, Tensor]) -> Tensor:
    """log p(x, z) - log q(z | x) of these values of the latents."""
    guide, model = (
        per_datum(given(program, x, values), len(x), without=pair.structure.outside)
        for program in (pair.guide, pair.model)
    )
    return model - guide


def _shown(site: Any) -> Tensor:
    """Which entries of a site's value are scored: the shape of the value, bool."""
    value = site["value"]
    shown = torch.ones_like(value, dtype=torch.bool)
    for mask, event_dim in _masks(site):
        shown = shown & mask.to(value.device).bool().reshape(*mask.shape, *(1 for _ in range(event_dim)))
    return shown


def _masks(site: Any) -> Iterator[tuple[Tensor, int]]:
    """The masks on a site, each with the number of dimensions of an entry that it hides as a whole."""
    if site["mask"] is not None:
        yield torch.as_tensor(site["mask"]), site["fn"].event_dim
    for layer in layers(site["fn"]):
        if getattr(layer, "_mask", None) is not None:
            yield torch.as_tensor(layer._mask), layer.event_dim
