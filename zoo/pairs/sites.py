"""The sites of one Pyro trace: which are random, observed, latent or dequantising, and their log-probabilities."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta, MaskedDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from zoo.distributions import Floor, Unnormalised
from zoo.errors import ContractError
from zoo.event import Event


def random_sites(trace: Any) -> Iterator[tuple[str, Any]]:
    """The random sites of a trace: no plates, no deterministic values."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site) and not is_deterministic(site):
            yield name, site


def is_deterministic(site: Any) -> bool:
    """Whether a site names a computed value, by `pyro.deterministic` or by one of Pyro's reparametrisations."""
    return bool(site["infer"].get("_deterministic")) or (
        getattr(site["fn"], "_mask", None) is False and is_point(site["fn"])
    )


def latent_sites(model_trace: Any) -> set[str]:
    """Names of the sites that a model leaves unobserved."""
    return {name for name, site in random_sites(model_trace) if not site["is_observed"]}


def observed_sites(model_trace: Any) -> set[str]:
    """Names of the sites that a model observes."""
    return {name for name, site in random_sites(model_trace) if site["is_observed"]}


def layers(fn: Any) -> Iterator[Any]:
    """A distribution and those that it wraps."""
    while fn is not None:
        yield fn
        fn = getattr(fn, "base_dist", None)


def entries_of(fn: Any) -> Any:
    """The distribution of single entries under ``to_event``."""
    while isinstance(fn, torch.distributions.Independent):
        fn = fn.base_dist
    return fn


def unmasked_entries_of(fn: Any) -> Any:
    """`entries_of` under masks too, which hide nothing but padding."""
    while isinstance(fn, (torch.distributions.Independent, MaskedDistribution)):
        fn = fn.base_dist
    return fn


def is_point(fn: Any) -> bool:
    """Whether a distribution has all its mass at one point."""
    return any(isinstance(layer, Delta) for layer in layers(fn))


def is_discrete(fn: Any) -> bool:
    """Whether a distribution is discrete; one that declares no support is taken for a density."""
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:
        return False


def dequantising_sites(model_trace: Any, observed: Iterable[str]) -> tuple[str, ...]:
    """Names of the latents whose floor is an observed site (`zoo.distributions.observe`)."""
    nodes = model_trace.nodes
    bases = [getattr(nodes[name]["fn"], "base_dist", nodes[name]["fn"]) for name in observed]
    floored = {id(base.y) for base in bases if isinstance(base, Floor)}
    return tuple(name for name in latent_sites(model_trace) if id(nodes[name]["value"]) in floored)


def output_site(model_trace: Any, event: Event) -> str:
    """The site that carries ``x``: the observed one (the first of several), else a deterministic one.

    Of several deterministic sites it is ``x``, or else the last of the size of the event's main field.

    Raises:
        ContractError: no site carries ``x``.
    """
    nodes = model_trace.nodes
    seen = [
        n for n, s in nodes.items() if s["type"] == "sample" and (s["is_observed"] or s["infer"].get("was_observed"))
    ]
    fixed = [n for n in seen if is_deterministic(nodes[n])]
    observed = [n for n in seen if n not in fixed and not poutine.util.site_is_subsample(nodes[n])]
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


def data_plate(name: str, site: Any, n: int, known: Container[str] = ()) -> Any:
    """The frame of the plate that holds a batch of ``n`` data.

    It is that called ``data``, else the one whose name is ``known`` as a data plate's, else the only one of size ``n``.

    Raises:
        ContractError: the site lies in no such plate, or in several.
    """
    plates = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
    sized = [frame for frame in plates if frame.size == n]
    if not sized:
        sizes = (f"size {frame.size}" if frame.size > 0 else "no size" for frame in plates)
        others = "".join(f"; plate {frame.name!r} has {size}" for frame, size in zip(plates, sizes, strict=True))
        raise ContractError(
            f"site {name!r} lies outside the data plate: its log-probability should have shape ({n},){others}; "
            "put it under `with pyro.plate('data', len(x)):` and declare inner dimensions with .to_event(...)"
        )
    named = [frame for frame in sized if frame.name == "data"]
    named = named or [frame for frame in sized if frame.name in known] or sized
    if len(named) > 1:
        raise ContractError(
            f"site {name!r} lies in several plates of size {n}, {', '.join(repr(f.name) for f in named)}: "
            "call that of the data 'data'"
        )
    return named[0]


def data_first(name: str, site: Any, n: int, known: Container[str] = ()) -> Tensor:
    """The value of a site of a batch of ``n`` data, its data dimension first: shape ``(n, ...)``."""
    plate, event_shape = data_plate(name, site, n, known), tuple(site["fn"].event_shape)
    shape = _plate_shape(site) + event_shape
    value = site["value"]
    return value.expand(torch.broadcast_shapes(value.shape, shape)).movedim(plate.dim - len(event_shape), 0)


def _plate_shape(site: Any) -> tuple[int, ...]:
    sizes = {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}
    return tuple(sizes.get(dim, 1) for dim in range(min(sizes), 0))


class WholeBatch(poutine.messenger.Messenger):
    """Inside, a batch of ``n`` data stands for itself: a data plate draws no subsample of it and scales nothing.

    ``pyro.plate("data", N, subsample=x)`` and ``pyro.plate("data", N, subsample_size=len(x))`` mean ``len(x)`` data, so
    that losses are per datum. Scales that a program sets by `pyro.poutine.scale` stay. A plate without a size,
    ``pyro.plate("data")``, has that of the distributions in it, or of what they observe, as Pyro sums them.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def _pyro_sample(self, msg: Any) -> None:
        if poutine.util.site_is_subsample(msg):
            if msg["value"] is None and msg["fn"].subsample_size == self.n:
                msg["value"] = torch.arange(self.n, device=msg["fn"].device)
            return
        if any(frame.vectorized and frame.size < 0 for frame in msg["cond_indep_stack"]):
            batch_shape = _observed_batch(msg)
            msg["cond_indep_stack"] = tuple(_sized(frame, batch_shape) for frame in msg["cond_indep_stack"])
            if batch_shape != msg["fn"].batch_shape:
                msg["fn"] = msg["fn"].expand(batch_shape)
        for frame in msg["cond_indep_stack"]:
            if frame.size == self.n and frame.full_size not in (None, frame.size):
                msg["scale"] = msg["scale"] * (frame.size / frame.full_size)


def _observed_batch(msg: Any) -> torch.Size:
    """The batch shape of a distribution; under one distribution for all, that of what is observed."""
    fn, value = msg["fn"], msg["value"]
    if fn.batch_shape or not msg["is_observed"] or not isinstance(value, Tensor):
        return torch.Size(fn.batch_shape)
    return value.shape[: value.dim() - fn.event_dim]


class Relative(poutine.messenger.Messenger):
    """Inside, densities whose log Z is unknown have log-probabilities up to a constant, and do not refuse."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], Unnormalised):
            msg["fn"] = msg["fn"].relative()


class Brief(poutine.messenger.Messenger):
    """Inside, draws of energies take one move, as only their shapes are read."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], Unnormalised):
            msg["fn"] = msg["fn"].brief()


def energies(sites: Iterable[tuple[str, Any]]) -> dict[str, Unnormalised]:
    """Those of some named sites that are under densities of an energy, with these; log Z may be known or not."""
    found = ((name, layer) for name, site in sites for layer in layers(site["fn"]))
    return {name: fn for name, fn in found if isinstance(fn, Unnormalised)}


def _sized(frame: Any, batch_shape: torch.Size) -> Any:
    """A plate's frame with a size, if it has none and the distribution in it has that dimension."""
    if not frame.vectorized or frame.size >= 0 or -frame.dim > len(batch_shape):
        return frame
    size = batch_shape[frame.dim]
    return frame._replace(size=size, full_size=size)


def per_datum(trace: Any, n: int, names: Container[str] | None = None, without: Container[str] = ()) -> Tensor:
    """The log-probability of each of ``n`` data under a trace, shape ``(n,)``, in nats.

    Args:
        trace: of a program that was run on ``n`` data.
        n: number of data.
        names: sites to sum over; all random sites by default. Without any the result is 0.
        without: sites to leave out, such as those that all data share.

    Raises:
        ContractError: a site lies outside the data plate.
    """
    total: Tensor | float = 0.0
    for name, site in random_sites(trace):
        if name in without or (names is not None and name not in names):
            continue
        data = data_plate(name, site, n)
        value = scale_and_mask(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), 1.0, site["mask"])
        value = value.expand(torch.broadcast_shapes(value.shape, _plate_shape(site)))
        total = total + value.movedim(data.dim, 0).reshape(n, -1).sum(1)
    if isinstance(total, Tensor):
        return total
    given = (each for each in trace.nodes.get("_INPUT", {}).get("args", ()) if isinstance(each, Tensor))
    return torch.zeros(n, device=next(given, torch.empty(0)).device)


def in_support(trace: Any, n: int) -> Tensor:
    """Which of ``n`` data lie in the supports of what observes them, as far as it declares any: shape ``(n,)``."""
    found = torch.ones(n, dtype=torch.bool)
    for name, site in random_sites(trace):
        if not site["is_observed"] or is_discrete(site["fn"]):
            continue
        try:
            within: Tensor = site["fn"].support.check(site["value"])
        except NotImplementedError:
            continue
        within = within.expand(torch.broadcast_shapes(within.shape, _plate_shape(site)))
        found = found.to(within.device) & within.movedim(data_plate(name, site, n).dim, 0).reshape(n, -1).all(1)
    return found
