"""How many bits does a sample of sound take, with and without silence, and how fast is it drawn?"""

from __future__ import annotations

import bz2
import math
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.distributions.autoregressive import Stream, draw, whole_passes
from zoo.distributions.levels import level_counts
from zoo.errors import ZooError
from zoo.pairs.continuing import PAST, Parts, entrywise
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.runs.evaluation import Settings, TrainedRun, attempt, ratio_score, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded

BITS = ("field", "bits", "bits_sounding", "bits_silent", "silence")
FLOORS = ("floor_unigram", "floor_order1", "bz2", "flac")
SPEEDS = ("drawn_cached", "drawn_naive")
QUIET, NEAR = 0.04, 128
"""A sample is of silence if, `NEAR` samples before it to as many after it, the level is so near the middle, as a share
of its range."""
ADDED = 0.02
"""To each count of a pair of levels."""
CACHED, NAIVE = 400, 10
"""Samples drawn to measure speed."""
FEW = 8
"""Windows from which the receptive field is read."""
WITHOUT_FLAC = "the program flac is not on the path: install it (Debian package flac) for this comparison"
CHUNK = 16
"""Windows in a pass."""


@evaluation("sound", alone=True)
def sound(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Bits a sample of the test split, each given the samples before it; of a record with a given ``past``.

    - ``field``: how many samples before it the distribution of a sample depends on, by the gradient.
    - ``bits``: -log2 p, exact, with the standard error of the mean over windows. ``bits_sounding`` and ``bits_silent``
      are of the samples that are not of silence, and of those that are: all levels from 128 samples before them to 128
      after are within 4 % of the middle. ``silence`` is their share, which makes ``bits`` small.
    - ``floor_unigram`` and ``floor_order1``: of the frequencies of levels, and of levels given the level before, in the
      train split; what every model of sound should beat. ``bz2`` and ``flac``: of one file of all test samples; flac
      if the program is on the path.
    - ``drawn_cached`` and ``drawn_naive``: samples of one sound drawn in a second, by the stream, which keeps what
      layers have seen, and by a pass over a whole window for each sample.

    Args:
        runs: one run.
        settings: ``seed`` of the draws.

    Returns:
        The scores above; all skipped for other events and other models.

    Reference:
        van den Oord et al. 2016, arXiv:1609.03499.
    """
    (run,) = runs
    metrics = (*BITS, *FLOORS, *SPEEDS)
    if failed := unmeasurable(run, metrics):
        return failed
    try:
        Parts(run.pair.event)
        with run.pair.evaluating():
            entrywise(run.pair, run.data.test[:1])
    except ZooError as error:
        return [Score.skipped(metric, str(error)) for metric in metrics]
    return [
        *attempt(BITS, _bits, run),
        *(score for floor in FLOORS for score in attempt((floor,), _floor, floor, run)),
        *attempt(SPEEDS, _speeds, run.pair, run.data.test[:1], settings.seed),
    ]


def bits_of(pair: Pair, x: Tensor) -> Tensor:
    """-log2 p of each sample of packed windows, shape ``(n, window)``."""
    found = []
    with pair.evaluating():
        for some in x.split(CHUNK):
            value = pair.event.main_of(some)
            logits = entrywise(pair, some).logits(value)
            nats = F.cross_entropy(logits.flatten(0, -2), value.long().flatten(), reduction="none")
            found.append(nats.reshape(value.shape).double().cpu() / math.log(2))
    return torch.cat(found)


def receptive_field(pair: Pair, windows: Tensor) -> int:
    """How many samples before it the last sample of packed windows depends on, by the gradient of its logits."""
    with pair.evaluating(), torch.enable_grad():
        windows = windows.detach().clone().requires_grad_()
        last = entrywise(pair, windows).logits(pair.event.main_of(windows))[:, -1]
        weights = torch.linspace(-1, 1, last.shape[1]).to(last)
        (gradient,) = torch.autograd.grad((last @ weights).sum(), windows)
    past = pair.event.unpack(gradient)[PAST]
    assert past is not None  # it is given
    before = torch.cat([past, pair.event.main_of(gradient)[:, :-1]], 1)
    seen = before.abs().amax(0).nonzero()
    return before.shape[1] - int(seen.min()) if len(seen) else 0


def silent(x: Tensor, levels: int) -> Tensor:
    """Which samples are of silence, shape of ``x``, ``(n, samples)``.

    Example:
        >>> silent(torch.tensor([[128.0] * 200 + [200.0] + [127.0] * 300]), 256).sum(1)
        tensor([244])
    """
    loud = (x - (levels - 1) / 2).abs() > QUIET * (levels - 1) / 2
    return F.max_pool1d(loud.float(), 2 * NEAR + 1, 1, NEAR) == 0


def _bits(run: TrainedRun) -> list[Score]:
    pair, event = run.pair, run.pair.event
    x = event.main_of(run.data.test).cpu()
    bits, quiet = bits_of(pair, run.data.test), silent(x, Parts(event).levels)
    parts = {"bits": torch.ones_like(quiet), "bits_sounding": ~quiet, "bits_silent": quiet}
    scores = [
        ratio_score(name, (bits * chosen).sum(1), chosen.sum(1), "bits/sample", "exact")
        if chosen.any()
        else Score.skipped(name, "there are no such samples")
        for name, chosen in parts.items()
    ]
    seen = Score(
        "field", receptive_field(pair, run.data.test[:FEW]), "samples", kind="exact", n=len(run.data.test[:FEW])
    )
    return [
        seen,
        *scores,
        ratio_score("silence", quiet.sum(1).double(), torch.full((len(x),), x.shape[1]), "share", "exact"),
    ]


def _floor(name: str, run: TrainedRun) -> list[Score]:
    levels, event = Parts(run.pair.event).levels, run.pair.event
    if name == "flac" and shutil.which("flac") is None:
        return [Score.skipped(name, WITHOUT_FLAC)]
    if name in COMPRESSORS and levels > 256:
        return [Score.skipped(name, f"a sample of {levels} levels is no byte")]
    train, test = run.data.train.cpu(), run.data.test.cpu()
    x = event.main_of(test)
    if name == "floor_unigram":
        counts = level_counts(levels, event.main_of(train).reshape(-1, 1))[0].double() + 1
        bits = -(counts / counts.sum()).log2()[x.long()]
    elif name == "floor_order1":
        pairs = _before(run.pair, train) * levels + event.main_of(train).long()
        counts = torch.bincount(pairs.flatten(), minlength=levels**2).reshape(levels, levels).double() + ADDED
        bits = -(counts / counts.sum(1, keepdim=True)).log2()[_before(run.pair, test), x.long()]
    else:
        code = COMPRESSORS[name](x.numpy().astype("uint8").tobytes())
        return [Score(name, 8 * code / x.numel(), "bits/sample", kind="exact", n=len(x))]
    return [ratio_score(name, bits.sum(1), torch.full((len(x),), x.shape[1]), "bits/sample", "exact")]


def _before(pair: Pair, batch: Tensor) -> Tensor:
    """The level before each sample of packed windows."""
    values = pair.event.unpack(batch)
    x, past = pair.event.main_of(batch), values[PAST]
    assert past is not None  # it is given
    return torch.cat([past[:, -1:], x[:, :-1]], 1).long()


def flac_bytes(samples: bytes) -> int:
    """Bytes of samples of 8 bits as a file of FLAC at its best, which is decoded and compared.

    Raises:
        ZooError: the program ``flac`` is not on the path, or fails.
    """
    if shutil.which("flac") is None:
        raise ZooError(WITHOUT_FLAC)
    form = ("--force-raw-format", "--endian=little", "--sign=unsigned")
    shape = ("--channels=1", "--bps=8", "--sample-rate=8000")
    code = _run("flac", "--best", "--no-padding", "--silent", "--stdout", *form, *shape, "-", given=samples)
    if _run("flac", "--decode", "--silent", "--stdout", *form, "-", given=code) != samples:
        raise ZooError("flac did not decode to what it encoded")
    return len(code)


def _run(*command: str, given: bytes) -> bytes:
    done = subprocess.run(command, input=given, capture_output=True)
    if done.returncode:
        raise ZooError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return done.stdout


COMPRESSORS: dict[str, Callable[[bytes], int]] = {"bz2": lambda samples: len(bz2.compress(samples)), "flac": flac_bytes}
"""Bytes of samples of 8 bits as one file."""


def _speeds(pair: Pair, x: Tensor, seed: int) -> list[Score]:
    with pair.evaluating(), torch.no_grad(), seeded(seed):
        fn = entrywise(pair, x)
        whole = whole_passes(fn.event, fn.logits, x)
        cached, naive = min(CACHED, fn.event.size - 1), min(NAIVE, fn.event.size - 1)
        return [
            Score("drawn_cached", cached / _seconds(fn.stream(1), cached), "1/s", kind="estimate", n=cached),
            Score("drawn_naive", naive / _seconds(whole(1), naive), "1/s", kind="estimate", n=naive),
        ]


def _seconds(stream: Stream, count: int) -> float:
    """To draw so many samples of one sound after the first."""
    value = draw(next(stream))
    begun = time.perf_counter()
    for _ in range(count):
        value = draw(stream.send(value))
    return time.perf_counter() - begun
