"""How far may the bound on a family's likelihood be from the truth?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from zoo.metrics.ais import anneal, simulated, why_not
from zoo.pairs.registry import evaluation
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score

MOST_DATA, OF_ITS_OWN = 100, 50
"""Test data, and data that the model draws."""
CHAINS, TEMPERATURES, LEAPFROGS = 8, 80, 2
METRICS = (
    "within",
    "ais_nats",
    "forward",
    "backward",
    "acceptance",
    "chain_ess",
    "gradients",
    "seconds",
    "cpu_seconds",
)


@evaluation("certificate")
def certificate(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Bounds on log p(x) from both sides by annealed importance sampling (`zoo.metrics.ais`).

    On the first 100 test data:

    - ``ais_nats``: the negative of the mean lower bound, to compare with the bound of particles in ``likelihood``.

    On 50 data that the model draws, whose latents are exact draws of the posterior:

    - ``forward`` and ``backward``: the negatives of the mean lower and upper bounds on log p(x).
    - ``within``: their mean difference in nats, the width of the bracket. It certifies the lower bound on data like the
      model's own; the data of the test split may be harder.
    - ``acceptance`` of the chains' steps, ``chain_ess``: effective number of the 8 chains, ``gradients`` of the model
      for each datum of the test split, the pilot run's included; ``seconds`` in all by the clock, and ``cpu_seconds``
      of the processor, whatever else the machine does.

    Args:
        runs: one run.
        settings: ``memory`` and ``seed``.

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
    x = run.data.test[:MOST_DATA]
    chains = partial(
        anneal,
        chains=CHAINS,
        temperatures=TEMPERATURES,
        leapfrogs=LEAPFROGS,
        seed=settings.seed,
        memory=settings.memory,
    )
    [test] = chains(pair, x)
    drawn, z = simulated(pair, OF_ITS_OWN, settings.seed)
    below, above = chains(pair, drawn, z)
    shift = run.data.log_scale(pair, x)
    shift_of_drawn = run.data.log_scale(pair, drawn)
    cost = f"{CHAINS} chains, {TEMPERATURES} temperatures"
    within = mean_score("within", above.bound - below.bound, "nats", "bracket")
    return [
        replace(within, reason=f"on data that it drew; {cost}") if within.status == "ok" else within,
        replace(mean_score("ais_nats", shift - test.bound, "nats", "lower bound"), reason=cost),
        mean_score("forward", shift_of_drawn - below.bound, "nats", "lower bound"),
        mean_score("backward", shift_of_drawn - above.bound, "nats", "upper bound"),
        mean_score("acceptance", test.acceptance, "share", "estimate"),
        mean_score("chain_ess", test.ess, f"of {CHAINS}", "estimate"),
        Score("gradients", float(test.gradients), "for a datum", n=len(x)),
        Score("seconds", time.perf_counter() - began, "s", n=len(x)),
        Score("cpu_seconds", time.process_time() - worked, "s", n=len(x)),
    ]
