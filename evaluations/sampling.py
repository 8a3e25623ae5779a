"""How fast are samples drawn, and are they any good?"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from zoo.devices import synchronise
from zoo.errors import ZooError
from zoo.metrics.mmd import features, mmd2
from zoo.metrics.passes import sequential_passes
from zoo.metrics.two_sample import FOLDS, c2st, precision_recall
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import column, evaluation
from zoo.pairs.sampling import contexts, sample
from zoo.report.verdicts import Pooled, Row, Verdict
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded

SPEED = ("seconds_1", "seconds_100", "samples_per_second", "relative_time")
QUALITY = ("mmd2", "c2st", "precision", "recall")
PLAIN = "vae"
"""The family that the speed of others is relative to."""
SECONDS = 0.5
"""About how long each sampler is timed, within 3 to `ROUNDS` repetitions."""
ROUNDS = 15
LARGEST_RELATIVE_TIME = 10.0
"""Times a plain VAE's time that a fast sampler may take for 100 samples."""


@column(
    "sampling",
    title="Sampling",
    evaluation="sampling",
    metric="relative_time",
    rule=f"fast if 100 samples take at most {LARGEST_RELATIVE_TIME:g} times as long as from a plain VAE timed "
    "alternately (mean over seeds); slow otherwise. The quality of the samples is reported and does not decide.",
    literature={"autoregressive": "slow", "flow": "fast/slow", "implicit": "fast", "prescribed": "fast"},
    place=3,
    width=42,
)
def fast_or_slow(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Are samples drawn about as fast as from a plain VAE?"""
    return score.verdict("fast" if score.number <= LARGEST_RELATIVE_TIME else "slow", "times a plain VAE")


@evaluation("sampling", alone=True)
def sampling(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Speed of drawing samples, and their quality, so that speed is not bought with noise.

    - Median ``seconds_1`` and ``seconds_100`` for 1 and 100 samples at once, after warm-up, with the device
      synchronised; ``samples_per_second`` in a batch of 100. ``relative_time``: seconds_100 over that of a plain
      untrained VAE of the same event, timed alternately with it.
    - ``passes``: sequential network passes that one sample needs (`zoo.metrics.passes`).
    - Quality against the test split, in the features of `zoo.metrics.mmd`, with as many samples as test data, each
      given what a test datum is given:
      ``mmd2``, unbiased (0 is best); ``c2st``, accuracy of a forest that separates samples from data (0.5 is best);
      ``precision`` and ``recall`` by 3 nearest neighbours (1 is best).

    Args:
        runs: one run.
        settings: ``samples``, the most that quality is measured on; ``seed``.

    Returns:
        The scores above; all failed if the run did not finish.

    Reference:
        Gretton et al. 2012 (MMD); Lopez-Paz & Oquab 2017, arXiv:1610.06545 (C2ST); Kynkäänniemi et al. 2019,
        arXiv:1904.06991 (precision and recall).
    """
    (run,) = runs
    return unmeasurable(run, (*SPEED, "passes", *QUALITY)) or [
        *attempt(SPEED, _speed, run, settings),
        *attempt(("passes",), _passes, run),
        *attempt(QUALITY, _quality, run, settings),
    ]


def _speed(run: TrainedRun, settings: Settings) -> list[Score]:
    def draws(pair: Pair, n: int) -> Callable[[], Tensor]:
        given = contexts(pair.event, run.data.test, n)
        return lambda: sample(pair, n, given=given)

    def seconds(metric: str, times: Sequence[float]) -> Score:
        return Score(metric, statistics.median(times), "s", _error(times), "estimate", len(times))

    device = run.pair.device
    (one,) = _timed([draws(run.pair, 1)], device)
    try:
        plain = build(PLAIN, run.pair.event.array, seed=settings.seed).to(device)
    except ZooError as error:
        (hundred,) = _timed([draws(run.pair, 100)], device)
        relative = Score.skipped("relative_time", str(error))
    else:
        hundred, others = _timed([draws(run.pair, 100), draws(plain, 100)], device)
        value = statistics.median(hundred) / statistics.median(others)
        error_of_ratio = _error([own / other for own, other in zip(hundred, others, strict=True)])
        relative = Score("relative_time", value, "times", error_of_ratio, "estimate", len(hundred))
    rate = Score("samples_per_second", 100 / statistics.median(hundred), "1/s", kind="estimate", n=len(hundred))
    return [seconds("seconds_1", one), seconds("seconds_100", hundred), rate, relative]


def _timed(draws: Sequence[Callable[[], Tensor]], device: torch.device) -> list[list[float]]:
    """Seconds of each of ``draws``, timed alternately, so that other load on the machine affects all of them alike."""

    def clock(draw: Callable[[], Tensor]) -> float:
        synchronise(device)
        begun = time.perf_counter()
        draw()
        synchronise(device)
        return time.perf_counter() - begun

    warm = sum(clock(draw) for draw in draws for _ in range(2)) / 2
    rounds = max(3, min(ROUNDS, int(SECONDS / max(warm, 1e-9))))
    times = [[clock(draw) for draw in draws] for _ in range(rounds)]
    return [list(column) for column in zip(*times, strict=True)]


def _error(times: Sequence[float]) -> float:
    return statistics.stdev(times) / math.sqrt(len(times))


def _passes(run: TrainedRun) -> list[Score]:
    return [Score("passes", float(sequential_passes(run.pair)), "passes", kind="exact", n=1)]


def _quality(run: TrainedRun, settings: Settings) -> list[Score]:
    data = run.data.test[: settings.samples]
    if len(data) < FOLDS:
        return [Score.skipped(metric, f"needs {FOLDS} test data or more, got {len(data)}") for metric in QUALITY]
    with seeded(settings.seed):
        drawn = sample(run.pair, len(data), given=contexts(run.pair.event, data, len(data)))
    ours, real = features(run.pair.event, drawn), features(run.pair.event, data)
    bad = int((~ours.isfinite().all(1)).sum())
    if bad:
        return [Score.failed(metric, f"{bad} of {len(drawn)} samples are not finite") for metric in QUALITY]
    gap = mmd2(ours, real)
    shares = [c2st(ours, real, settings.seed), *precision_recall(ours, real)]
    return [
        Score("mmd2", gap.value, "MMD²", gap.stderr, "estimate", len(data)),
        *(
            Score(metric, share.value, "share", share.stderr, "estimate", share.n)
            for metric, share in zip(QUALITY[1:], shares, strict=True)
        ),
    ]
