"""How many passes do good samples take?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from zoo.metrics.mmd import features, mmd2
from zoo.metrics.passes import sequential_passes
from zoo.metrics.two_sample import FOLDS, c2st
from zoo.pairs.registry import evaluation
from zoo.pairs.sampling import sample, samplers
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded

QUALITY = ("mmd2", "c2st")
PASSES = (10, 20, 50, 100)
MOST = 1000
"""Passes of the first sampler besides: what the others are to reach with few."""


@evaluation("samplers")
def by_passes(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Quality of samples by each sampler of the pair and number of passes (`zoo.pairs.pair.HasSamplers`).

    ``mmd2@ddim:20`` and ``c2st@ddim:20`` are those of the evaluation ``sampling``, of the sampler ``ddim`` in 20
    passes: each is measured in `PASSES`, and the first one also in `MOST`. The passes are counted, and a sampler that
    takes more than it was asked for fails.

    Args:
        runs: one run.
        settings: ``samples``, the most that quality is measured on; ``seed``.

    Returns:
        Two scores for each sampler and number of passes; one, skipped, of a pair without samplers.

    Reference:
        Gretton et al. 2012 (MMD); Lopez-Paz & Oquab 2017, arXiv:1610.06545 (C2ST).
    """
    (run,) = runs
    points = list(_points(run))
    if not points:
        return [Score.skipped("mmd2", "it samples by running its model, and has no samplers")]
    names = [_metrics(*point) for point in points]
    return unmeasurable(run, [name for pair in names for name in pair]) or [
        score
        for point, own in zip(points, names, strict=True)
        for score in attempt(own, partial(_quality, run, settings), *point)
    ]


def _points(run: TrainedRun) -> Iterator[tuple[str, int]]:
    for place, sampler in enumerate(samplers(run.pair)):
        yield from ((sampler, passes) for passes in (PASSES if place else (*PASSES, MOST)))


def _metrics(sampler: str, passes: int) -> list[str]:
    return [f"{metric}@{sampler}:{passes}" for metric in QUALITY]


def _quality(run: TrainedRun, settings: Settings, sampler: str, passes: int) -> list[Score]:
    data, metrics = run.data.test[: settings.samples], _metrics(sampler, passes)
    if len(data) < FOLDS:
        return [Score.skipped(metric, f"needs {FOLDS} test data or more, got {len(data)}") for metric in metrics]
    counted = sequential_passes(run.pair, sampler=sampler, passes=passes)
    if counted > passes:
        return [Score.failed(metric, f"it took {counted} passes instead of {passes}") for metric in metrics]
    with seeded(settings.seed):
        drawn = sample(run.pair, len(data), sampler=sampler, passes=passes)
    ours, real = features(run.pair.event, drawn), features(run.pair.event, data)
    bad = int((~ours.isfinite().all(1)).sum())
    if bad:
        return [Score.failed(metric, f"{bad} of {len(drawn)} samples are not finite") for metric in metrics]
    gap, share = mmd2(ours, real), c2st(ours, real, settings.seed)
    return [
        Score(metrics[0], gap.value, "MMD²", gap.stderr, "estimate", len(data)),
        Score(metrics[1], share.value, "share", share.stderr, "estimate", share.n),
    ]
