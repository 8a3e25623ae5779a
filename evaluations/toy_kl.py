"""How far is a learnt density from the true one?"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from zoo.metrics.bounds import log_likelihoods
from zoo.pairs.registry import datasets, evaluation
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score

METRICS = ("kl",)
DRAWS = 20_000
OF_BOUNDS = 2000
"""Draws where log q(x) is a bound, which takes many particles each."""
FRESH = 1_000_003
"""Added to the seed of new data, so that they are not those of the data set of the same seed."""


@evaluation("toy_kl")
def toy_kl(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """``kl``: the divergence KL(p || q) in nats of a learnt density q from a toy's known density p.

        KL(p || q) = E_p[log p(x) - log q(x)]

    A mean over `DRAWS` new draws from p; 0 if q is p. With a lower bound on log q(x), over `OF_BOUNDS` draws, it is an
    upper bound on the divergence. Other data and implicit models are skipped.

    Args:
        runs: one run.
        settings: ``seed`` of the draws, ``particles`` of a bound, ``memory``.

    Returns:
        The one score.

    Reference:
        Kullback & Leibler 1951, On information and sufficiency.
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_run, run, settings)


def _of_run(run: TrainedRun, settings: Settings) -> list[Score]:
    toy = datasets.get(run.data.name) if run.data.registered else None
    if toy is None or toy.log_density is None or toy.sampler is None:
        known = ", ".join(source.name for source in datasets if source.sampler)
        return [Score.skipped("kl", f"the true density of {run.data.name} is not known; of {known} it is")]
    known = capabilities(run.pair).likelihood
    if known == "none":
        return [Score.skipped("kl", "an implicit model: it observes nothing, so it has no density")]
    if known == "unnormalised":
        return [Score.skipped("kl", "its density is known up to a constant, and an estimate of that is no bound")]
    count = DRAWS if known == "exact" else OF_BOUNDS
    x = toy.sampler(count, torch.Generator().manual_seed(settings.seed + FRESH))
    given = run.data.standardise(x.reshape(-1, *run.data.event.shape))
    learnt, kind = log_likelihoods(
        run.pair, given.to(run.pair.device), settings.particles, memory=settings.memory, seed=settings.seed
    )
    gap = toy.log_density(x.double()) - (learnt - run.data.log_scale(run.pair, given))
    return [mean_score("kl", gap, "nats", "estimate" if kind == "exact" else "upper bound")]
