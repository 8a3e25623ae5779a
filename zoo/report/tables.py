"""The tables of a report, as text, for whichever format sets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zoo.report import text
from zoo.report import verdicts as rules
from zoo.report.verdicts import Pooled, Row, Verdict
from zoo.scores import label

if TYPE_CHECKING:
    from zoo.report.study import Study

GROUPS = {
    "autoregressive": "Autoregressive",
    "flow": "Flow-based",
    "implicit": "Implicit",
    "prescribed": "Prescribed",
    "energy": "Energy-based",
    "diffusion": "Diffusion",
    "": "Unsorted",
    "floor": "Floors",
}
"""The groups in the order of the literature's table, families without a group and the floors last."""

HEADERS = {
    "training": "Training",
    "likelihood": "Likelihood",
    "sampling": "Sampling",
    "lossy": "Lossy compression",
    "lossless": "Lossless compression",
}
"""Column of the table -> its heading."""

FACTS = ("verdict", "value", "unit", "stderr", "spread", "literature", "disagrees", "reason")
LEGEND = "A dash does not apply; a dot was not asked."
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
WHOSE = ("suite", "dataset", "group", "family", "guide")
WIDE = (*WHOSE, *(column if fact == "verdict" else f"{column}_{fact}" for column in HEADERS for fact in FACTS))
"""The columns of ``table1.csv``."""


@dataclass(frozen=True)
class Member:
    """A line of the table: one family with one guide on one data set, and its score rows."""

    dataset: str
    group: str
    family: str
    guide: str
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        """``vae`` or ``vae+planar``: `zoo.scores.label`."""
        return label(self.family, self.guide)

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """Column of the table -> verdict."""
        return rules.verdicts(self.rows)

    def pool(self, evaluation: str, metric: str) -> Pooled:
        """A metric over the seeds."""
        return rules.pool(self.rows, evaluation, metric)

    def literature(self, column: str) -> str:
        """The literature's verdict on this member's group."""
        return rules.literature(self.group, column)

    def disagrees(self, column: str) -> bool:
        """Whether the measured verdict is not the literature's."""
        return rules.disagrees(self.verdicts[column], self.group, column)


@dataclass(frozen=True)
class Table:
    """A table of text: ``lines`` are (label, cells)."""

    title: str
    note: str
    headers: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def datasets(study: Study) -> list[str]:
    """The data sets of a study, in the order of its scores."""
    return list(dict.fromkeys([row["dataset"] for row in study.scores] + list(study.pictures)))


def members(study: Study, dataset: str) -> list[Member]:
    """The lines of a data set's table: by group, then best likelihood first, then by name."""
    rows: dict[tuple[str, str, str], list[Row]] = {}
    for row in study.scores:
        if row["dataset"] == dataset:
            rows.setdefault((row["group"] or "", row["family"], row["guide"] or ""), []).append(row)
    return sorted((Member(dataset, *key, tuple(of)) for key, of in rows.items()), key=_place)


def by_group(lines: Sequence[Member]) -> list[tuple[str, str, list[Member]]]:
    """(group, its title, its members) in the table's order; groups without a member are left out."""
    names = dict.fromkeys(line.group for line in lines)
    return [(name, GROUPS.get(name, name), [line for line in lines if line.group == name]) for name in names]


def wide(study: Study) -> list[dict[str, Any]]:
    """The measured table with a row a member and, for each column, the facts of its verdict."""
    lines = [line for dataset in datasets(study) for line in members(study, dataset)]
    return [_wide(study.suite, line) for line in lines]


def details(lines: Sequence[Member]) -> list[Table]:
    """The numbers behind the verdicts: likelihood, training, samples, lossy and lossless compression."""
    return [
        _table(
            "Likelihood in numbers",
            "Mean over seeds ± standard error over data. A bound: the negative log-likelihood is at most this. "
            "KL: the part of the ELBO that is the latents'; near 0 they say nothing. "
            "ESS: mean effective sample size of the importance weights. k̂ > 0.7: share of data whose weights are too "
            "heavy-tailed for the bound to be called tight.",
            lines,
            [
                ("kind", "likelihood", "nats", lambda score: "bound" if score.kind == "lower bound" else score.kind),
                ("nats per datum", "likelihood", "nats", _estimate),
                ("sd over seeds", "likelihood", "nats", _spread),
                ("bits per dim", "likelihood", "bits_per_dim", _estimate),
                ("ELBO, nats", "likelihood", "elbo", _estimate),
                ("KL, nats", "likelihood", "kl", _estimate),
                ("ESS", "likelihood", "ess", _estimate),
                ("k̂ > 0.7", "likelihood", "khat_share", _percent),
            ],
        ),
        _table(
            "Training in numbers",
            "Fall-back: the worst loss from the best so far, as a share of the total improvement. Spread: standard "
            "deviation over seeds of the final value.",
            [line for line in lines if line.pool("stability", "diverged_share").state != "skipped"],
            [
                ("diverged", "stability", "diverged_share", _percent),
                ("discrepancy fall-back", "stability", "discrepancy_drawdown", _percent),
                ("discrepancy spread", "stability", "discrepancy_spread", _value),
                ("validation fall-back", "stability", "drawdown", _percent),
                ("validation spread, nats", "stability", "validation_spread", _value),
            ],
        ),
        _table(
            "Samples in numbers",
            "Passes: sequential network passes that one sample needs. MMD²: unbiased, 0 is best. C2ST: accuracy of a "
            "classifier told to tell samples from data, 0.5 is best. Precision and recall by nearest neighbours.",
            lines,
            [
                ("1 sample", "sampling", "seconds_1", _duration),
                ("100 samples", "sampling", "seconds_100", _duration),
                ("a second", "sampling", "samples_per_second", _count),
                ("passes", "sampling", "passes", _count),
                ("÷ plain VAE", "sampling", "relative_time", lambda score: text.times(score.value or 0.0)),
                ("MMD²", "sampling", "mmd2", _estimate),
                ("C2ST", "sampling", "c2st", _estimate),
                ("precision", "sampling", "precision", _estimate),
                ("recall", "sampling", "recall", _estimate),
            ],
        ),
        _table(
            "Lossy compression in numbers",
            "Bytes at equal PSNR, more (+) or fewer (−) than those of JPEG, WebP and quantised principal components "
            "(Bjøntegaard's rate); the least gain of PSNR over JPEG at equal bytes, where both exist; and three points "
            "of the curve, with the latents on coarse, middling and fine grids.",
            [line for line in lines if line.pool("lossy", "verdict").state not in ("skipped", "missing")],
            [
                ("÷ JPEG", "lossy", "bd_rate_jpeg", _change),
                ("÷ WebP", "lossy", "bd_rate_webp", _change),
                ("÷ PCA", "lossy", "bd_rate_pca", _change),
                ("least gain, dB", "lossy", "least_gain", _decibels),
                *(
                    (header, "lossy", f"{metric}@{grid}", show)
                    for grid, width in LOSSY_GRIDS.items()
                    for metric, header, show in (("rate", f"bits/dim, {width}", _three), ("psnr", "dB", _decibels))
                ),
            ],
        ),
        _lossless(lines),
    ]


def disagreements(lines: Sequence[Member]) -> list[tuple[str, str, Verdict, str]]:
    """(label, column's heading, verdict, the literature's) where the two differ."""
    return [
        (line.label, HEADERS[column], verdict, line.literature(column))
        for line in lines
        for column, verdict in line.verdicts.items()
        if line.disagrees(column)
    ]


def comparisons(lines: Sequence[Member]) -> int:
    """Number of measured verdicts that the literature has a counterpart for."""
    return sum(
        rules.comparable(verdict, line.group, column) for line in lines for column, verdict in line.verdicts.items()
    )


def unanswered(study: Study, status: str) -> list[tuple[str, str, str, str]]:
    """(label, data set and seed, what, why) of the failed or skipped scores, those of one reason together.

    A score that claims to be ``ok`` without a finite value has failed.
    """
    found: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for row in study.scores:
        broken = row["status"] == "ok" and row["value"] is None
        if ("failed" if broken else row["status"]) == status:
            name = label(row["family"], row["guide"])
            where = f"{row['dataset']}, {'all seeds' if row['seed'] == 'all' else 'seed ' + str(row['seed'])}"
            why = row["reason"] or ("not a finite number" if broken else "no reason given")
            found.setdefault((name, where, why), {}).setdefault(row["evaluation"], []).append(row["metric"])
    return [(name, where, _what(metrics), why) for (name, where, why), metrics in found.items()]


def facts(study: Study) -> list[tuple[str, str]]:
    """The provenance as (name, text), nested names joined by a space; the data sets' sentences left out."""
    return list(_flat({key: value for key, value in study.provenance.items() if key != "datasets"}, ""))


def source(study: Study, dataset: str) -> str:
    """The sentence on where a data set comes from; may be empty."""
    return str((study.provenance.get("datasets") or {}).get(dataset, ""))


def seeds(study: Study) -> int:
    """Number of seeds."""
    return len({row["seed"] for row in study.scores} - {"all", None, ""})


def points(line: Member, grid: str) -> str:
    """Rate and quality of a member's lossy code on one grid, in words; empty where they were not measured."""
    rate, level = line.pool("lossy", f"rate@{grid}").value, line.pool("lossy", f"psnr@{grid}").value
    return "" if rate is None or level is None else f"{rate:.3g} bits/dim, {level:.1f} dB"


Column = tuple[str, str, str, Callable[[Pooled], str]]


def _table(title: str, note: str, lines: Sequence[Member], columns: Sequence[Column]) -> Table:
    cells = ((line.label, tuple(_cell(line.pool(*column[1:3]), column[3]) for column in columns)) for line in lines)
    return Table(title, f"{note} {LEGEND}", tuple(column[0] for column in columns), tuple(cells))


def _lossless(lines: Sequence[Member]) -> Table:
    """The bytes of every lossless codec and, among them by size, those of the standard codes on the same data."""
    coded = [line for line in lines if line.pool("lossless", "bytes").value is not None]
    columns: list[Column] = [
        ("bytes", "lossless", "bytes", _bytes),
        ("bits per dim", "lossless", "bits_per_dim", _three),
        ("header", "lossless", "header_bytes", _bytes),
        ("initial bits", "lossless", "initial_bytes", _bytes),
        ("overhead, %", "lossless", "overhead", _three),
        ("images/s in", "lossless", "encode_images", _count),
        ("images/s out", "lossless", "decode_images", _count),
        ("MB/s in", "lossless", "encode_mb", _three),
        ("MB/s out", "lossless", "decode_mb", _three),
        ("passes", "lossless", "passes", _count),
    ]
    table = _table(
        "Lossless compression in numbers",
        "Real bytes for the whole test split, decoded again and compared: header, the initial bits of bits-back (in "
        "bytes) and all. Overhead: the payload over what the model itself says that the data take. In and out on one "
        "thread; passes of the network one after the other, one way. Among them the standard codes, at their hardest "
        "setting; PNG and WebP (lossless) of all data side by side in one image, or of each by itself.",
        coded,
        columns,
    )
    sizes = {line.label: line.pool("lossless", "bytes").value or 0.0 for line in coded}
    standard = {name: coded[0].pool("lossless", metric).value for metric, name in STANDARD.items()} if coded else {}
    unit = (coded[0].pool("lossless", "bits_per_dim").value or 0.0) / sizes[coded[0].label] if coded else 0.0
    dashes = ("–",) * (len(columns) - 2)
    rows = [(sizes[label], (label, cells)) for label, cells in table.lines]
    rows += [
        (size, (name, (f"{size:,.0f}", f"{unit * size:.3g}", *dashes)))
        for name, size in standard.items()
        if size is not None
    ]
    return replace(table, lines=tuple(row for _, row in sorted(rows)))


def _change(score: Pooled) -> str:
    return f"{100 * (score.value or 0.0):+.0f} %".replace("-", "−")


def _cell(score: Pooled, show: Callable[[Pooled], str]) -> str:
    return show(score) if score.state == "ok" else {"skipped": "–", "failed": "failed", "missing": "·"}[score.state]


def _what(metrics: dict[str, list[str]]) -> str:
    return "; ".join(f"{evaluation}: {', '.join(names)}" for evaluation, names in metrics.items())


def _bytes(score: Pooled) -> str:
    return f"{score.value or 0.0:,.0f}"


def _three(score: Pooled) -> str:
    return f"{score.value or 0.0:.3g}".replace("-", "−")


def _decibels(score: Pooled) -> str:
    return f"{score.value or 0.0:.1f}".replace("-", "−")


def _value(score: Pooled) -> str:
    return text.number(score.value or 0.0)


def _estimate(score: Pooled) -> str:
    return text.plus_minus(score.value or 0.0, score.stderr)


def _count(score: Pooled) -> str:
    return text.count(score.value or 0.0)


def _percent(score: Pooled) -> str:
    return text.percent(score.value or 0.0, score.stderr)


def _duration(score: Pooled) -> str:
    return text.duration(score.value or 0.0)


def _spread(score: Pooled) -> str:
    return "one seed" if score.spread is None else f"{score.spread:.2g}"


def _place(line: Member) -> tuple[int, float, str]:
    nats = line.pool("likelihood", "nats").value
    order = list(GROUPS)
    place = order.index(line.group) if line.group in order else order.index("")
    return place, float("inf") if nats is None else nats, line.label


def _wide(suite: str, line: Member) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(WHOSE, (suite, line.dataset, line.group, line.family, line.guide), strict=True))
    for column, verdict in line.verdicts.items():
        row |= {
            column: verdict.word,
            f"{column}_value": verdict.value,
            f"{column}_unit": verdict.unit,
            f"{column}_stderr": verdict.stderr,
            f"{column}_spread": verdict.spread,
            f"{column}_literature": line.literature(column),
            f"{column}_disagrees": "yes" if line.disagrees(column) else "no",
            f"{column}_reason": verdict.reason,
        }
    return row


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    elif value is not None:
        yield name, str(value)
