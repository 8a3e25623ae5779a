"""What the traces of a pair give: its capabilities, log-probabilities, importance weights and samples."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from pyro import poutine
from torch import Tensor

from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.enumeration import per_datum_parts, per_datum_weights
from zoo.pairs.pair import HasElbo, HasLogProb, HasSteps, Pair
from zoo.pairs.records import in_parts
from zoo.pairs.sites import (
    dequantising_sites,
    energies,
    is_discrete,
    latent_sites,
    observed_sites,
    output_site,
    per_datum,
    random_sites,
)
from zoo.pairs.structure import listed
from zoo.pairs.user_errors import running

Likelihood = Literal["exact", "bound", "unnormalised", "none"]


@dataclass(frozen=True)
class Capabilities:
    """What a pair can do, read off its traces (see `capabilities`)."""

    likelihood: Likelihood
    """``"exact"``; ``"bound"`` if it is known by a lower bound only; ``"unnormalised"`` if it, or the bound, is known
    up to a constant; ``"none"`` for an implicit model."""
    analytic: bool
    """The pair has a ``log_prob`` of its own."""
    latents: dict[str, tuple[int, ...]]
    """The latents of each datum that the guide samples, or leaves out and should sample, with their event shapes."""
    observed: tuple[str, ...]
    """The observed sites."""
    output: str
    """The site that carries ``x`` when the model is run forwards: the first of the observed ones, if there are any."""
    discrete: bool
    """Every observed site is discrete."""
    dequantising: tuple[str, ...] = ()
    """Latents whose floor is the datum itself (`zoo.distributions.observe`): they carry no information beyond it."""
    enumerated: Mapping[str, int] = field(default_factory=dict)
    """Latents that are summed exactly, with their number of values."""
    shared: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Latents that all data share, with their event shapes."""
    unguided: tuple[str, ...] = ()
    """Latents of a model with a likelihood that its guide does not sample: there is no bound without them."""
    energies: tuple[str, ...] = ()
    """Sites under densities that are known up to a constant (`zoo.distributions.Unnormalised`), exact or not."""

    @property
    def lossless(self) -> bool:
        """The pair is a lossless code: all observed are discrete, with probabilities that are neither of noise that was
        added nor of energies, and no latent is shared."""
        plain = not (self.dequantising or self.shared or self.energies)
        return self.likelihood != "none" and self.discrete and plain

    def lossy(self, event: Event) -> bool:
        """Its quantised latents are a lossy code: they have fewer dimensions than the data, which are no record."""
        if self.enumerated or self.shared or event.fields:
            return False
        shapes = [shape for name, shape in self.latents.items() if name not in self.dequantising]
        return 0 < sum(torch.Size(shape).numel() for shape in shapes) < event.size


def traced(pair: Pair, x: Tensor) -> tuple[Any, Any]:
    """One trace of the model replayed against the guide, and that of the guide (``nodes`` by site)."""
    guide_trace = poutine.trace(pair.guide).get_trace(x)
    pair.structure.forget_plates(guide_trace)
    model_trace = poutine.trace(poutine.replay(pair.model, trace=guide_trace)).get_trace(x)
    return model_trace, guide_trace


def capabilities(pair: Pair, x: Tensor | None = None) -> Capabilities:
    """Read what a pair can do off one trace of its guide and of its model.

    Of a pair whose data may lack a label, a trace for data without one is read as well: the likelihood is the weaker of
    both, and the latents are those of either.

    Args:
        pair: in any mode; it is not changed.
        x: the data in question, where it matters whether they all have a label, or none has.

    Returns:
        The kind of likelihood, the latent and observed sites, and which codes the pair offers.

    Raises:
        ContractError: the model carries its data in no site, or the programs do not run together.

    Example:
        >>> from zoo import Event, build, capabilities
        >>> can = capabilities(build("ppca", Event((2, 2), 5), {"latent": 3}))
        >>> can.likelihood, can.latents, can.lossless
        ('bound', {'z': (3,)}, True)
    """
    if pair.event.label is None:
        return _capabilities(pair)
    kinds = {True, False} if x is None else set(pair.event.missing(x).tolist())
    found = [_capabilities(pair.unlabelled if missing else pair) for missing in sorted(kinds)]
    return replace(
        found[0],
        likelihood=max((can.likelihood for can in found), key=get_args(Likelihood).index),
        latents={name: shape for can in found for name, shape in can.latents.items()},
        discrete=all(can.discrete for can in found),
        dequantising=tuple(dict.fromkeys(name for can in found for name in can.dequantising)),
        enumerated={name: n for can in found for name, n in can.enumerated.items()},
        shared={name: shape for can in found for name, shape in can.shared.items()},
        unguided=tuple(dict.fromkeys(name for can in found for name in can.unguided)),
        energies=tuple(dict.fromkeys(name for can in found for name in can.energies)),
    )


def _capabilities(pair: Pair) -> Capabilities:
    pair.structure.require_amortised()
    x = pair.example[:1].to(pair.device, torch.get_default_dtype()).repeat(3, *(1 for _ in pair.event.shape))
    wrong = f"model and guide of {pair.label} do not run together on a batch of shape {tuple(x.shape)}"
    with running(wrong, "sample the same names, with the same shapes, in both"), pair.evaluating():
        model_trace, _ = traced(pair, x)
    structure = pair.structure
    observed = {name: site for name, site in random_sites(model_trace) if site["is_observed"]}
    analytic = isinstance(pair.extras, HasLogProb)
    unguided = structure.unguided if observed else {}
    latents = {**structure.sampled, **unguided}
    likelihood: Likelihood = "none"
    if observed:
        likelihood = "exact" if analytic or not (latents or structure.shared) else "bound"
        likelihood = "unnormalised" if structure.unnormalised else likelihood
    return Capabilities(
        likelihood=likelihood,
        analytic=analytic,
        latents=latents,
        observed=tuple(observed),
        output=output_site(model_trace, pair.event),
        discrete=bool(observed) and all(is_discrete(site["fn"]) for site in observed.values()),
        dequantising=dequantising_sites(model_trace, observed),
        enumerated=structure.enumerated,
        shared=structure.shared,
        unguided=tuple(unguided),
        energies=tuple(energies(random_sites(model_trace))),
    )


def log_weights(pair: Pair, x: Tensor) -> Tensor:
    """The log importance weight of one draw of the guide per datum.

        log w = log p(x, z) - log q(z | x),  z ~ q(z | x)

    Its mean is the ELBO; the mean of w is p(x). For K particles repeat each datum K times.

    Args:
        pair: in evaluation mode for a result without dropout (`Pair.evaluating`).
        x: data, shape ``(n, *event.shape)``.

    Returns:
        Shape ``(n,)``, in nats, differentiable with respect to the parameters.

    Raises:
        ContractError: a site lies outside the data plate, or the guide's sites are not the model's latents.

    Example:
        >>> import torch
        >>> from zoo import Event, build, log_weights
        >>> pair = build("ppca", Event((2, 2), 5), {"latent": 3})
        >>> log_weights(pair, torch.zeros(7, 2, 2)).shape
        torch.Size([7])
    """
    return in_parts(pair, x, _log_weights)


def _log_weights(pair: Pair, x: Tensor) -> Tensor:
    if not pair.structure.plain:
        return per_datum_weights(pair, x)
    return _log_ratio(*_matched(pair, x), x)


def weight_parts(pair: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
    """`log_weights` in two: log p(x | z), and log p(z) - log q(z | x), whose mean is minus the Kullback-Leibler term.

    A latent that dequantises belongs to ``x``: the first part is then log p(y | z) - log q(y | x). The data all have a
    label, or come without its columns (`zoo.pairs.records.cut`): no value of ``x`` is read here.
    """
    if not pair.structure.plain:
        return per_datum_parts(pair, x)
    traces = _matched(pair, x)
    seen = observed_sites(traces[0])
    seen |= set(dequantising_sites(traces[0], seen))
    return _log_ratio(*traces, x, seen), _log_ratio(*traces, x, latent_sites(traces[0]) - seen)


def _matched(pair: Pair, x: Tensor) -> tuple[Any, Any]:
    """Traces of model and guide whose latents are the same."""
    pair.structure.require_sound()
    return traced(pair, x)


def _log_ratio(model_trace: Any, guide_trace: Any, x: Tensor, names: Container[str] | None = None) -> Tensor:
    return per_datum(model_trace, len(x), names) - per_datum(guide_trace, len(x), names)


def log_prob(pair: Pair, x: Tensor) -> Tensor:
    """The exact log-probability of each datum: log P(x) for integers, log p(x) for real data.

    Args:
        pair: its `capabilities` have ``likelihood == "exact"``.
        x: data, shape ``(n, *event.shape)``.

    Returns:
        Shape ``(n,)``, in nats.

    Raises:
        ContractError: the pair has latents and no analytic ``log_prob``, or is implicit.

    Example:
        >>> import torch
        >>> from zoo import Event, build, log_prob
        >>> log_prob(build("uniform", Event((2, 2), "binary")), torch.zeros(1, 2, 2)).exp().item()
        0.0625
    """
    return in_parts(pair, x, _log_prob)


def elbo_terms(pair: Pair, x: Tensor) -> dict[str, Tensor]:
    """The terms of a pair's own estimate of the ELBO (`zoo.pairs.pair.HasElbo`), each of shape ``(n,)``, in nats.

    Raises:
        ContractError: the pair has none, or a term is not one number for each datum.
    """
    if not isinstance(pair.extras, HasElbo):
        raise ContractError(f"{pair.label} has no elbo_terms(x); zoo.log_weights(pair, x) estimates its ELBO")
    with pair.scope():
        terms = dict(pair.extras.elbo_terms(x))
    for name, term in terms.items():
        if term.shape != (len(x),):
            raise ContractError(f"elbo_terms(x)[{name!r}] should have shape ({len(x)},), got {tuple(term.shape)}")
    return terms


def elbo_step(pair: Pair, x: Tensor, t: int) -> Tensor:
    """The ELBO's term of step ``t`` (`zoo.pairs.pair.HasSteps`), estimated for each datum: shape ``(n,)``, in nats.

    Raises:
        ContractError: the pair has no steps, or not this one, or a term is not one number for each datum.
    """
    if not isinstance(pair.extras, HasSteps):
        raise ContractError(f"the ELBO of {pair.label} has no terms by step: it has no elbo_step(x, t)")
    if not 1 <= t <= pair.extras.timesteps:
        raise ContractError(f"{pair.label} has the steps 1 to {pair.extras.timesteps}, got {t}")
    with pair.scope():
        term = pair.extras.elbo_step(x, torch.full((len(x),), t, device=x.device))
    if term.shape != (len(x),):
        raise ContractError(f"elbo_step(x, t) should have shape ({len(x)},), got {tuple(term.shape)}")
    return term


def _log_prob(pair: Pair, x: Tensor) -> Tensor:
    if pair.structure.unnormalised and not pair.is_relative:
        raise ContractError(
            f"{pair.label} has log-probabilities up to a constant: log Z of {listed(pair.structure.unnormalised)} is "
            "unknown; differences between data are right in zoo.log_prob(pair.relative, x)"
        )
    if isinstance(pair.extras, HasLogProb):
        with pair.scope():
            value = pair.extras.log_prob(x)
        if value.shape != (len(x),):
            raise ContractError(f"log_prob(x) should have shape ({len(x)},), got {tuple(value.shape)}")
        return value
    structure = pair.structure
    if structure.enumerated and not (structure.sampled or structure.shared or structure.unguided):
        return per_datum_weights(pair, x)
    model_trace, guide_trace = traced(pair, x)
    if not observed_sites(model_trace):
        raise ContractError(f"{pair.label} has no log-probability: it is implicit, and observes nothing")
    if latents := listed({*latent_sites(model_trace), *dict(random_sites(guide_trace))}):
        raise ContractError(
            f"{pair.label} has no exact log-probability, as it has latents ({latents}); take a lower bound: "
            "zoo.TrainedModel(pair).log_prob(x) with its error, or the mean of zoo.log_weights(pair, x), the ELBO"
        )
    return per_datum(model_trace, len(x))


class tempered(poutine.messenger.Messenger):  # noqa: N801 (used like Pyro's handlers)
    """Scale the log-probabilities of all latent sites by ``beta`` inside the block (KL warm-up)."""

    def __init__(self, beta: float | Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta
