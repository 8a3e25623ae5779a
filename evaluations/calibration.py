"""Are the probabilities of labels met, on test data and on data that are turned?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from zoo.errors import UnfitError
from zoo.metrics.calibration import BINS, brier, calibration
from zoo.metrics.labels import labelled, log_joint
from zoo.metrics.shifted import shifted
from zoo.pairs.registry import column, evaluation
from zoo.report.verdicts import Pooled, Row, Verdict, pool
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score

METRICS = ("ece", "ece_excess", "nll", "brier")
ROTATED = tuple(f"{metric}_rotated" for metric in METRICS)


@column(
    "calibration",
    title="Calibration",
    evaluation="calibration",
    metric="ece_excess",
    rule="calibrated if the expected calibration error of p(y | x) on test data is above its mean for a calibrated "
    "model by at most two standard deviations of such an error (mean over seeds); off otherwise.",
    place=8,
    optional=True,
)
def calibrated_or_off(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Are the probabilities p(y | x) met?"""
    word = "calibrated" if score.number <= 2 * (score.stderr or 0.0) else "off"
    return pool(rows, "calibration", "ece").verdict(word, "calibration error")


@evaluation("calibration")
def calibration_of_labels(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """How well the probabilities p(y | x) of labels are met, where labels are known.

        p(y = k | x) = p(x, y = k) / sum_j p(x, y = j)

    - ``ece``: expected calibration error of the predicted class, in 15 bins of equal width. ``ece_excess``: what is
      above its mean for a calibrated model with the same probabilities, with the standard deviation of such a value; 0
      is calibrated.
    - ``nll``: the mean of -log p(y | x). ``brier``: the mean of sum_k (p(k | x) - [y = k])^2.
    - The same with ``_rotated``: of test images turned by 90 degrees, which keep their labels.

    Where p(x, y) is known by a bound only, the importance-weighted bound takes its place.

    Args:
        runs: one run.
        settings: ``particles`` (at most `zoo.metrics.labels.MOST_PARTICLES` are used), ``memory`` and ``seed``.

    Returns:
        The scores above; all skipped for a pair without p(y | x).

    Reference:
        Guo et al. 2017, arXiv:1706.04599.
    """
    (run,) = runs
    return unmeasurable(run, (*METRICS, *ROTATED)) or attempt((*METRICS, *ROTATED), _of_run, run, settings)


def _of_run(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, event = run.pair, run.pair.event
    try:
        _, x, y = labelled(pair, run.data.test)
    except UnfitError as error:
        return [Score.skipped(metric, str(error)) for metric in (*METRICS, *ROTATED)]
    found = _scores(METRICS, run, x, y, settings)
    try:
        turned = shifted("rotated", event, x, settings.seed)
    except UnfitError as error:
        return found + [Score.skipped(metric, str(error)) for metric in ROTATED]
    return found + _scores(ROTATED, run, turned, y, settings)


def _scores(metrics: Sequence[str], run: TrainedRun, x: Tensor, y: Tensor, settings: Settings) -> list[Score]:
    joint = log_joint(run.pair, x, settings.particles, memory=settings.memory, seed=settings.seed)
    posterior, y = joint.log_softmax(1), y.long().cpu()
    if bad := int((~posterior.isfinite().all(1)).sum()):
        return [Score.failed(metric, f"{bad} of {len(x)} data have no finite p(y | x)") for metric in metrics]
    met, n = calibration(posterior, y, seed=settings.seed), len(y)
    of_bins = f"{BINS} bins of equal width; {met.chance:.4f} is the mean for a calibrated model"
    error = Score(metrics[0], met.error, "probability", met.stderr, "estimate", n, reason=of_bins)
    excess = replace(error, metric=metrics[1], value=met.error - met.chance, stderr=met.chance_stderr)
    right = posterior.gather(1, y[:, None])[:, 0]
    return [
        error,
        excess,
        mean_score(metrics[2], -right, "nats", "estimate"),
        mean_score(metrics[3], brier(posterior, y), "", "estimate"),
    ]
