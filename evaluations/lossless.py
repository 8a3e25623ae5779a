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
from zoo.metrics.bounds import elbo_draws, log_probs, particle_weights
from zoo.pairs.pair import HasElbo, Pair
from zoo.pairs.records import dimensions
from zoo.pairs.registry import column, evaluation
from zoo.pairs.sampling import contexts
from zoo.pairs.traces import capabilities
from zoo.report.verdicts import NOT_ASKED, Pooled, Row, Verdict, pool, yes_or_poor
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score

METRICS = (
    *("verdict", "bytes", "header_bytes", "initial_bytes", "bits_per_dim", "payload_bits_per_dim", "overhead"),
    *("encode_images", "decode_images", "encode_mb", "decode_mb", "passes"),
    *("best_standard", "best_standard_bits_per_dim"),
)
PARTICLES = 64
"""Draws, or estimates, that the negative ELBO of a datum is averaged over."""


@column(
    "lossless",
    title="Lossless compression",
    evaluation="lossless",
    metric="verdict",
    rule="yes if the file of the whole test split, its header and initial bits counted, decodes to the same data and "
    "is smaller than the best of the standard codes (zlib, bz2, lzma, PNG, lossless WebP) on the same data, in every "
    "seed; poor if it decodes but is larger in some; no, with its reason, for a family that gives no such code; "
    "not measured yet where the suite does not ask.",
    literature={"autoregressive": "yes", "flow": "yes", "implicit": "no", "prescribed": "no"},
    place=5,
    width=32,
    skipped="no",
    missing=NOT_ASKED,
)
def smaller_than_standard_codes(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Does it store data in fewer bytes than standard codes, without loss?"""
    return yes_or_poor(score, pool(rows, "lossless", "bits_per_dim"))


@evaluation("lossless", alone=True)
def lossless(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """The whole test split in one file, coded by the pair alone (`zoo.codec`), decoded and compared.

    Of a record, the fields that are given are neither in the file nor in those of the standard codes; they count as no
    dimension, and neither do padding and labels that are missing.

    - ``bytes``: the whole file. ``header_bytes`` of them are not payload; ``initial_bytes`` are the bits that bits-back
      coding starts from. ``bits_per_dim`` is of the whole file, ``payload_bits_per_dim`` without the header.
    - ``overhead``: the payload over the pair's own -log2 p (or its sampled negative ELBO), in percent: initial bits,
      the grid of the latents and the coder's rounding.
    - ``encode_images`` and ``decode_images`` per second, ``encode_mb`` and ``decode_mb`` (a byte per dimension), on one
      thread, including planning and all checks. ``passes``: sequential network passes of one direction.
    - ``best_standard``: the fewest bytes of the standard codes (`zoo.codec.baselines`), each of which has a row under
      its own name. ``verdict``: 1 if the file is smaller, 0 if not, failed if it does not decode to the same data.

    Args:
        runs: one run.
        settings: ``seed`` of the draws of the negative ELBO.

    Returns:
        The scores above; all skipped, with the reason, for a pair without a lossless code.

    Reference:
        Townsend et al. 2019, arXiv:1901.04866 (bits-back coding with latents).
    """
    (run,) = runs
    if failed := unmeasurable(run, METRICS):
        return failed
    if reason := why_not(run.pair, run.data.test):
        return [Score.skipped(metric, reason) for metric in METRICS]
    return attempt(METRICS, _measured, run, settings)


def _measured(run: TrainedRun, settings: Settings) -> list[Score]:
    pair, x = run.pair, run.data.test.cpu()
    begun = time.perf_counter()
    file = encode(pair, x)
    coded = time.perf_counter()
    back, initial = decode_counting(pair, file, contexts(pair.event, x, len(x)))
    done = time.perf_counter()
    if not torch.equal(back.nan_to_num(-1), x.float().nan_to_num(-1)):  # a label that is missing
        raise ValueError("the file does not decode to the same data")
    header, words = unpack(file)
    payload = len(words.tobytes().rstrip(b"\0"))
    standard = standard_codes(run.data.event, x, run.file("standard", shared=True))
    best = min(standard, key=lambda name: standard[name])
    n, size = len(x), int(dimensions(pair, x).sum())

    def exact(metric: str, value: float, unit: str = "", reason: str = "") -> Score:
        return Score(metric, value, unit, kind="exact", n=n, reason=reason)

    seconds = {"encode": coded - begun, "decode": done - coded}
    return [
        exact("verdict", float(len(file) < standard[best])),
        exact("bytes", len(file), "bytes"),
        exact("header_bytes", len(file) - payload, "bytes"),
        exact("initial_bytes", initial / 8, "bytes"),
        exact("bits_per_dim", 8 * len(file) / size, "bits/dim"),
        exact("payload_bits_per_dim", 8 * payload / size, "bits/dim"),
        Score("overhead", 100 * (8 * payload / _ideal_bits(pair, x, settings) - 1), "%", kind="estimate", n=n),
        *(Score(f"{way}_images", n / taken, "1/s", kind="estimate", n=n) for way, taken in seconds.items()),
        *(Score(f"{way}_mb", size / taken / 1e6, "MB/s", kind="estimate", n=n) for way, taken in seconds.items()),
        exact("passes", passes(pair, header.plan, contexts(pair.event, x, n)), "passes"),
        exact("best_standard", standard[best], "bytes", reason=best),
        exact("best_standard_bits_per_dim", 8 * standard[best] / size, "bits/dim", reason=best),
        *(exact(name, count, "bytes") for name, count in standard.items()),
    ]


def _ideal_bits(pair: Pair, x: Tensor, settings: Settings) -> float:
    """The length that the pair itself predicts: -log2 p(x), or the negative ELBO, a mean over draws in float32."""
    if capabilities(pair, x).likelihood == "exact":
        with precisely(pair):
            nats = log_probs(pair, x.double())
    elif isinstance(pair.extras, HasElbo):
        terms = elbo_draws(pair, x.to(pair.device), PARTICLES, seed=settings.seed)
        nats = torch.stack([term.mean(1) for term in terms.values()]).sum(0)
    else:
        nats = particle_weights(pair, x.to(pair.device), PARTICLES, seed=settings.seed).mean(1)
    return -float(nats.sum()) / math.log(2)
