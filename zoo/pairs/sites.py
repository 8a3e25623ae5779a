"""The sites of one Pyro trace: which are random, observed, latent or dequantising, and their log-probabilities."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from zoo.distributions import Floor
from zoo.errors import ContractError
from zoo.event import Event


def random_sites(trace: Any) -> Iterator[tuple[str, Any]]:
    """The random sites of a trace: no plates, no deterministic values."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site) and not _deterministic(site):
            yield name, site


def _deterministic(site: Any) -> bool:
    return bool(site["infer"].get("_deterministic", False))


def latent_sites(model_trace: Any) -> set[str]:
    """Names of the sites that a model leaves unobserved."""
    return {name for name, site in random_sites(model_trace) if not site["is_observed"]}


def observed_sites(model_trace: Any) -> set[str]:
    """Names of the sites that a model observes."""
    return {name for name, site in random_sites(model_trace) if site["is_observed"]}


def dequantising_sites(model_trace: Any, observed: Iterable[str]) -> tuple[str, ...]:
    """Names of the latents whose floor is an observed site (`zoo.distributions.observe`)."""
    nodes = model_trace.nodes
    bases = [getattr(nodes[name]["fn"], "base_dist", nodes[name]["fn"]) for name in observed]
    floored = {id(base.y) for base in bases if isinstance(base, Floor)}
    return tuple(name for name in latent_sites(model_trace) if id(nodes[name]["value"]) in floored)


def output_site(model_trace: Any, event: Event) -> str:
    """The site that carries ``x``: the observed one, else a deterministic one.

    Of several deterministic sites it is ``x``, or else the last of the event's size. The other fields of a record are
    carried by the sites of their names, and ``x`` is its main field.

    Raises:
        ContractError: several sites are observed, or none carries ``x``.
    """
    others = {field.name for field in event.fields} - {event.main.name}
    nodes = {name: site for name, site in model_trace.nodes.items() if name not in others}
    seen = [
        n for n, s in nodes.items() if s["type"] == "sample" and (s["is_observed"] or s["infer"].get("was_observed"))
    ]
    fixed = [n for n in seen if _deterministic(nodes[n])]
    observed = [n for n in seen if n not in fixed and not poutine.util.site_is_subsample(nodes[n])]
    if len(observed) > 1:
        raise ContractError(f"one site should be observed under the data, got {', '.join(observed)}: observe x once")
    if observed:
        return observed[0]
    if "x" in fixed:
        return "x"
    sized = [name for name in fixed if nodes[name]["value"][0].numel() == event.main.size]
    if not sized:
        raise ContractError(
            "the model should observe its data, pyro.sample('x', ..., obs=x), or, without a likelihood, name them by "
            "pyro.deterministic('x', ...); it does neither"
        )
    return sized[-1]


def per_datum(trace: Any, n: int, names: Container[str] | None = None) -> Tensor:
    """The log-probability of each of ``n`` data under a trace, shape ``(n,)``, in nats.

    Args:
        trace: of a program that was run on ``n`` data.
        n: number of data.
        names: sites to sum over; all random sites by default. Without any the result is 0.

    Raises:
        ContractError: a site lies outside the data plate.
    """
    total: Tensor | float = 0.0
    for name, site in random_sites(trace):
        if names is not None and name not in names:
            continue
        plates = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        sized = [frame for frame in plates if frame.size == n]
        if not sized:
            raise ContractError(
                f"site {name!r} lies outside the data plate: its log-probability should have shape ({n},); "
                "put it under `with pyro.plate('data', len(x)):` and declare inner dimensions with .to_event(...)"
            )
        data = next((frame for frame in sized if frame.name == "data"), sized[0])
        sizes = {frame.dim: frame.size for frame in plates}
        shape = tuple(sizes.get(dim, 1) for dim in range(min(sizes), 0))
        value = scale_and_mask(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), 1.0, site["mask"])
        value = value.expand(torch.broadcast_shapes(value.shape, shape))
        total = total + value.movedim(data.dim, 0).reshape(n, -1).sum(1)
    return total if isinstance(total, Tensor) else torch.zeros(n)
