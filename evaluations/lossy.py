"""How well do a family's latents, rounded and packed, keep the data?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo.codec.baselines import references
from zoo.codec.bottleneck import no_bottleneck
from zoo.codec.lossy import LossyCodec, compress_at_widths
from zoo.codec.rates import Point, bd_rate, least_gain, measured
from zoo.pairs.registry import evaluation
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score

NAMES = {"jpeg": "JPEG", "webp": "WebP", "pca": "PCA"}
SUMMARY = ("verdict", *(f"bd_rate_{name}" for name in NAMES), "least_gain")
NO_COMMON = "its curve and theirs have no range in common"
NO_PICTURES = "data that are no pictures of at most 256 levels"


@evaluation("lossy")
def lossy(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Rate against distortion on the test split: the latents quantised (`zoo.codec.lossy`), beside JPEG, WebP and PCA.

    Real bytes, all that the decoder needs but the weights: ``rate@W`` in bits per dimension and ``psnr@W`` in dB at
    grids of ``W`` times the guide's scales, each measured on what the bytes give when they are decoded; ``jpeg_rate@Q``
    and ``jpeg_psnr@Q``, ``webp_...`` and ``pca_...`` are the same of those codes (all data in one image; the principal
    components of the training data with their basis not counted). ``bd_rate_jpeg``: bytes more than JPEG's at equal
    PSNR, as a share (`zoo.codec.rates.bd_rate`), below zero where they are fewer; ``least_gain``: by how many dB the
    PSNR is above JPEG's at least, over all rates that both have. ``verdict`` is 1 if every code decoded to the latents
    that went in and takes fewer bytes than JPEG at equal PSNR (than PCA, where the data are no pictures), else 0.
    """
    (run,) = runs
    return unmeasurable(run, SUMMARY) or attempt(SUMMARY, _of_pair, run, settings)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    if reason := no_bottleneck(run.pair):
        return [Score.skipped(metric, reason) for metric in SUMMARY]
    event, train, x = run.data.event, run.data.train, run.data.test
    points, theirs = _points(run, settings), references(event, train, x, run.file("references", shared=True))
    rows = [
        row for name, curve in ({"": points} | theirs).items() for row in _rows(name and f"{name}_", curve, event.size)
    ]
    return [*_summary(points, theirs), *rows]


def _points(run: TrainedRun, settings: Settings) -> list[Point]:
    """The curve, every point of it from decoded bytes."""
    codec, x = LossyCodec(run.pair), run.data.test
    real = x.cpu().double().numpy()
    return [
        measured(run.data.event, width, len(code), real, codec.reconstruct(codec.decode(code)))
        for width, code in compress_at_widths(codec, x, settings.seed, run.file("lossy")).items()
    ]


def _summary(points: Sequence[Point], references: Mapping[str, Sequence[Point]]) -> list[Score]:
    n = len(points[0].errors)
    rates = {name: bd_rate(points, curve) if curve else None for name, curve in references.items()}
    why_not = {name: NO_COMMON if curve else NO_PICTURES for name, curve in references.items()}
    judge = "jpeg" if references["jpeg"] else "pca"
    gain = least_gain(points, references["jpeg"]) if references["jpeg"] else None
    return [
        Score("verdict", float((rates[judge] or 0.0) < 0), kind="exact", n=n, reason=_told(rates[judge], NAMES[judge])),
        *(
            _score(f"bd_rate_{name}", rate, f"share bytes against {NAMES[name]}", n, why_not[name])
            for name, rate in rates.items()
        ),
        _score("least_gain", gain, "dB", n, why_not["jpeg"]),
    ]


def _told(rate: float | None, name: str) -> str:
    if rate is None:
        return f"no PSNR that both it and {name} reach"
    return f"{'fewer' if rate < 0 else 'no fewer'} bytes than {name} at equal PSNR"


def _score(metric: str, value: float | None, unit: str, n: int, why_not: str) -> Score:
    return Score.skipped(metric, why_not) if value is None else Score(metric, value, unit, kind="exact", n=n)


def _rows(prefix: str, curve: Sequence[Point], size: int) -> list[Score]:
    """Rate and PSNR of each point that loses anything."""
    rows = []
    for point in (point for point in curve if point.mse > 0):
        n, at = len(point.errors), f"@{point.setting:.3g}"
        rows.append(Score(f"{prefix}rate{at}", 8 * point.bytes / (n * size), "bits/dim", kind="exact", n=n))
        rows.append(Score(f"{prefix}psnr{at}", point.psnr, "dB", point.stderr, "estimate", n))
    return rows
