"""Does training go the same way every time, and does it keep what it has won?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

import torch
from torch import Tensor

from zoo.data import Dataset
from zoo.event import Event
from zoo.metrics.mmd import features, mmd2
from zoo.pairs.registry import evaluation
from zoo.pairs.traces import capabilities
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


@dataclass(frozen=True)
class Fall:
    """The worst fall-back of a curve as a share of its total improvement, between 0 and 1, and the noise in it."""

    share: float
    stderr: float | None = None


@evaluation("stability", over="seeds")
def stability(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """How training went, over all seeds of a family on one data set.

    ``diverged_share`` of the seeds that did not crash. ``validation_spread``: standard deviation over seeds of the
    final validation score (nats per datum; the discrepancy for implicit models). ``drawdown``, of the worst seed:
    max_t (s_t - min_{u<=t} s_u) / (s_first - min s), the share of the total improvement that was lost again, at most 1;
    a score that is no longer finite has lost everything.

    ``discrepancy_spread`` and ``discrepancy_drawdown`` are the same for the sample discrepancy tracked at checkpoints,
    the one measure that every family has. It is taken as a distance, MMD = √max(MMD², 2σ), where σ is the standard
    error of MMD² between as many train and validation data: squared, a generator that forgets half of what it learnt
    would hardly show, and below 2σ samples are as good as data, so that what the estimate does there is noise. The
    standard error of the drawdown is what σ makes of it. Its total improvement counts from uniform noise where training
    starts better than that: a family that is initialised from the data's marginals has won that much already, and would
    be called unstable for wavering over the little that is left.
    """
    trained = [run for run in runs if run.status != "failed"]
    if not trained:
        reason = f"no seed ended: {runs[0].reason or 'no reason given'}"
        return [Score.failed(metric, reason) for metric in METRICS]
    if max(len(run.history) for run in trained) < 2 and all(run.status == "finished" for run in trained):
        return [
            Score.skipped(metric, "fitted in closed form: there are no steps to be unstable in") for metric in METRICS
        ]
    return [
        _diverged_share(trained, len(runs)),
        *(score for name in CURVES for score in attempt(CURVES[name], _of_curve, trained, name, settings)),
    ]


def worst_fall(curve: Sequence[float], noise: float = 0.0, nothing: float = -math.inf) -> Fall:
    """The worst fall-back of a curve, the lower the better; ``noise`` is the standard error of the values' squares.

    ``nothing`` is the value of knowing nothing, from which the total improvement counts if the curve starts below it.
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
    implicit = capabilities(runs[0].pair).likelihood == "none"
    spread, drawdown = CURVES[name]
    if name == "validation" and not implicit:
        curves = [_curve(run, name) for run in runs]
        return [
            _spread(spread, curves, "nats"),
            _drawdown(drawdown, [worst_fall(curve) for curve in curves if curve[1:]]),
        ]
    noise, nothing = _yardstick(runs[0].data, settings.seed)
    curves = [_distances(_curve(run, name), noise) for run in runs]
    falls = [worst_fall(curve, noise, nothing) for curve in curves if curve[1:]]
    return [_spread(spread, curves, "MMD"), _drawdown(drawdown, falls)]


def _curve(run: TrainedRun, name: str) -> list[float]:
    """A run's curve from its first finite value on."""
    return list(itertools.dropwhile(lambda value: not math.isfinite(value), (row[name] for row in run.history)))


def _distances(squares: Sequence[float], noise: float) -> list[float]:
    return [math.sqrt(max(value, 2 * noise)) if math.isfinite(value) else value for value in squares]


def _yardstick(data: Dataset, seed: int) -> tuple[float, float]:
    """The discrepancy's standard error between data and data, and its value (a distance) for uniform noise."""
    with seeded(seed):
        rows = torch.randperm(len(data.train))[:DISCREPANCY_SAMPLES].to(data.train.device)
        train, validation = data.batch(rows), subsample(data.validation)
        uniform = _uniform(data.event, train)
    real = features(data.event, validation)
    noise = mmd2(features(data.event, train), real).stderr
    return noise, math.sqrt(max(0.0, mmd2(features(data.event, uniform), real).value))


def _uniform(event: Event, like: Tensor) -> Tensor:
    """Uniform noise over the levels, or over the box that real data lie in."""
    if event.levels is not None:
        return torch.randint_like(like, event.levels)
    low, high = like.amin(0), like.amax(0)
    return low + torch.rand_like(like) * (high - low)


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
