"""Ground laws of what a pair computes by itself: its analytic log-probability, and its estimates of the ELBO."""

from __future__ import annotations

import math

import torch
from pyro import poutine
from torch import Tensor

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError
from zoo.contract.ground import NOISE, given, noisy, values_of
from zoo.contract.lines import line_of
from zoo.contract.normalisation import DRAWS, SURE, evidence
from zoo.contract.volumes import MOST_ENTRIES
from zoo.pairs.pair import HasElbo, HasLogProb, Pair
from zoo.pairs.sites import per_datum, random_sites
from zoo.pairs.traces import capabilities, elbo_terms, log_prob, log_weights

PARTICLES = 200
"""Draws of the guide per datum for the bound that an analytic log-probability is compared with."""
FEW, TRACES, ESTIMATES = 2, 16, 40
"""Data, traces of each that a pair's own estimates of the ELBO are compared with, and estimates for each of these."""
ERRORS = 4.0
"""Standard errors by which a bound may exceed what it bounds."""


def agrees_with_log_prob(case: Case) -> None:
    pair = case.pair
    if not isinstance(pair.extras, HasLogProb) or pair.structure.shared:
        return
    for noise in (0.0, NOISE):
        with pair.evaluating(), noisy(pair, noise):
            _compare_with_programs(pair, case.x(case.sizes[0]), line_of(pair.extras.log_prob))


def _compare_with_programs(pair: Pair, x: Tensor, at: str) -> None:
    """An analytic log-probability, with what traces of the programs and draws of the model say of it."""
    exact = log_prob(pair, x)
    if not capabilities(pair, x).latents:
        program = log_weights(pair, x)
        if not torch.allclose(exact.double(), program.double(), rtol=1e-3, atol=1e-3):
            raise BrokenError(
                f"log_prob(x) should be the log-probability under the model; for x[0] it is {float(exact[0]):g} "
                f"and the model's {float(program[0]):g}{at}"
            )
        return
    weights = log_weights(pair, x.repeat_interleave(PARTICLES, 0)).reshape(len(x), PARTICLES)
    too_much = 0.0 if pair.structure.enumerated else _optimism(pair)
    misjudged = _misjudged(pair)
    exact, weights = exact.cpu().double(), weights.cpu().double()
    bound = weights.logsumexp(1) - torch.tensor(PARTICLES).log()
    error = (weights - bound[:, None]).exp().std(1) / PARTICLES**0.5
    excess = (bound - exact).sum()
    if excess > ERRORS * error.square().sum().sqrt() + 1e-3 * len(x):
        raise BrokenError(
            f"log_prob(x) should be no less than a lower bound of it; over {len(x)} data it is "
            f"{float(exact.sum()):g} and the bound {float(bound.sum()):g}{at}"
        )
    if too_much > math.log(SURE):
        raise BrokenError(
            f"log_prob(x) should be a normalised density; over {PARTICLES} draws of the model it is greater by "
            f"{too_much:g} nats than latents and guide allow{at}"
        )
    if misjudged:
        raise BrokenError(
            f"log_prob(x) should be the log-probability under the model; by its integral and by draws of the model it "
            f"is {misjudged}{at}"
        )


def estimates_its_elbo(case: Case) -> None:
    pair = case.pair
    if not isinstance(pair.extras, HasElbo):
        return
    x = case.x(FEW)
    with pair.evaluating():
        traces = torch.stack([log_weights(pair, x) for _ in range(TRACES)]).cpu().double().mean(1)
        own = [sum(elbo_terms(pair, x.repeat(ESTIMATES, *(1 for _ in x.shape[1:]))).values()) for _ in range(TRACES)]
    estimates = torch.stack([torch.as_tensor(each).mean() for each in own]).cpu().double()
    error = (traces.var() / TRACES + estimates.var() / TRACES).sqrt() + 1e-3 * (1 + traces.mean().abs())
    if (traces.mean() - estimates.mean()).abs() > ERRORS * error:
        raise BrokenError(
            f"elbo_terms(x) should add up to the ELBO of the programs; over {len(x)} data it is on average "
            f"{float(estimates.mean()):g}, and that of traces {float(traces.mean()):g}{line_of(pair.extras.elbo_terms)}"
        )


def _misjudged(pair: Pair) -> str:
    """How log_prob is off by its integral and by draws of the model, which hold of few real dimensions."""
    if pair.event.support != "real" or pair.event.size > MOST_ENTRIES:
        return ""
    blank = pair.event.zeros(DRAWS).to(pair.device)
    drawn = pair.layout.assemble(poutine.trace(poutine.uncondition(pair.model)).get_trace(blank), blank).flatten(1)
    found = evidence(lambda x: log_prob(pair, x.reshape(-1, *pair.event.shape)), drawn, discrete=False)
    wrong = zip(found or (), ("small", "great"), strict=False)
    return next((f"too {word} by {each.off:.2g} nats or more" for each, word in wrong if each.wrong), "")


def _optimism(pair: Pair) -> float:
    """By how much log_prob exceeds the weights of the latents that draws of the model came from, summed over draws.

        E exp(log p(x) - log p(x, z) + log q(z | x)) = 1,  (x, z) ~ p

    so that by Markov's inequality the sum exceeds log c with a probability of at most 1 / c.
    """
    blank = pair.event.zeros(PARTICLES).to(pair.device)
    drawn = poutine.trace(poutine.uncondition(pair.model)).get_trace(blank)
    x = pair.layout.assemble(drawn, blank)
    latents = {name: site["value"] for name, site in random_sites(drawn) if not site["infer"].get("was_observed")}
    joint = per_datum(given(pair.model, x, values_of(drawn)), len(x))
    guide = per_datum(given(pair.guide, x, latents), len(x))
    return float((log_prob(pair, x) - joint + guide).cpu().double().sum())
