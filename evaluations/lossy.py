"""How well do a family's latents, rounded and packed, keep the data?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zoo.codec.baselines import references
from zoo.codec.bottleneck import no_bottleneck
from zoo.codec.lossy import LossyCodec, compress_at_widths
from zoo.codec.rates import Point, bd_rate, least_gain, measured
from zoo.pairs.registry import column, evaluation
from zoo.report.verdicts import NOT_ASKED, Pooled, Row, Verdict, pool, yes_or_poor
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score

NAMES = {"jpeg": "JPEG", "webp": "WebP", "pca": "PCA"}
SUMMARY = ("verdict", *(f"bd_rate_{name}" for name in NAMES), "least_gain")
NO_COMMON = "its curve and theirs have no range in common"
NO_PICTURES = "data that are no pictures of at most 256 levels"


@column(
    "lossy",
    title="Lossy compression",
    evaluation="lossy",
    metric="verdict",
    rule="yes if the family's lossy codec passes in every seed (its evaluation says what that takes); poor if it "
    "decodes but does not pass in some; no, with its reason, for a family that has none; not measured yet where "
    "the suite does not ask.",
    literature={"autoregressive": "no", "flow": "no", "implicit": "no", "prescribed": "yes"},
    place=4,
    width=32,
    skipped="no",
    missing=NOT_ASKED,
)
def fewer_bytes_than_jpeg(score: Pooled, rows: Sequence[Row]) -> Verdict:
    """Does it compress images by its latents better than JPEG at equal quality?"""
    return yes_or_poor(score, pool(rows, "lossy", "bd_rate_jpeg"))


@evaluation("lossy")
def lossy(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Rate against distortion on the test split: the quantised latents (`zoo.codec.lossy`) against JPEG, WebP and PCA.

    Real bytes, everything that the decoder needs except the weights.

    - ``rate@W`` in bits per dimension and ``psnr@W`` in dB at grids of ``W`` times the guide's scales, measured on what
      the decoded bytes give. ``jpeg_rate@Q``, ``jpeg_psnr@Q``, ``webp_...`` and ``pca_...`` are the same of those codes
      (all data in one image; principal components of the training data, without their basis).
    - ``bd_rate_jpeg``: bytes more than JPEG's at equal PSNR, as a share, negative where there are fewer; the same for
      the others. ``least_gain``: the least PSNR above JPEG's in dB, over all rates that both have.
    - ``verdict``: 1 if every code decodes to the latents that went in and takes fewer bytes than JPEG at equal PSNR
      (than PCA, where the data are no pictures), else 0.

    Args:
        runs: one run.
        settings: ``seed`` of the codec.

    Returns:
        The scores above; the summary skipped, with the reason, for a pair without a bottleneck.

    Reference:
        Bjøntegaard 2001, VCEG-M33 (rate at equal PSNR); `zoo.codec.rates.bd_rate`.
    """
    (run,) = runs
    return unmeasurable(run, SUMMARY) or attempt(SUMMARY, _of_pair, run, settings)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    if reason := no_bottleneck(run.pair):
        return [Score.skipped(metric, reason) for metric in SUMMARY]
    event, x, codec = run.data.event, run.data.test, LossyCodec(run.pair)
    real = x.cpu().double().numpy()
    points = [
        measured(event, width, len(code), real, codec.reconstruct(codec.decode(code)))
        for width, code in compress_at_widths(codec, x, settings.seed, run.file("lossy")).items()
    ]
    theirs = references(event, run.data.train, x, run.file("references", shared=True))
    remark = "" if run.data.units is None else "of standardised entries"
    rows = _rows("", points, event.size, remark)
    for name, curve in theirs.items():
        rows += _rows(f"{name}_", curve, event.size, remark)
    return [*_summary(points, theirs), *rows]


def _summary(points: Sequence[Point], references: Mapping[str, Sequence[Point]]) -> list[Score]:
    n = len(points[0].errors)
    rates = {name: bd_rate(points, curve) if curve else None for name, curve in references.items()}
    why_not = {name: NO_COMMON if curve else NO_PICTURES for name, curve in references.items()}
    judge = "jpeg" if references["jpeg"] else "pca"
    rate, name = rates[judge], NAMES[judge]
    if rate is None:
        reason = f"no PSNR that both it and {name} reach"
    else:
        reason = f"{'fewer' if rate < 0 else 'no fewer'} bytes than {name} at equal PSNR"

    def score(metric: str, value: float | None, unit: str, why_not: str) -> Score:
        return Score.skipped(metric, why_not) if value is None else Score(metric, value, unit, kind="exact", n=n)

    return [
        Score("verdict", float((rate or 0.0) < 0), kind="exact", n=n, reason=reason),
        *(
            score(f"bd_rate_{code}", each, f"share bytes against {NAMES[code]}", why_not[code])
            for code, each in rates.items()
        ),
        score(
            "least_gain", least_gain(points, references["jpeg"]) if references["jpeg"] else None, "dB", why_not["jpeg"]
        ),
    ]


def _rows(prefix: str, curve: Sequence[Point], size: int, remark: str) -> list[Score]:
    """Rate and PSNR of each point that loses anything."""
    rows = []
    for point in (point for point in curve if point.mse > 0):
        n, at = len(point.errors), f"@{point.setting:.3g}"
        rows.append(Score(f"{prefix}rate{at}", 8 * point.bytes / (n * size), "bits/dim", kind="exact", n=n))
        rows.append(Score(f"{prefix}psnr{at}", point.psnr, "dB", point.stderr, "estimate", n, reason=remark))
    return rows
