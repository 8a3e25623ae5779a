"""How well is one half of a datum known from the other?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from zoo.errors import ZooError
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise
from zoo.pairs.registry import evaluation
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded
from zoo.use.imputing import conditional_sites
from zoo.use.model import TrainedModel

METRICS = ("half_nats", "half_rmse")
FLOOR = "floor_half_nats"
MOST_DATA, MOST_PARTICLES, DRAWS = 100, 128, 16
"""Test data, draws of latents for each, and draws of what is missing."""

HALVES = "halves are of data of one array with two entries or more"


@evaluation("imputation")
def imputation(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """The later half of the entries of a datum, of an image its lower half, given the earlier half.

    - ``half_nats``: the mean of -log p(later half | earlier half) over the first 100 test data, in nats: exact where
      the family's conditionals are derivable, an estimate with latents (see `zoo.use.imputing`), which is too high on
      average. ``floor_half_nats`` is that of independent entries.
    - ``half_rmse``: root of the mean squared error of the imputed mean, in the data's own units, or in train
      deviations where columns have units of their own.

    Args:
        runs: one run.
        settings: ``particles`` (at most 128 are used) and ``seed``.

    Returns:
        The scores above; skipped, with the reason, for a family whose conditionals cannot be derived.

    Reference:
        Rezende et al. 2014, arXiv:1401.4082, appendix F; Mattei & Frellsen 2018, arXiv:1802.04826.
    """
    (run,) = runs
    return unmeasurable(run, (*METRICS, FLOOR)) or [
        *attempt(METRICS, _of_pair, run, settings),
        *attempt((FLOOR,), _of_floor, run, settings),
    ]


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    if run.data.event.fields or run.data.event.size < 2:
        return [Score.skipped(metric, HALVES) for metric in METRICS]
    try:
        conditional_sites(run.pair)
    except ZooError as reason:
        return [Score.skipped(metric, str(reason)) for metric in METRICS]
    model, (x, later) = TrainedModel(run.pair, run.data), _halves(run)
    particles = min(settings.particles, MOST_PARTICLES)
    found = model.log_prob(x, particles, settings.seed, mask=later)
    nats = mean_score("half_nats", -torch.as_tensor(found.value), "nats", found.kind)
    imputed = torch.as_tensor(model.impute(x, later, draws=DRAWS, seed=settings.seed).mean)
    error = (imputed.double() - x.double()).flatten(1)
    if run.data.units is not None:
        error = error / run.data.restore(run.data.train).flatten(1).std(0)
    squares = error.square().sum(1) / later.flatten(1).sum(1)
    rmse = mean_score("half_rmse", squares, "", "estimate")
    if rmse.value is not None:
        root = rmse.value**0.5
        rmse = replace(rmse, value=root, stderr=rmse.stderr and rmse.stderr / (2 * root) if root else 0.0)
    remark = f"of {particles} draws of z" if found.kind == "estimate" else ""
    return [replace(nats, reason=remark) if nats.status == "ok" else nats, rmse]


def _of_floor(run: TrainedRun, settings: Settings) -> list[Score]:
    if run.data.event.fields or run.data.event.size < 2:
        return [Score.skipped(FLOOR, HALVES)]
    pair = build("independent", run.data.event, seed=settings.seed).to(run.data.train.device)
    if isinstance(pair.extras, HasInitialise):
        with seeded(settings.seed), torch.no_grad():
            pair.extras.initialise(run.data.initial())
    x, later = _halves(run)
    found = TrainedModel(pair, run.data).log_prob(x, mask=later)
    return [mean_score(FLOOR, -torch.as_tensor(found.value), "nats", found.kind)]


def _halves(run: TrainedRun) -> tuple[torch.Tensor, torch.Tensor]:
    """Test data in their own units, and a mask of the later half of each."""
    x = run.data.restore(run.data.test[:MOST_DATA])
    later = torch.arange(run.data.event.size, device=x.device) >= run.data.event.size // 2
    return x, later.expand(len(x), -1).reshape(x.shape)
