"""How fast are samples drawn, and are they any good?"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.errors import ZooError
from zoo.metrics.mmd import features, mmd2
from zoo.metrics.two_sample import FOLDS, c2st, precision_recall
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.pairs.traces import sample
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded

SPEED = ("seconds_1", "seconds_100", "samples_per_second", "relative_time")
QUALITY = ("mmd2", "c2st", "precision", "recall")
PLAIN = "vae"
"""The family whose speed others are measured by."""
SECONDS = 0.5
"""About how long each sampler is timed, within 3 to `ROUNDS` repetitions."""
ROUNDS = 15


@evaluation("sampling", alone=True)
def sampling(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Speed of drawing samples, and their quality, so that speed is not bought with noise.

    Median ``seconds_1`` and ``seconds_100`` for 1 and 100 samples at once, after warm-up, the device waited for;
    ``samples_per_second`` in a batch of 100. ``relative_time`` is seconds_100 over that of a plain untrained VAE of the
    same event, timed in turn with it. ``passes``: sequential network passes that one sample needs
    (`sequential_passes`).

    Quality against the test split, in the features of `zoo.metrics.mmd`, with as many samples as test data: ``mmd2``,
    unbiased (0 is best); ``c2st``, accuracy of a forest told to tell samples from data (0.5 is best); ``precision`` and
    ``recall`` by 3 nearest neighbours (1 is best).
    """
    (run,) = runs
    return unmeasurable(run, (*SPEED, "passes", *QUALITY)) or [
        *attempt(SPEED, _speed, run, settings),
        *attempt(("passes",), _passes, run),
        *attempt(QUALITY, _quality, run, settings),
    ]


def sequential_passes(pair: Pair) -> int:
    """How many network passes, one after the other, one sample needs.

    Counted while one sample is drawn: how often the parameter (or parts of it) that meets data most often does so.
    Masked weights and other functions of weights alone count as the weights; compiled or scripted networks are not
    seen. 0 where no parameter meets data.
    """
    with _Uses(pair) as seen:
        sample(pair, 1)
    return max(seen.uses.values(), default=0)


def _speed(run: TrainedRun, settings: Settings) -> list[Score]:
    (one,) = _timed([lambda: sample(run.pair, 1)], run.pair.device)
    try:
        plain = build(PLAIN, run.pair.event, seed=settings.seed).to(run.pair.device)
    except ZooError as error:
        (hundred,) = _timed([lambda: sample(run.pair, 100)], run.pair.device)
        relative = Score.skipped("relative_time", str(error))
    else:
        hundred, beside = _timed([lambda: sample(run.pair, 100), lambda: sample(plain, 100)], run.pair.device)
        relative = _relative(hundred, beside)
    seconds_100 = _seconds("seconds_100", hundred)
    rate = Score("samples_per_second", 100 / statistics.median(hundred), "1/s", kind="estimate", n=len(hundred))
    return [_seconds("seconds_1", one), seconds_100, rate, relative]


def _timed(draws: Sequence[Callable[[], Tensor]], device: torch.device) -> list[list[float]]:
    """Seconds of each of ``draws``, taken in turn, so that what else the machine does falls on all of them alike."""
    warm = sum(_clock(draw, device) for draw in draws for _ in range(2)) / 2
    rounds = max(3, min(ROUNDS, int(SECONDS / max(warm, 1e-9))))
    times = [[_clock(draw, device) for draw in draws] for _ in range(rounds)]
    return [list(column) for column in zip(*times, strict=True)]


def _clock(draw: Callable[[], Tensor], device: torch.device) -> float:
    _wait(device)
    begun = time.perf_counter()
    draw()
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _seconds(metric: str, times: Sequence[float]) -> Score:
    return Score(metric, statistics.median(times), "s", _error(times), "estimate", len(times))


def _relative(times: Sequence[float], beside: Sequence[float]) -> Score:
    value = statistics.median(times) / statistics.median(beside)
    error = _error([own / other for own, other in zip(times, beside, strict=True)])
    return Score("relative_time", value, "times", error, "estimate", len(times))


def _error(times: Sequence[float]) -> float:
    return statistics.stdev(times) / math.sqrt(len(times))


def _passes(run: TrainedRun) -> list[Score]:
    return [Score("passes", float(sequential_passes(run.pair)), "passes", kind="exact", n=1)]


def _quality(run: TrainedRun, settings: Settings) -> list[Score]:
    data = run.data.test[: settings.samples]
    if len(data) < FOLDS:
        return [Score.skipped(metric, f"needs {FOLDS} test data or more, got {len(data)}") for metric in QUALITY]
    with seeded(settings.seed):
        drawn = sample(run.pair, len(data))
    bad = int((~drawn.reshape(len(drawn), -1).isfinite().all(1)).sum())
    if bad:
        return [Score.failed(metric, f"{bad} of {len(drawn)} samples are not finite") for metric in QUALITY]
    ours, real = features(run.pair.event, drawn), features(run.pair.event, data)
    gap = mmd2(ours, real)
    shares = [c2st(ours, real, settings.seed), *precision_recall(ours, real)]
    return [
        Score("mmd2", gap.value, "MMD²", gap.stderr, "estimate", len(data)),
        *(
            Score(metric, share.value, "share", share.stderr, "estimate", share.n)
            for metric, share in zip(QUALITY[1:], shares, strict=True)
        ),
    ]


class _Uses(TorchFunctionMode):
    """Counts how often each parameter, or what is made of parameters alone, meets data.

    A tensor is known by its storage, so that views of a parameter are that parameter.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.uses: Counter[int] = Counter()
        self.made_of: dict[int, set[int]] = {_storage(tensor): set() for tensor in pair.state().values()}
        self.made_of |= {_storage(tensor): {_storage(tensor)} for tensor in pair.parameters()}
        self.kept: list[Tensor] = []  # a storage that is not kept may become another tensor's

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        self._note(name, list(_tensors((args, kwargs))), list(_tensors(args[0] if _in_place(name) else out)))
        return out

    def _note(self, name: str, given: list[Tensor], results: list[Tensor]) -> None:
        """Take note of one operation: whether weights met data in it, or became other weights."""
        weights = [self.made_of[key] for key in map(_storage, given) if key in self.made_of]
        if not weights or not results or _fresh(name):
            return
        parameters, met = set().union(*weights), len(weights) < len(given)
        if met and _in_place(name):
            self.made_of.pop(_storage(results[0]), None)
        if any(_storage(each) in self.made_of for each in results):
            return  # the same numbers in another shape
        if met:
            self.uses.update(parameters)
        else:
            self.made_of |= {_storage(each): parameters for each in results}
            self.kept += results


DRAWS = ("bernoulli", "binomial", "multinomial", "normal", "poisson", "_standard_gamma", "_sample_dirichlet")


def _fresh(name: str) -> bool:
    """Whether a function's results are data whatever it is given: random, or like it in shape only."""
    return name in DRAWS or name.startswith("new_") or name.endswith("_like")


def _in_place(name: str) -> bool:
    return name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _storage(tensor: Tensor | nn.Parameter) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        if values.numel():
            yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
