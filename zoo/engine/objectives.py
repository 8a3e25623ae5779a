"""Objectives of SVI as functions of traces; they never read the value of a tensor, so they can be recorded as a graph.

Each gives ``(surrogate, loss)`` per datum, in nats. ``loss`` is reported; the gradient of ``surrogate`` estimates that
of the expected loss (they differ where a latent is not reparameterised).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pyro.distributions.util import is_identically_zero, scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence

from zoo.engine.private import log_ratio_of_sites
from zoo.errors import ZooError
from zoo.pairs.enumeration import enumerated_elbo
from zoo.pairs.pair import HasElbo, Pair
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


def importance_weighted(particles: int) -> Objective:
    """Minus the importance-weighted bound.

        -log (1/S) sum_s p(x, z_s) / q(z_s | x),  z_s ~ q(z | x)

    Latents must be reparameterised; their terms are not weighted by ``beta``, as the result would not be a bound.

    Args:
        particles: S, draws of the guide for each datum.

    Reference:
        Burda et al. 2016, arXiv:1509.00519, eq. 8.
    """

    def objective(pair: Pair, x: Tensor, beta: Tensor | float) -> tuple[Tensor, Tensor]:
        if pair.structure.shared:
            raise ZooError("the importance-weighted bound is one for each datum, and latents are shared; use elbo()")
        weights = log_weights(pair, x.repeat_interleave(particles, 0)).reshape(len(x), particles)
        loss = (math.log(particles) - weights.logsumexp(1)).mean()
        return loss, loss.detach()

    return objective


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
