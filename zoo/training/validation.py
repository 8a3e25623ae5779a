"""Measurements at a checkpoint: the score for early stopping, and the distance of samples from data."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from zoo.metrics.bounds import elbo_draws, log_probs, particle_weights
from zoo.metrics.mmd import features, mmd2
from zoo.metrics.normaliser import estimate_normaliser
from zoo.pairs.pair import HasElbo, Pair
from zoo.pairs.traces import Capabilities, contexts, sample
from zoo.seeding import seeded

DISCREPANCY_SAMPLES = 200
"""The most samples, and the most data, that the discrepancy is measured on."""
VALIDATION_PARTICLES = 4
"""Estimates of a bound for each datum of its validation score."""
VALIDATION_ESTIMATES = 16
"""The same where a pair has its own of the ELBO; they cost less, and vary more."""

CHAINS, TEMPERATURES = 100, 200
"""Of annealing, for log Z."""


def validation_score(pair: Pair, x: Tensor, can: Capabilities, particles: int = 1) -> float:
    """The score for early stopping, the lower the better.

    Minus the log-probability, or minus the bound of ``particles`` weights that is trained (with one the ELBO), in nats
    per datum; MMD² for implicit models. Where log Z is unknown it is estimated by short annealing from both sides, of
    which the greater value counts: chains from the base alone flatter a model that has diverged.
    """
    if can.likelihood == "unnormalised":
        log_z = estimate_normaliser(pair, chains=CHAINS, temperatures=TEMPERATURES, seed=0)
        of_relative = replace(can, likelihood="bound" if can.latents else "exact")
        score = validation_score(pair.relative, x, of_relative, particles)
        return score + max(log_z.forward.value, log_z.backward.value)
    if can.likelihood == "exact":
        return -float(log_probs(pair, x).mean())
    if isinstance(pair.extras, HasElbo):
        return -sum(float(term.mean()) for term in elbo_draws(pair, x, VALIDATION_ESTIMATES).values())
    if can.likelihood == "bound":
        weights = particle_weights(pair, x, VALIDATION_PARTICLES * particles).unflatten(1, (-1, particles))
        return -float((weights.logsumexp(2) - math.log(particles)).mean())
    return discrepancy(pair, x)


def discrepancy(pair: Pair, x: Tensor) -> float:
    """MMD² between the pair's samples and data ``x`` (at most `DISCREPANCY_SAMPLES` of each); NaN for bad samples.

    Where the model is given something, its samples are given that of the data.
    """
    real = subsample(x)
    with seeded(1):
        drawn = sample(pair, DISCREPANCY_SAMPLES, given=contexts(pair.event, real, DISCREPANCY_SAMPLES))
    ours = features(pair.event, drawn)
    return mmd2(ours, features(pair.event, real)).value if ours.isfinite().all() else math.nan


def subsample(x: Tensor) -> Tensor:
    """A fixed random choice of at most `DISCREPANCY_SAMPLES` data (files are often sorted)."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:DISCREPANCY_SAMPLES].to(x.device)]
