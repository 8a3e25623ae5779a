"""How small does the family make data that it never saw, and does it give them back?"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.codec.baselines import standard_codes
from zoo.codec.container import decode_counting, encode, unpack
from zoo.codec.lossless import passes, precisely, why_not
from zoo.metrics.bounds import log_probs, particle_weights
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score

SIZE = ("verdict", "bytes", "header_bytes", "initial_bytes", "bits_per_dim", "payload_bits_per_dim", "overhead")
SPEED = ("encode_images", "decode_images", "encode_mb", "decode_mb", "passes")
STANDARD = ("best_standard", "best_standard_bits_per_dim")
PARTICLES = 64
"""Draws of the guide that the negative ELBO of a datum is a mean over."""


@evaluation("lossless", alone=True)
def lossless(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """The whole test split in one file, by the pair alone (`zoo.codec`), decoded again and compared.

    ``bytes`` is the whole file, of which ``header_bytes`` are no payload and ``initial_bytes`` are the seed bits that
    bits-back begins with; ``bits_per_dim`` is that of the whole, ``payload_bits_per_dim`` without header. ``overhead``
    is the payload over the pair's own -log2 p (or sampled negative ELBO), in percent: seed bits, the grid of the
    latents and the coder's rounding. ``encode_images`` and ``decode_images`` per second and in MB (a byte a
    dimension) on one thread, the plan and all checks counted; ``passes`` is how many network passes one way takes, one
    after the other. ``best_standard`` is the smallest of the standard codes' bytes (`zoo.codec.baselines`), each of
    which has a row by its name. ``verdict`` is 1 if the file is smaller than that, 0 if not, and failed if it does not
    decode to the same data.
    """
    (run,) = runs
    if failed := unmeasurable(run, (*SIZE, *SPEED, *STANDARD)):
        return failed
    if reason := why_not(run.pair):
        return [Score.skipped(metric, reason) for metric in (*SIZE, *SPEED, *STANDARD)]
    return attempt((*SIZE, *SPEED, *STANDARD), _measured, run, settings)


def _measured(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, x = run.pair, run.data.test.cpu()
    begun = time.perf_counter()
    file = encode(pair, x)
    coded = time.perf_counter()
    back, initial = decode_counting(pair, file)
    done = time.perf_counter()
    if not torch.equal(back, x.float()):
        raise ValueError("the file does not decode to the same data")
    header, words = unpack(file)
    payload = len(words.tobytes().rstrip(b"\0"))
    standard = standard_codes(run.data.event, x, run.file("standard", shared=True))
    best = min(standard, key=lambda name: standard[name])
    n, size = len(x), x.numel()
    seconds = {"encode": coded - begun, "decode": done - coded}
    return [
        Score("verdict", float(len(file) < standard[best]), kind="exact", n=n),
        Score("bytes", len(file), "bytes", kind="exact", n=n),
        Score("header_bytes", len(file) - payload, "bytes", kind="exact", n=n),
        Score("initial_bytes", initial / 8, "bytes", kind="exact", n=n),
        Score("bits_per_dim", 8 * len(file) / size, "bits/dim", kind="exact", n=n),
        Score("payload_bits_per_dim", 8 * payload / size, "bits/dim", kind="exact", n=n),
        Score("overhead", 100 * (8 * payload / _ideal_bits(pair, x, settings) - 1), "%", kind="estimate", n=n),
        *(Score(f"{way}_images", n / taken, "1/s", kind="estimate", n=n) for way, taken in seconds.items()),
        *(Score(f"{way}_mb", size / taken / 1e6, "MB/s", kind="estimate", n=n) for way, taken in seconds.items()),
        Score("passes", passes(pair, header.plan), "passes", kind="exact", n=n),
        Score("best_standard", standard[best], "bytes", kind="exact", n=n, reason=best),
        Score("best_standard_bits_per_dim", 8 * standard[best] / size, "bits/dim", kind="exact", n=n, reason=best),
        *(Score(name, taken, "bytes", kind="exact", n=n) for name, taken in standard.items()),
    ]


def _ideal_bits(pair: Pair, x: Tensor, settings: Settings) -> float:
    """What the pair itself says that the data take: -log2 p(x), or the negative ELBO, a mean over draws in float32."""
    if capabilities(pair).likelihood == "exact":
        with precisely(pair):
            nats = log_probs(pair, x.double())
    else:
        nats = particle_weights(pair, x.to(pair.device), PARTICLES, seed=settings.seed).mean(1)
    return -float(nats.sum()) / math.log(2)
