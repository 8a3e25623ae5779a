"""What is read off the traces of a model and its guide: per-datum log-weights, sites and capabilities."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from zoo.distributions import Floor
from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.pair import HasLogProb, Pair

Likelihood = Literal["exact", "bound", "none"]


@dataclass(frozen=True)
class Capabilities:
    """What a pair can do, read off its traces.

    ``latents`` are the guide's sites with their event shapes; ``observed`` the observed sites; ``output`` the site that
    carries ``x`` when the model is run forwards.
    """

    likelihood: Likelihood
    analytic: bool
    latents: dict[str, tuple[int, ...]]
    observed: tuple[str, ...]
    output: str
    discrete: bool
    dequantising: tuple[str, ...] = ()
    """Latents whose floor is the datum itself (`zoo.distributions.observe`): they tell nothing more than it."""

    @property
    def lossless(self) -> bool:
        """Every observed site is discrete: the pair is a lossless code, directly or by bits-back."""
        return self.likelihood != "none" and self.discrete

    def lossy(self, event: Event) -> bool:
        """The latents are smaller than the data: quantised, they are a lossy code."""
        sizes = {
            name: torch.Size(shape).numel() for name, shape in self.latents.items() if name not in self.dequantising
        }
        size = sum(sizes.values())
        return 0 < size < event.size


def traced(pair: Pair, x: Tensor) -> tuple[Any, Any]:
    """One trace of the guide, and one of the model replayed against it (``nodes`` by site)."""
    guide_trace = poutine.trace(pair.guide).get_trace(x)
    model_trace = poutine.trace(poutine.replay(pair.model, trace=guide_trace)).get_trace(x)
    return model_trace, guide_trace


def capabilities(pair: Pair) -> Capabilities:
    """Read off what ``pair`` can do."""
    x = torch.zeros(3, *pair.event.shape, device=pair.device)
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, x)
    latents = {name: tuple(site["fn"].event_shape) for name, site in random_sites(guide_trace)}
    observed = {name: site for name, site in random_sites(model_trace) if site["is_observed"]}
    analytic = isinstance(pair.extras, HasLogProb)
    likelihood: Likelihood = "none"
    if observed:
        likelihood = "exact" if analytic or not latents else "bound"
    discrete = bool(observed) and all(site["fn"].support.is_discrete for site in observed.values())
    output, dequantising = _output(model_trace, pair.event), _dequantising(model_trace, observed)
    return Capabilities(likelihood, analytic, latents, tuple(observed), output, discrete, dequantising)


def log_weights(pair: Pair, x: Tensor) -> Tensor:
    """log p(x, z) - log q(z|x) for one draw of the guide per datum, shape ``(n,)``, in nats.

    For repeated data (K copies of each datum) these are the importance weights of K particles.

    Raises:
        ContractError: a site lies outside the data plate, or the guide's sites are not the model's latents.
    """
    model_trace, guide_trace = _matched(pair, x)
    return per_datum(model_trace, len(x)).to(x.device) - per_datum(guide_trace, len(x)).to(x.device)


def weight_parts(pair: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
    """`log_weights` in two: log p(x | z), and log p(z) - log q(z | x), whose mean is minus the Kullback-Leibler term.

    A latent that dequantises belongs to ``x``: the first part is then log p(y | z) - log q(y | x).
    """
    model_trace, guide_trace = _matched(pair, x)
    seen = observed_sites(model_trace)
    seen |= set(_dequantising(model_trace, seen))

    def log_ratio(names: set[str]) -> Tensor:
        return per_datum(model_trace, len(x), names).to(x.device) - per_datum(guide_trace, len(x), names).to(x.device)

    return log_ratio(seen), log_ratio(latent_sites(model_trace) - seen)


def _matched(pair: Pair, x: Tensor) -> tuple[Any, Any]:
    """Traces of model and guide whose latents are the same."""
    model_trace, guide_trace = traced(pair, x)
    missing = latent_sites(model_trace) ^ {name for name, _ in random_sites(guide_trace)}
    if missing:
        raise ContractError(
            f"the guide's sites should be the model's latents; {', '.join(sorted(missing))} is in one of them only: "
            "sample the same names in both"
        )
    return model_trace, guide_trace


def log_prob(pair: Pair, x: Tensor) -> Tensor:
    """The exact log-probability (log-density for real data), shape ``(n,)``, in nats.

    Raises:
        ContractError: the pair has latents and no analytic ``log_prob``, or is implicit.
    """
    if isinstance(pair.extras, HasLogProb):
        with pair.scope():
            value = pair.extras.log_prob(x)
        if value.shape != (len(x),):
            raise ContractError(f"log_prob(x) should have shape ({len(x)},), got {tuple(value.shape)}")
        return value
    model_trace, guide_trace = traced(pair, x)
    if list(random_sites(guide_trace)) or not observed_sites(model_trace):
        raise ContractError(f"{pair.label} has no exact log-probability: it has latents, or observes nothing")
    return per_datum(model_trace, len(x))


def sample(pair: Pair, n: int, chunk: int = 1000) -> Tensor:
    """Draw ``n`` data by running the model unconditioned: shape ``(n, *event.shape)``."""
    with pair.evaluating():
        return torch.cat([_draw(pair, min(chunk, n - start)) for start in range(0, n, chunk)])


def per_datum(trace: Any, n: int, names: Container[str] | None = None) -> Tensor:
    """The sum of a trace's log-probabilities for each of ``n`` data, of the sites ``names`` only if told.

    Shape ``(n,)``; 0 where there is no site.
    """
    total: Tensor | float = 0.0
    for name, site in random_sites(trace):
        if names is not None and name not in names:
            continue
        plate = data_plate(site, n)
        if plate is None:
            raise ContractError(
                f"site {name!r} lies outside the data plate: its log-probability should have shape ({n},); "
                "put it under `with pyro.plate('data', len(x)):` and declare inner dimensions with .to_event(...)"
            )
        value = scale_and_mask(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), 1.0, site["mask"])
        value = value.expand(torch.broadcast_shapes(value.shape, _plates_shape(site)))
        total = total + value.movedim(plate.dim, 0).reshape(n, -1).sum(1)
    return total if isinstance(total, Tensor) else torch.zeros(n)


def data_plate(site: Any, n: int) -> Any:
    """The plate over data that a site stands in: the one called ``data``, else the outermost of size ``n``."""
    plates = [frame for frame in site["cond_indep_stack"] if frame.vectorized and frame.size == n]
    named = [frame for frame in plates if frame.name == "data"]
    return (named or plates or [None])[0]


def latent_sites(model_trace: Any) -> set[str]:
    """Names of the sites that a model leaves unobserved."""
    return {name for name, site in random_sites(model_trace) if not site["is_observed"]}


def observed_sites(model_trace: Any) -> set[str]:
    """Names of the sites that a model observes."""
    return {name for name, site in random_sites(model_trace) if site["is_observed"]}


@contextmanager
def tempered(beta: float | Tensor) -> Iterator[None]:
    """Scale the log-probabilities of all latent sites by ``beta`` (KL warm-up)."""
    with _Temper(beta):
        yield


class _Temper(poutine.messenger.Messenger):
    def __init__(self, beta: float | Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta


def _draw(pair: Pair, n: int) -> Tensor:
    x = torch.zeros(n, *pair.event.shape, device=pair.device)
    trace = poutine.trace(poutine.uncondition(pair.model)).get_trace(x)
    value = trace.nodes[_output(trace, pair.event)]["value"]
    if value.numel() != x.numel():
        raise ContractError(
            f"sampling should give {n} data of shape {pair.event.shape}, got a tensor of shape {tuple(value.shape)}"
        )
    return value.reshape(x.shape).to(x.dtype)


def random_sites(trace: Any) -> Iterator[tuple[str, Any]]:
    """The random sites of a trace: no plates, no deterministic values."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site) and not _deterministic(site):
            yield name, site


def _deterministic(site: Any) -> bool:
    return bool(site["infer"].get("_deterministic", False))


def _plates_shape(site: Any) -> tuple[int, ...]:
    frames = {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}
    return tuple(frames.get(dim, 1) for dim in range(min(frames, default=0), 0))


def _dequantising(trace: Any, observed: Iterable[str]) -> tuple[str, ...]:
    bases = [getattr(trace.nodes[name]["fn"], "base_dist", trace.nodes[name]["fn"]) for name in observed]
    values = [base.y for base in bases if isinstance(base, Floor)]
    return tuple(name for name in latent_sites(trace) if any(trace.nodes[name]["value"] is value for value in values))


def _output(trace: Any, event: Event) -> str:
    """The site that carries ``x``: observed, or else deterministic (first ``x``, then the last of the event's size)."""
    nodes = trace.nodes.items()
    seen = [n for n, s in nodes if s["type"] == "sample" and (s["is_observed"] or s["infer"].get("was_observed"))]
    fixed = [n for n in seen if _deterministic(trace.nodes[n])]
    observed = [n for n in seen if n not in fixed and not poutine.util.site_is_subsample(trace.nodes[n])]
    if len(observed) > 1:
        raise ContractError(f"one site should be observed under the data, got {', '.join(observed)}: observe x once")
    if observed:
        return observed[0]
    if "x" in fixed:
        return "x"
    sized = [name for name in fixed if trace.nodes[name]["value"][0].numel() == event.size]
    if not sized:
        raise ContractError(
            "the model should observe its data, pyro.sample('x', ..., obs=x), or, without a likelihood, name them by "
            "pyro.deterministic('x', ...); it does neither"
        )
    return sized[-1]
