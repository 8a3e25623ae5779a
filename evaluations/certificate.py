"""How far may the bound on a family's likelihood be from the truth?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from zoo.metrics.ais import anneal, simulated, why_not
from zoo.metrics.bounds import bounds, log_probs
from zoo.pairs.registry import column, evaluation
from zoo.pairs.traces import capabilities
from zoo.report.verdicts import NOT_ASKED, Pooled, Row, Verdict
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score

MOST_DATA, OF_ITS_OWN = 100, 50
"""Test data, and data that the model draws; fewer where settings have fewer samples."""
CHAINS, TEMPERATURES, LEAPFROGS = 8, 80, 2
EXCESS = ("elbo_excess", "bound_excess", "exact_excess")
METRICS = (
    *("within", "ais_nats", *EXCESS, "forward", "backward"),
    *("acceptance", "chain_ess", "gradients", "seconds", "cpu_seconds"),
)
WIDEST = 0.5
"""Nats that a bound may be from the truth to be tight."""


@column(
    "within",
    title="Within",
    evaluation="certificate",
    metric="within",
    rule=f"tight if the certified width of the bound and two of its standard errors are at most {WIDEST:g} nats: "
    "between bounds from below and from above by annealed importance sampling, on data that the model draws; loose if "
    "it is above by two of them; unsure between. Where the likelihood is exact there is nothing to certify.",
    place=2,
    missing=NOT_ASKED,
)
def tight_or_loose(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """How far may the bound on the likelihood be from the truth?"""
    noise = 2 * (score.stderr or 0.0)
    word = "tight" if score.number + noise <= WIDEST else "loose" if score.number - noise > WIDEST else "unsure"
    return score.verdict(word, "nats")


@evaluation("certificate")
def certificate(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Bounds on log p(x) from both sides by annealed importance sampling (`zoo.metrics.ais`).

    On the first 100 test data:

    - ``ais_nats``: the negative of the mean lower bound.
    - ``elbo_excess``, ``bound_excess`` and ``exact_excess``: by how many nats the negative ELBO, the bound of particles
      and, where it is known, the exact value on the same data are above it, paired.

    On 50 data that the model draws, whose latents are exact draws of the posterior:

    - ``forward`` and ``backward``: the negatives of the mean lower and upper bounds on log p(x).
    - ``within``: their mean difference in nats, the width of the bracket. It certifies the lower bound on data like the
      model's own; the data of the test split may be harder.
    - ``acceptance`` of the chains' steps, ``chain_ess``: effective number of the 8 chains, ``gradients`` of the model
      for each datum of the test split, the pilot run's included; ``seconds`` in all by the clock, and ``cpu_seconds``
      of the processor, whatever else the machine does.

    Args:
        runs: one run.
        settings: ``samples``, the most data of either kind; ``particles``, ``memory`` and ``seed``.

    Returns:
        The scores above; skipped, with the reason, where a likelihood is exact or latents cannot be annealed.

    Reference:
        Grosse et al. 2015, arXiv:1511.02543; Wu et al. 2017, arXiv:1611.04273.
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_pair, run, settings)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, began, worked = run.pair, time.perf_counter(), time.process_time()
    if reason := why_not(pair):
        return [Score.skipped(metric, reason) for metric in METRICS]
    x, memory, seed = run.data.test[: min(MOST_DATA, settings.samples)], settings.memory, settings.seed
    chains = partial(
        anneal,
        chains=CHAINS,
        temperatures=TEMPERATURES,
        leapfrogs=LEAPFROGS,
        seed=seed,
        memory=memory,
    )
    [test] = chains(pair, x)
    of_particles = bounds(pair, x, settings.particles, memory=memory, seed=seed)
    excess = [test.bound - of_particles.elbo, test.bound - of_particles.importance]
    if capabilities(pair, x).likelihood == "exact":
        excess.append(test.bound - log_probs(pair, x, memory=memory, seed=seed))
    drawn, z = simulated(pair, min(OF_ITS_OWN, settings.samples), seed)
    below, above = chains(pair, drawn, z)
    shift = run.data.log_scale(pair, x)
    shift_of_drawn = run.data.log_scale(pair, drawn)
    cost = f"{CHAINS} chains, {TEMPERATURES} temperatures"
    within = mean_score("within", above.bound - below.bound, "nats", "bracket")
    return [
        replace(within, reason=f"on {len(drawn)} data that it drew; {cost}") if within.status == "ok" else within,
        replace(mean_score("ais_nats", shift - test.bound, "nats", "lower bound"), reason=cost),
        *(mean_score(metric, nats, "nats", "estimate") for metric, nats in zip(EXCESS, excess, strict=False)),
        *(Score.skipped(metric, "the exact value is not known") for metric in EXCESS[len(excess) :]),
        mean_score("forward", shift_of_drawn - below.bound, "nats", "lower bound"),
        mean_score("backward", shift_of_drawn - above.bound, "nats", "upper bound"),
        mean_score("acceptance", test.acceptance, "share", "estimate"),
        mean_score("chain_ess", test.ess, f"of {CHAINS}", "estimate"),
        Score("gradients", float(test.gradients), "for a datum", n=len(x)),
        Score("seconds", time.perf_counter() - began, "s", n=len(x)),
        Score("cpu_seconds", time.process_time() - worked, "s", n=len(x)),
    ]
