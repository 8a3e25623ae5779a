"""Does training go the same way every time, and does it keep what it has gained?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import stdev

import torch

from zoo.data import Dataset
from zoo.metrics.mmd import features, mmd2
from zoo.pairs.registry import column, evaluation
from zoo.pairs.traces import capabilities
from zoo.report.verdicts import Pooled, Row, Verdict, one_seed, pool
from zoo.runs.evaluation import Settings, TrainedRun, attempt
from zoo.scores import Score
from zoo.seeding import seeded
from zoo.training.validation import DISCREPANCY_SAMPLES, subsample

CURVES = {
    "validation": ("validation_spread", "drawdown"),
    "discrepancy": ("discrepancy_spread", "discrepancy_drawdown"),
}
"""Column of the history -> the metrics of it."""
METRICS = ("diverged_share", *CURVES["validation"], *CURVES["discrepancy"])
LARGEST_FALL_BACK = 0.25
"""Share of its total improvement that the sample discrepancy of a stable training may lose again."""
NOISE = 2.0
"""Standard errors by which a fall-back must exceed the limit to count."""


@dataclass(frozen=True)
class Fall:
    """The worst fall-back of a curve as a share of its total improvement, between 0 and 1, and the noise in it."""

    share: float
    stderr: float | None = None


@column(
    "training",
    title="Training",
    evaluation="stability",
    metric="diverged_share",
    rule="stable if no seed diverged and the worst fall-back of the sample discrepancy from its best so far, "
    f"less {NOISE:g} standard errors, is at most {LARGEST_FALL_BACK:.0%} of its total improvement in every seed; "
    "unstable otherwise. The discrepancy is the distance MMD between samples and validation data, where less than "
    "two standard errors of MMD² between data and data counts as none; the improvement counts from uniform noise "
    "where training starts better than that. Only measures that implicit and likelihood models share decide.",
    literature={"autoregressive": "stable", "flow": "stable", "implicit": "unstable", "prescribed": "stable"},
    place=1,
    width=42,
)
def stable_or_unstable(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Does training go well in every seed, and keep what it has gained?"""
    note = score.reason or one_seed(score.n)
    if score.number > 0:
        return Verdict("unstable", score.value, "share of seeds diverged", reason=note)
    fall = pool(rows, "stability", "discrepancy_drawdown")
    if fall.value is None:
        return fall.without_value()
    word = "stable" if fall.value - NOISE * (fall.stderr or 0.0) <= LARGEST_FALL_BACK else "unstable"
    return Verdict(word, fall.value, "share fall-back", fall.stderr, reason=note)


@evaluation("stability", over="seeds")
def stability(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """How training went, over all seeds of a family on one data set.

        drawdown = max_t (s_t - min_{u<=t} s_u) / (s_first - min s), at most 1

    - ``diverged_share`` of the seeds that did not crash.
    - ``validation_spread``: standard deviation over seeds of the final validation score (nats per datum; for implicit
      models the discrepancy). ``drawdown``: of the worst seed, the share of the total improvement that was lost again;
      1 if a score is no longer finite.
    - ``discrepancy_spread`` and ``discrepancy_drawdown``: the same for the sample discrepancy at checkpoints, the one
      measure that every family has, taken as a distance, MMD = √max(MMD², 2σ). σ is the standard error of MMD² between
      as many training and validation data: squared, a generator that forgets half of what it learnt would hardly show;
      below 2σ samples are as good as data, and the estimate's changes there are noise. The total improvement counts
      from uniform noise where training starts better than that, as for a family initialised from the data's marginals.

    Args:
        runs: all seeds of one family on one data set.
        settings: ``seed``, of the data and the uniform noise that the discrepancy is compared with.

    Returns:
        The scores above; all skipped for a family that is fitted in closed form, and those of curves for runs of one
        checkpoint.

    Reference:
        Gretton et al. 2012, A kernel two-sample test, for MMD.
    """
    trained = [run for run in runs if run.status != "failed"]
    if not trained:
        reason = f"no seed ended: {runs[0].reason or 'no reason given'}"
        return [Score.failed(metric, reason) for metric in METRICS]
    stepped = any(row["step"] > 0 for run in trained for row in run.history)
    if not stepped and all(run.status == "finished" for run in trained):
        return [
            Score.skipped(metric, "fitted in closed form: there are no steps to be unstable in") for metric in METRICS
        ]
    return [
        _diverged_share(trained, len(runs)),
        *(score for name in CURVES for score in attempt(CURVES[name], _of_curve, trained, name, settings)),
    ]


def worst_fall(curve: Sequence[float], noise: float = 0.0, nothing: float = -math.inf) -> Fall:
    """The worst fall-back of a curve; lower values of the curve are better.

    Args:
        curve: values at checkpoints.
        noise: standard error of the squares of the values.
        nothing: the value of knowing nothing, from which the total improvement counts if the curve starts below it.
    """
    best = first = curve[0]
    fall, where = 0.0, (first, first)
    for value in curve:
        if not math.isfinite(value):
            return Fall(1.0)
        best = min(best, value)
        if value - best > fall:
            fall, where = value - best, (value, best)
    if fall == 0:
        return Fall(0.0, 0.0 if noise else None)
    total = max(max(first, nothing) - min(curve), fall)
    error = math.hypot(*(noise / (2 * value) for value in where)) / total if noise else None
    return Fall(fall / total, error)


def _diverged_share(trained: Sequence[TrainedRun], asked: int) -> Score:
    n = len(trained)
    share = sum(run.status == "diverged" for run in trained) / n
    left_out = f"{asked - n} of {asked} seeds crashed and are left out" if asked > n else ""
    return Score("diverged_share", share, "share", math.sqrt(share * (1 - share) / n), "estimate", n, reason=left_out)


def _of_curve(runs: Sequence[TrainedRun], name: str, settings: Settings) -> list[Score]:
    """Spread and drawdown of a column of the histories, each curve from its first finite value on."""
    curves = [
        list(itertools.dropwhile(lambda value: not math.isfinite(value), (row[name] for row in run.history)))
        for run in runs
    ]
    unit, noise, nothing = "nats", 0.0, -math.inf
    if name == "discrepancy" or capabilities(runs[0].pair).likelihood == "none":
        noise, nothing = _yardstick(runs[0].data, settings.seed, runs[0].drawn or DISCREPANCY_SAMPLES)
        unit, curves = "MMD", [[_distance(value, noise) for value in curve] for curve in curves]
    spread, drawdown = CURVES[name]
    falls = [worst_fall(curve, noise, nothing) for curve in curves if curve[1:]]
    scores = [_spread(spread, curves, unit), _drawdown(drawdown, falls)]
    scored = "; ".join(dict.fromkeys(run.scored for run in runs if run.scored))
    return [replace(score, reason=score.reason or scored) for score in scores]


def _distance(square: float, noise: float) -> float:
    return math.sqrt(max(square, 2 * noise)) if math.isfinite(square) else square


def _yardstick(data: Dataset, seed: int, samples: int) -> tuple[float, float]:
    """The discrepancy's standard error between data and so many others, and its value (a distance) for uniform noise.

    The noise is uniform over the levels, or over the box that real data lie in.
    """
    with seeded(seed):
        rows = torch.randperm(len(data.train))[:samples].to(data.train.device)
        train, validation = data.batch(rows), subsample(data.validation)
        event, train = data.event.array, data.event.main_of(train)
        if event.levels is not None:
            uniform = torch.randint_like(train, event.levels)
        else:
            low, high = train.amin(0), train.amax(0)
            uniform = low + torch.rand_like(train) * (high - low)
    real = features(data.event, validation)
    noise = mmd2(features(event, train), real).stderr
    return noise, math.sqrt(max(0.0, mmd2(features(event, uniform), real).value))


def _spread(metric: str, curves: Sequence[Sequence[float]], unit: str) -> Score:
    last = [curve[-1] for curve in curves if curve and math.isfinite(curve[-1])]
    if len(last) < 2:
        return Score.skipped(metric, f"a spread needs at least two seeds that end with a finite value, got {len(last)}")
    spread = stdev(last)
    return Score(metric, spread, unit, spread / math.sqrt(2 * (len(last) - 1)), "estimate", len(last))


def _drawdown(metric: str, falls: Sequence[Fall]) -> Score:
    if not falls:
        return Score.skipped(metric, "a fall-back needs at least two checkpoints with a finite value")
    worst = max(falls, key=lambda fall: fall.share)
    return Score(metric, worst.share, "share", worst.stderr, "estimate", len(falls))
