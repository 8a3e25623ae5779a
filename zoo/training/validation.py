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
from zoo.pairs.sampling import contexts, sample
from zoo.pairs.traces import Capabilities
from zoo.seeding import seeded
from zoo.training.recipe import Recipe

DISCREPANCY_SAMPLES = 200
"""The most samples, and the most data, that the discrepancy is measured on."""
FEWEST_SAMPLES = 50
"""The fewest samples that it is measured on."""
VALIDATION_PARTICLES = 4
"""Estimates of a bound for each datum of its validation score."""
VALIDATION_ESTIMATES = 16
"""The same where a pair has its own of the ELBO; they cost less, and vary more."""
CHECKPOINT_SHARE = 0.05
"""What the validation scores of all checkpoints may take of training, counted in passes of one datum."""
DRAWS_SHARE = 0.015
"""What the samples of all checkpoints may take of training, a sample counted as one pass."""
GRADIENT_PASSES = 3
"""A datum of a batch costs about three passes: one forwards, and the gradient, which takes two."""
SMALL = 500
"""So many validation data, or fewer, are always all scored."""
FEWEST_SCORED = 200
"""The smallest part that is scored of more."""
CHAINS, TEMPERATURES = 100, 200
"""Of annealing, for log Z."""


def validation_score(pair: Pair, x: Tensor, can: Capabilities, estimates: int, particles: int = 1) -> float:
    """The score for early stopping, the lower the better.

    Minus the log-probability, or minus the bound of ``particles`` weights that is trained (with one the ELBO), in nats
    per datum; MMD² for implicit models. A bound is the mean of ``estimates`` for each datum. Where log Z is unknown it
    is estimated by short annealing from both sides, of which the greater value counts: chains from the base alone
    flatter a model that has diverged.
    """
    if can.likelihood == "unnormalised":
        log_z = estimate_normaliser(pair, chains=CHAINS, temperatures=TEMPERATURES, seed=0)
        of_relative = replace(can, likelihood="bound" if can.latents else "exact")
        score = validation_score(pair.relative, x, of_relative, estimates, particles)
        return score + max(log_z.forward.value, log_z.backward.value)
    if can.likelihood == "exact":
        return -float(log_probs(pair, x).mean())
    if isinstance(pair.extras, HasElbo):
        return -sum(float(term.mean()) for term in elbo_draws(pair, x, estimates).values())
    if can.likelihood == "bound":
        weights = particle_weights(pair, x, estimates * particles).unflatten(1, (-1, particles))
        return -float((weights.logsumexp(2) - math.log(particles)).mean())
    return discrepancy(pair, x)


def estimates_per_datum(pair: Pair, can: Capabilities) -> int:
    """How many estimates of each datum's score are averaged, where all validation data are scored."""
    if can.likelihood in ("exact", "none") or not (can.latents or can.shared):
        return 1
    return VALIDATION_ESTIMATES if isinstance(pair.extras, HasElbo) else VALIDATION_PARTICLES


def checkpoint_data(x: Tensor, recipe: Recipe, estimates: int) -> tuple[Tensor, int]:
    """What checkpoints score: validation data, and how many estimates of each.

    Of more than `SMALL` data scores may take `CHECKPOINT_SHARE` of the passes of training. Where that does not suffice
    for all, they are one estimate for each of a fixed random part, of `FEWEST_SCORED` or more: scores vary more between
    data than between estimates. The counts depend on the recipe and the number of data, and on no clock.
    """
    interval = max(1, recipe.steps // recipe.checkpoints)
    passes = int(CHECKPOINT_SHARE * GRADIENT_PASSES * interval * recipe.batch)
    if len(x) <= SMALL or len(x) * estimates <= passes:
        return x, estimates
    count = max(FEWEST_SCORED, passes)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return (x if count >= len(x) else x[order[:count].to(x.device)]), 1


def checkpoint_samples(x: Tensor, recipe: Recipe) -> int:
    """How many samples the discrepancy of a checkpoint is measured on: `DISCREPANCY_SAMPLES` or fewer.

    Of more than `SMALL` validation data ``x``, samples may take `DRAWS_SHARE` of the passes of training: one that is
    drawn entry by entry with a cache costs about a pass. The count depends on the recipe and on no clock.
    """
    if len(x) <= SMALL:
        return DISCREPANCY_SAMPLES
    interval = max(1, recipe.steps // recipe.checkpoints)
    passes = int(DRAWS_SHARE * GRADIENT_PASSES * interval * recipe.batch)
    return min(DISCREPANCY_SAMPLES, max(FEWEST_SAMPLES, passes))


def discrepancy(pair: Pair, x: Tensor, samples: int = DISCREPANCY_SAMPLES) -> float:
    """MMD² between so many samples of the pair and at most `DISCREPANCY_SAMPLES` data of ``x``; NaN for bad samples.

    Where the model is given something, its samples are given that of the data.
    """
    real = subsample(x)
    with seeded(1):
        drawn = sample(pair, samples, given=contexts(pair.event, real, samples))
    ours = features(pair.event, drawn)
    return mmd2(ours, features(pair.event, real)).value if ours.isfinite().all() else math.nan


def subsample(x: Tensor) -> Tensor:
    """A fixed random choice of at most `DISCREPANCY_SAMPLES` data (files are often sorted)."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:DISCREPANCY_SAMPLES].to(x.device)]
