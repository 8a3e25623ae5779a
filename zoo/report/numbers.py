"""The tables of numbers behind the verdicts, one for each evaluation that the report knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from zoo.report import text
from zoo.report.tables import Member
from zoo.report.verdicts import Pooled

ABSENT = {"skipped": "–", "missing": "·"}
"""State of a score that is not there -> its cell."""
LEGEND = "In the tables of numbers – does not apply, and · was not measured."
STANDARD = {
    "zlib": "zlib",
    "bz2": "bz2",
    "lzma": "lzma",
    "png_tiled": "PNG, one image",
    "png": "PNG, each",
    "webp_tiled": "WebP, one image",
    "webp": "WebP, each",
}
"""Score of a standard code -> its name."""
LOSSY_GRIDS = {"6": "coarse", "3": "middling", "1": "fine"}
"""Grids of the latents at which lossy codes are shown, coarse to fine."""

Cell = tuple[str, float | None]
"""What a cell says, and the number by which it is sorted."""
Show = Callable[[Pooled], Cell]
NumberColumn = tuple[str, str, Show]
"""Heading, metric, and the cell of a score that is ``ok``."""


@dataclass(frozen=True)
class Table:
    """A table of text: ``lines`` are (label, cells).

    ``values`` holds the number behind each cell, line by line, ``None`` where there is none; empty if the table is
    sorted as text only.
    """

    title: str
    note: str
    headers: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    values: tuple[tuple[float | None, ...], ...] = ()

    @property
    def valued(self) -> list[tuple[str, list[Cell]]]:
        """The lines with the number behind each cell."""
        values = self.values or ((None,) * len(self.headers),) * len(self.lines)
        return [
            (label, list(zip(cells, own, strict=True))) for (label, cells), own in zip(self.lines, values, strict=True)
        ]


def numbers(lines: Sequence[Member]) -> dict[str, Table]:
    """Evaluation -> the table of its numbers."""
    return {
        "likelihood": _likelihood(lines),
        "certificate": _certificate(lines),
        "noisy": _noisy(lines),
        "imputation": _imputation(lines),
        "labels": _labels(lines),
        "matching": _matching(lines),
        "molecules": _molecules(lines),
        "sentences": _sentences(lines),
        "sound": _sound(lines),
        "stability": _stability(lines),
        "sampling": _sampling(lines),
        "lossy": _lossy(lines),
        "lossless": _lossless(lines),
    }


def points(line: Member, grid: str) -> str:
    """Rate and quality of a member's lossy code on one grid, in words; empty where they were not measured."""
    rate, level = line.pool("lossy", f"rate@{grid}").value, line.pool("lossy", f"psnr@{grid}").value
    return "" if rate is None or level is None else f"{rate:.3g} bits/dim, {level:.1f} dB"


def _likelihood(lines: Sequence[Member]) -> Table:
    return table(
        "Likelihood in numbers",
        "Mean over seeds ± standard error over data. A bound: the negative log-likelihood is at most this. "
        "KL: the part of the ELBO that is due to the latents; near 0 they carry no information. "
        "ESS: mean effective sample size of the importance weights. k̂ > 0.7: share of data with weights too "
        "heavy-tailed for the bound to be called tight.",
        "likelihood",
        lines,
        ("kind", "nats", _kind),
        ("nats per datum", "nats", estimate),
        ("sd over seeds", "nats", _spread),
        ("bits per dim", "bits_per_dim", estimate),
        ("ELBO, nats", "elbo", estimate),
        ("KL, nats", "kl", estimate),
        ("ESS", "ess", estimate),
        ("k̂ > 0.7", "khat_share", percent),
    )


def _certificate(lines: Sequence[Member]) -> Table:
    return table(
        "Certificates in numbers",
        "Annealed importance sampling. On test data: a bound to compare with that of particles. On data that the model "
        "drew: bounds from below and above, and how far apart they are on average, which certifies the lower one.",
        "certificate",
        [line for line in lines if line.pool("certificate", "within").state not in ("skipped", "missing")],
        ("test, nats at most", "ais_nats", estimate),
        ("own data, at most", "forward", estimate),
        ("own data, at least", "backward", estimate),
        ("within, nats", "within", estimate),
        ("acceptance", "acceptance", percent),
        ("effective chains", "chain_ess", estimate),
        ("gradients a datum", "gradients", estimate),
    )


def _noisy(lines: Sequence[Member]) -> Table:
    return table(
        "Decoders with noise, in numbers",
        "A density that implicit models have too: of what a decoder makes of its latents with Gaussian noise, whose "
        "deviation is tuned on validation data, under a guide of its own. It is not the family's likelihood, and "
        "compares with none but others of this table.",
        "noisy",
        [line for line in lines if line.pool("noisy", "noisy_nats").state not in ("skipped", "missing")],
        ("test, nats at most", "noisy_nats", estimate),
        ("noise", "noise", estimate),
        ("by particles, at most", "particle_nats", estimate),
        ("own data, at most", "forward", estimate),
        ("own data, at least", "backward", estimate),
        ("within, nats", "within", estimate),
    )


def _imputation(lines: Sequence[Member]) -> Table:
    return table(
        "One half given the other, in numbers",
        "The later half of a test datum's entries given the earlier: log-probability in nats, and root mean squared "
        "error of the imputed mean.",
        "imputation",
        [line for line in lines if line.pool("imputation", "half_nats").state not in ("skipped", "missing")],
        ("nats of the half", "half_nats", estimate),
        ("independent", "floor_half_nats", estimate),
        ("error", "half_rmse", estimate),
    )


def _labels(lines: Sequence[Member]) -> Table:
    return table(
        "Labels in numbers",
        "Share of test data whose label is inferred wrongly: by the model, as the class of the highest p(y | x), and "
        "by the guide's q(y | x).",
        "labels",
        [line for line in lines if line.pool("labels", "error").state not in ("skipped", "missing")],
        ("errors of the model", "error", percent),
        ("errors of the guide", "guide_error", percent),
        ("-log p(y | x), nats", "label_nats", estimate),
    )


def _matching(lines: Sequence[Member]) -> Table:
    return table(
        "Graphs in one order and in any, in numbers",
        "Negative log-probabilities in nats: of a test graph with its nodes in the order of the data, and of the "
        "unlabelled graph, which is the sum over all orders, bounded by the best order found. Not to be mixed up: the "
        "second is of another event. Gain: what matching lowers the negative ELBO by.",
        "matching",
        [line for line in lines if line.pool("matching", "ordered_nats").state not in ("skipped", "missing")],
        ("in its order", "ordered_nats", estimate),
        ("its ELBO", "ordered_elbo", estimate),
        ("unlabelled, at most", "matched_nats", estimate),
        ("its ELBO, matched", "matched_elbo", estimate),
        ("all orders summed", "unlabelled_nats", estimate),
        ("gain", "matching_gain", estimate),
        ("other order better", "moved_share", percent),
        ("ms a match", "matching_ms", _format(".2g")),
    )


def _molecules(lines: Sequence[Member]) -> Table:
    columns = [
        (f"{word}, {way}", f"{metric}_{way}", percent)
        for way in ("sampled", "argmax")
        for word, metric in (("valid", "valid"), ("unique", "unique"), ("novel", "novel"), ("all three", "vun"))
    ]
    return table(
        "Molecules in numbers",
        "Of 10,000 draws of the prior, decoded by a draw of atoms and bonds (sampled) or by the most probable of each "
        "(argmax). Valid: rdkit sanitises them and they are in one piece. Unique: of the valid; novel: not among the "
        "data, of the unique. All three: of all draws.",
        "molecules",
        [line for line in lines if line.pool("molecules", "valid_sampled").state not in ("skipped", "missing")],
        *columns,
    )


def _sentences(lines: Sequence[Member]) -> Table:
    return table(
        "Sentences in numbers",
        "Nats of a sentence, and the perplexity of its words and its end, where a bound on the nats makes it one. KL = "
        "mutual information of sentence and latents under the guide + the distance of the aggregated posterior from "
        "the prior. A unit is active if its posterior mean has a variance above 0.01. Unigram: independent words by "
        "their frequency.",
        "sentences",
        [line for line in lines if line.pool("sentences", "perplexity").state not in ("skipped", "missing")],
        ("kind", "sentence_nats", _kind),
        ("nats per sentence", "sentence_nats", estimate),
        ("perplexity", "perplexity", estimate),
        ("unigram, nats", "unigram", estimate),
        ("KL, nats", "kl", estimate),
        ("mutual information", "information", estimate),
        ("aggregate to prior", "marginal_kl", estimate),
        ("active units", "active_units", _value(text.number)),
    )


def _sound(lines: Sequence[Member]) -> Table:
    return table(
        "Sound in numbers",
        "Bits a sample of test data given the samples before: of all, of those that are not of silence and of those "
        "that are, and the share of these. Field: samples before that are seen. Beside them the frequencies of levels "
        "and of levels given the level before, and one file of all samples by bz2 and FLAC. Samples of one sound drawn "
        "in a second with the caches, and by whole passes.",
        "sound",
        [line for line in lines if line.pool("sound", "bits").state not in ("skipped", "missing")],
        ("field", "field", _value(text.count)),
        ("bits", "bits", estimate),
        ("sounding", "bits_sounding", estimate),
        ("silent", "bits_silent", estimate),
        ("silence", "silence", percent),
        ("levels", "floor_unigram", estimate),
        ("pairs of levels", "floor_order1", estimate),
        ("bz2", "bz2", _format(".3g")),
        ("FLAC", "flac", _format(".3g")),
        ("1/s, cached", "drawn_cached", _value(text.count)),
        ("1/s, whole passes", "drawn_naive", _value(text.count)),
    )


def _stability(lines: Sequence[Member]) -> Table:
    return table(
        "Training in numbers",
        "Fall-back: the worst loss from the best so far, as a share of the total improvement. Spread: standard "
        "deviation over seeds of the final value: nats, and MMD² for a family without a likelihood.",
        "stability",
        [line for line in lines if line.pool("stability", "diverged_share").state != "skipped"],
        ("diverged", "diverged_share", percent),
        ("discrepancy fall-back", "discrepancy_drawdown", percent),
        ("discrepancy spread", "discrepancy_spread", _value(text.number)),
        ("validation fall-back", "drawdown", percent),
        ("validation spread", "validation_spread", _value(text.number)),
    )


def _sampling(lines: Sequence[Member]) -> Table:
    return table(
        "Samples in numbers",
        "Passes: sequential network passes that one sample needs. MMD²: unbiased, 0 is best. C2ST: accuracy of a "
        "classifier that separates samples from data, 0.5 is best. Precision and recall by nearest neighbours.",
        "sampling",
        lines,
        ("1 sample", "seconds_1", _value(text.duration)),
        ("100 samples", "seconds_100", _value(text.duration)),
        ("a second", "samples_per_second", _value(text.count)),
        ("passes", "passes", _value(text.count)),
        ("÷ plain VAE", "relative_time", _value(text.times)),
        ("MMD²", "mmd2", estimate),
        ("C2ST", "c2st", estimate),
        ("precision", "precision", estimate),
        ("recall", "recall", estimate),
    )


def _lossy(lines: Sequence[Member]) -> Table:
    change, decibels = _value(lambda value: f"{100 * value:+.0f} %"), _format(".1f")
    curve: list[NumberColumn] = []
    for grid, width in LOSSY_GRIDS.items():
        curve += [(f"bits/dim, {width}", f"rate@{grid}", _format(".3g")), ("dB", f"psnr@{grid}", decibels)]
    return table(
        "Lossy compression in numbers",
        "Bytes at equal PSNR, more (+) or fewer (−) than those of JPEG, WebP and quantised principal components "
        "(Bjøntegaard's rate); the least gain of PSNR over JPEG at equal bytes, where both exist; and three points "
        "of the curve, with the latents on coarse, middling and fine grids.",
        "lossy",
        [line for line in lines if line.pool("lossy", "verdict").state not in ("skipped", "missing")],
        ("÷ JPEG", "bd_rate_jpeg", change),
        ("÷ WebP", "bd_rate_webp", change),
        ("÷ PCA", "bd_rate_pca", change),
        ("least gain, dB", "least_gain", decibels),
        *curve,
    )


def _lossless(lines: Sequence[Member]) -> Table:
    """The bytes of every lossless codec and, among them by size, those of the standard codes on the same data."""
    coded = [line for line in lines if line.pool("lossless", "bytes").value is not None]
    whole, three, count = _format(",.0f"), _format(".3g"), _value(text.count)
    codes = table(
        "Lossless compression in numbers",
        "Real bytes for the whole test split, decoded and compared: all, the header, and the initial bits of bits-back "
        "coding (in bytes). Overhead: the payload over the length that the model itself predicts. Encoding (in) and "
        "decoding (out) on one thread; sequential network passes of one direction. Among them the standard codes at "
        "their strongest setting; PNG and WebP (lossless) of all data in one image, or of each datum alone.",
        "lossless",
        coded,
        ("bytes", "bytes", whole),
        ("bits per dim", "bits_per_dim", three),
        ("header", "header_bytes", whole),
        ("initial bits", "initial_bytes", whole),
        ("overhead, %", "overhead", three),
        ("images/s in", "encode_images", count),
        ("images/s out", "decode_images", count),
        ("MB/s in", "encode_mb", three),
        ("MB/s out", "decode_mb", three),
        ("passes", "passes", count),
    )
    if not coded:
        return codes
    sizes = [line.pool("lossless", "bytes").number for line in coded]
    rows = list(zip(sizes, codes.lines, codes.values, strict=True))
    unit = (coded[0].pool("lossless", "bits_per_dim").value or 0.0) / sizes[0]
    dashes = ("–",) * (len(codes.headers) - 2)
    for metric, name in STANDARD.items():
        size = coded[0].pool("lossless", metric).value
        if size is not None:
            cells = (f"{size:,.0f}", f"{unit * size:.3g}", *dashes)
            rows.append((size, (name, cells), (size, unit * size, *(None for _ in dashes))))
    rows.sort(key=lambda row: row[:2])
    return replace(codes, lines=tuple(line for _, line, _ in rows), values=tuple(own for *_, own in rows))


def table(title: str, note: str, evaluation: str, lines: Sequence[Member], *columns: NumberColumn) -> Table:
    """A table of an evaluation's scores: a line for each member, a cell for each column."""

    def cell(score: Pooled, show: Show) -> Cell:
        words, value = show(score) if score.state == "ok" else (ABSENT.get(score.state, "failed"), None)
        return words.replace("-", "−"), value

    found = [[cell(line.pool(evaluation, metric), show) for _, metric, show in columns] for line in lines]
    return Table(
        title,
        note,
        tuple(header for header, *_ in columns),
        tuple((line.label, tuple(words for words, _ in cells)) for line, cells in zip(lines, found, strict=True)),
        tuple(tuple(value for _, value in cells) for cells in found),
    )


def _kind(score: Pooled) -> Cell:
    """Exact or a bound; and what of, if it is not p(x)."""
    of = re.search(r"p\([^)]*\)", score.reason)
    kind = "bound" if score.kind == "lower bound" else score.kind
    return f"{kind} of {of[0]}" if of and of[0] != "p(x)" else kind, None


def _spread(score: Pooled) -> Cell:
    return "one seed" if score.spread is None else f"{score.spread:.2g}", score.spread


def estimate(score: Pooled) -> Cell:
    return text.plus_minus(score.number, score.stderr), score.value


def percent(score: Pooled) -> Cell:
    return text.percent(score.number, score.stderr), score.value


def _value(show: Callable[[float], str]) -> Show:
    return lambda score: (show(score.number), score.value)


def _format(spec: str) -> Show:
    return _value(lambda value: format(value, spec))
