"""Objectives of SVI as functions of traces; they never read the value of a tensor, so they can be recorded as a graph.

Each gives ``(surrogate, loss)`` per datum, in nats. ``loss`` is reported; the gradient of ``surrogate`` estimates that
of the expected loss (they differ where a latent is not reparameterised).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import is_identically_one, is_identically_zero, scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence

from zoo.engine.private import log_ratio_of_sites
from zoo.errors import ZooError
from zoo.pairs.enumeration import enumerated_elbo
from zoo.pairs.pair import HasElbo, Pair
from zoo.pairs.sites import (
    dequantising_sites,
    is_discrete,
    is_point,
    latent_sites,
    observed_sites,
    per_datum,
    random_sites,
)
from zoo.pairs.traces import elbo_terms, log_weights, tempered, traced

Objective = Callable[[Pair, Tensor, Tensor | float], tuple[Tensor, Tensor]]
"""``objective(pair, x, beta)`` of a batch ``x`` with the latents' terms weighted by ``beta``."""


def elbo(particles: int = 1, size: int | None = None) -> Objective:
    """Minus the ELBO as `pyro.infer.Trace_ELBO` estimates it.

        -(1/S) sum_s [log p(x, z_s) - log q(z_s | x)],  z_s ~ q(z | x)

    Latents that are not reparameterised add score-function terms to the surrogate. Finite latents may be summed, and
    latents may be shared by all data: see `zoo.pairs.enumeration.enumerated_elbo`. A pair with estimates of its own
    (`zoo.pairs.pair.HasElbo`) is trained by these; they take no ``beta``.

    Args:
        particles: S, draws of the guide for each datum.
        size: the number of training data, over which the terms of shared latents are spread; by default each batch is
            all data.
    """

    def objective(pair: Pair, x: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
        pair.structure.require_sound()
        if isinstance(pair.extras, HasElbo):
            terms = [term.mean() for _ in range(particles) for term in elbo_terms(pair, x).values()]
            loss = -torch.stack(terms).sum() / particles
            return loss, loss.detach()
        if not pair.structure.plain:
            draws = [enumerated_elbo(pair, x, beta, size or len(x)) for _ in range(particles)]
            loss = -torch.stack(draws).mean() / len(x)
            return loss, loss.detach()
        surrogate, loss = x.new_zeros(()), x.new_zeros(())
        with tempered(beta):
            for model_trace, guide_trace in _traces(pair, x, particles):
                loss = loss - (model_trace.log_prob_sum() - guide_trace.log_prob_sum())
                surrogate = surrogate - _surrogate(model_trace, guide_trace)
        n = len(x) * particles
        return surrogate / n, loss.detach() / n

    return objective


def mean_field_elbo(particles: int = 1) -> Objective:
    """Minus the ELBO with analytic Kullback-Leibler terms, as `pyro.infer.TraceMeanField_ELBO` estimates it.

        -(1/S) sum_s log p(x | z_s) + KL(q(z | x) || p(z)),  z_s ~ q(z | x)

    Latents must be reparameterised, and their divergence registered with torch (else NotImplementedError).

    Args:
        particles: S, draws of the guide for each datum.
    """

    def objective(pair: Pair, x: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
        if not pair.structure.plain:
            raise ZooError("analytic Kullback-Leibler terms need every latent sampled by the guide; use elbo()")
        loss = x.new_zeros(())
        with tempered(beta):
            for model_trace, guide_trace in _traces(pair, x, particles):
                for name, site in model_trace.nodes.items():
                    if site["type"] != "sample":
                        continue
                    if site["is_observed"]:
                        loss = loss - site["log_prob_sum"]
                    elif name in guide_trace.nodes:
                        kl = kl_divergence(guide_trace.nodes[name]["fn"], site["fn"])
                        loss = loss + scale_and_mask(kl, site["scale"], site["mask"]).sum()
        n = len(x) * particles
        return loss / n, loss.detach() / n

    return objective


def free_bits(nats: float, particles: int = 1) -> Objective:
    """Minus the ELBO, its Kullback-Leibler term replaced by ``nats`` while its mean over the batch is less.

        -(1/n) sum_i log p(x_i | z_i) + beta max(nats, (1/n) sum_i [log q(z_i | x_i) - log p(z_i)]),  z_i ~ q(z | x_i)

    The loss is that value, which is no bound where the term is less than ``nats``. All latents of a datum count as one
    group. Latents must be reparameterised.

    Args:
        nats: what the latents may tell for nothing.
        particles: draws of the guide for each datum.

    Reference:
        Kingma et al. 2016, arXiv:1606.04934, appendix C.8.
    """

    def objective(pair: Pair, x: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
        rows = x.repeat_interleave(particles, 0)
        model_trace, guide_trace = _reparameterised_traces(pair, rows)
        seen = observed_sites(model_trace)
        latents = latent_sites(model_trace) - set(dequantising_sites(model_trace, seen))
        paid = per_datum(guide_trace, len(rows), latents) - per_datum(model_trace, len(rows), latents)
        other = [per_datum(trace, len(rows), without=latents) for trace in (model_trace, guide_trace)]
        loss = beta * paid.mean().clamp(min=nats) - (other[0] - other[1]).mean()
        return loss, loss.detach()

    return objective


def importance_weighted(particles: int) -> Objective:
    """Minus the importance-weighted bound.

        -log (1/K) sum_k w_k,  w_k = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    Latents must be reparameterised; their terms are not weighted by ``beta``, as the result would not be a bound.

    Args:
        particles: K, draws of the guide for each datum.

    Reference:
        Burda et al. 2016, arXiv:1509.00519, eq. 8.
    """

    def objective(pair: Pair, x: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
        if pair.structure.shared:
            raise ZooError("the importance-weighted bound is one for each datum, and latents are shared; use elbo()")
        rows = x.repeat_interleave(particles, 0)
        if pair.structure.enumerated:
            weights = log_weights(pair, rows)
        else:
            model_trace, guide_trace = _reparameterised_traces(pair, rows)
            weights = per_datum(model_trace, len(rows)) - per_datum(guide_trace, len(rows))
        loss = (math.log(particles) - weights.reshape(-1, particles).logsumexp(1)).mean()
        return loss, loss.detach()

    return objective


def doubly_reparameterised(particles: int) -> Objective:
    """Minus the importance-weighted bound, with a gradient for the guide whose noise does not grow with ``particles``.

        sum_k v_k^2 (d log w_k / d z_k) (d z_k / d phi),  v_k = w_k / sum_j w_j

    It has the mean of the gradient of `importance_weighted` for the guide's parameters phi, and is zero where the guide
    is the posterior. The gradient for the model's parameters is that of `importance_weighted`. A guide that draws
    latents given earlier ones is differentiated through all of them (Bauer & Mnih 2021).

    The density of the guide is taken at given latents: a flow without a fast inverse is slower than by the other
    objectives. The step is not recorded as a graph.

    Args:
        particles: K, draws of the guide for each datum.

    Reference:
        Tucker et al. 2019, arXiv:1810.04152, eq. 8; Bauer & Mnih 2021, arXiv:2101.11046.
    """

    def objective(pair: Pair, x: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
        if not pair.structure.plain:
            raise ZooError(
                "the doubly reparameterised gradient needs every latent in the data plate and sampled by the guide "
                "from a density of its own; use the objective iwae or elbo"
            )
        rows, cut = x.repeat_interleave(particles, 0), _CutLatents()
        with torch.enable_grad(), cut:
            model_trace, guide_trace = _reparameterised_traces(pair, rows)
        for name, site in random_sites(guide_trace):
            if is_point(site["fn"]):
                raise ZooError(f"the guide gives {name!r} as a point, whose density is none of z; use iwae or elbo")
        log_p = per_datum(model_trace, len(rows))
        weights = (log_p - per_datum(guide_trace, len(rows))).reshape(-1, particles)
        shares = weights.detach().softmax(1)
        pulls = cut.pulls((shares.square() * weights).sum())
        surrogate = (shares.flatten() * log_p).sum()
        for name, pull in pulls.items():
            surrogate = surrogate + (pull * cut.drawn[name]).sum()
        loss = (math.log(particles) - weights.logsumexp(1)).mean()
        return -surrogate / len(x), loss.detach()

    return objective


class _CutLatents(poutine.messenger.Messenger):
    """Inside, each latent that a program draws is a leaf of the graph of gradients, and ``drawn`` what it was drawn as.

    A gradient at the leaves is thus that of fixed parameters of the guide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[str, Tensor] = {}
        self.leaves: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if msg["is_observed"] or name in self.drawn or poutine.util.site_is_subsample(msg) or is_discrete(msg["fn"]):
            return
        self.drawn[name] = msg["value"]
        self.leaves[name] = msg["value"] = msg["value"].detach().requires_grad_()

    def pulls(self, objective: Tensor) -> dict[str, Tensor]:
        """The gradients of ``objective`` at the latents, with what later latents that are drawn given them add."""
        names, leaves = list(self.leaves), list(self.leaves.values())
        pulls = list(torch.autograd.grad(objective, leaves, retain_graph=True, materialize_grads=True))
        for place in reversed(range(1, len(names))):
            drawn = self.drawn[names[place]]
            if drawn.requires_grad:
                earlier = torch.autograd.grad(
                    drawn, leaves[:place], pulls[place], retain_graph=True, materialize_grads=True
                )
                pulls[:place] = [pull + more for pull, more in zip(pulls, earlier, strict=False)]
        return dict(zip(names, pulls, strict=True))


def _reparameterised_traces(pair: Pair, x: Tensor) -> tuple[Any, Any]:
    """Traces of model and guide, whose log-weights have a gradient without score-function terms.

    Raises:
        ZooError: a latent is not reparameterised, or a site has a scale of its own, which is no part of a weight.
    """
    pair.structure.require_sound()
    traces = traced(pair, x)
    for name, site in random_sites(traces[1]):
        if not site["fn"].has_rsample:
            kind = "is discrete" if is_discrete(site["fn"]) else f"is drawn from {type(site['fn']).__name__}"
            raise ZooError(
                f"importance-weighted objectives differentiate draws of the guide, and the latent {name!r} of "
                f"{pair.label} {kind}, which has no reparameterised draw; use the objective elbo"
            )
    for name, site in (each for trace in traces for each in random_sites(trace)):
        if not is_identically_one(site["scale"]):
            raise ZooError(
                f"site {name!r} of {pair.label} has a scale of its own, which is no part of an importance weight; use "
                "the objective elbo, or leave out poutine.scale"
            )
    return traces


def _traces(pair: Pair, x: Tensor, particles: int) -> Iterator[tuple[Any, Any]]:
    """Traces of model and guide with their log-probabilities, one pair per particle."""
    for _ in range(particles):
        model_trace, guide_trace = (prune_subsample_sites(trace) for trace in traced(pair, x))
        model_trace.compute_log_prob()
        guide_trace.compute_score_parts()
        yield model_trace, guide_trace


def _surrogate(model_trace: Any, guide_trace: Any) -> Tensor:
    total = model_trace.log_prob_sum()
    for site in guide_trace.nodes.values():
        if site["type"] != "sample":
            continue
        _, score, entropy = site["score_parts"]
        if not is_identically_zero(entropy):
            total = total - entropy.sum()
        if not is_identically_zero(score):
            log_ratio = log_ratio_of_sites(model_trace, guide_trace).sum_to(site["cond_indep_stack"])
            total = total + (log_ratio * score).sum()
    return total
