"""What was obtained against what is published: one row of the second table, and the verdict on it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from zoo.report import text
from zoo.scores import Kind

Unit = Literal["nats", "bits/dim"]
Word = Literal["reproduced", "short", "not run", "failed"]
LOOSER = "a bound of {} particles here, of {} there: of fewer it is the looser one"
KINDS = {
    ("lower bound", "exact"): "a bound here, an exact value there: log p(x) may be better than it",
    ("exact", "lower bound"): "an exact value here, a bound there",
    ("lower bound", "estimate"): "a bound here, an estimate there",
    ("estimate", "lower bound"): "an estimate here, a bound there",
    ("exact", "estimate"): "an exact value here, an estimate there",
    ("estimate", "exact"): "an estimate here, an exact value there",
}
"""The kind obtained and the kind published -> what to know of two numbers of different kinds."""


class PublishedNumber(BaseModel):
    """A number that somebody published, the lower the better.

    Args:
        value: in ``unit``; log-likelihoods, where more is better, with their sign turned.
        unit: nats per datum, or bits per dimension.
        kind: of the log-likelihood; empty for sizes of files.
        particles: of a bound or an estimate.
        seen: how many training examples the published training saw: steps times batch.
        source: where the number stands.
        read: whether it was read there; if not, it is quoted from memory, and the table says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    unit: Unit = "nats"
    kind: Kind
    particles: PositiveInt | None = None
    seen: PositiveInt | None = None
    source: str = Field(min_length=1)
    read: bool


class Claim(BaseModel):
    """What a row of the table is about, besides what was obtained.

    Args:
        title: the model in the paper's words.
        paper: author, year and number.
        table: where in it, or which code.
        setting: data and training there.
        data: the data set here.
        published: the number.
        metric: the score that is compared with it.
        tolerance: share of the published value by which a reproduced one may be worse.
        budget: what is spent on it here.
        differs: what is done otherwise here, a sentence each.
        needs: how to get data that do not come with the project.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    paper: str = Field(min_length=1)
    table: str = ""
    setting: str = Field(min_length=1)
    data: str = Field(min_length=1)
    published: PublishedNumber
    metric: str = "nats"
    tolerance: float = Field(default=0.01, gt=0, lt=1)
    budget: str = Field(min_length=1)
    differs: list[str] = []
    needs: str = ""


class OneRun(BaseModel):
    """The training of one seed.

    Args:
        seed: of the run.
        folder: of the run, below that of all runs: its weights are there.
        steps: taken of those of the recipe.
        batch: examples of a step.
        hours: the steps over their speed.
        reason: why it ended early or has no score, if so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    folder: str
    steps: int = 0
    batch: int = 0
    hours: float = 0.0
    reason: str = ""


class Obtained(BaseModel):
    """What a row's runs gave: the content of ``docs/records/ROW.json``.

    Args:
        row: its name.
        digest: of the settings of the row that decide its numbers.
        command: that made it.
        status: ``ok``, or why there is no number: ``not run`` or ``failed``, with the ``reason``.
        config: family, data and settings, as options of ``zoo train``.
        data: one sentence on their source.
        particles: of the bound.
        scores: every score of its evaluation, a row for each seed and metric (`zoo.scores.COLUMNS`).
        runs: its trainings.
        provenance: machine and versions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: str
    digest: str
    command: str
    status: Literal["ok", "not run", "failed"]
    reason: str = ""
    config: str
    data: str = ""
    particles: int
    scores: list[dict[str, Any]] = []
    runs: list[OneRun] = []
    provenance: dict[str, Any] = {}

    def of(self, metric: str) -> list[Mapping[str, Any]]:
        """The scores of one metric that have a value, one for each seed."""
        return [score for score in self.scores if score["metric"] == metric and score["value"] is not None]

    def missing(self, metric: str) -> list[str]:
        """The seeds without such a score, each with the reason."""
        known = {score["seed"] for score in self.of(metric)}
        reasons: dict[Any, str] = {}
        for score in self.scores:
            if score["seed"] not in known and (score["reason"] or score["metric"] == metric):
                reasons.setdefault(score["seed"], score["reason"] or "no score")
        return [f"seed {seed}: {reason}" for seed, reason in reasons.items()]

    @property
    def seen(self) -> int:
        """Training examples that the longest run saw."""
        return max((run.steps * run.batch for run in self.runs), default=0)


@dataclass(frozen=True)
class Attempt:
    """A row of the table: what it claims, and what it gave; ``reason`` says why there is nothing."""

    name: str
    claim: Claim
    obtained: Obtained | None = None
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    """The verdict on a row.

    Attributes:
        word: ``reproduced`` if every seed has a number and their mean is at most the published value and its tolerance,
            ``short`` if there is a number that is not, else ``not run`` or ``failed``.
        mean: over seeds; ``None`` where there is no number.
        deviation: the standard deviation over seeds; ``None`` of fewer than two.
        seeds: how many have a number.
        kind: of the number.
        remarks: the gap, what was left out, what differs: never silent.
    """

    word: Word
    mean: float | None = None
    deviation: float | None = None
    seeds: int = 0
    kind: Kind = ""
    remarks: Sequence[str] = ()

    @property
    def obtained(self) -> str:
        """The number with its standard deviation and seeds, in words; a dash where there is none."""
        if self.mean is None:
            return "–"
        spread = "one seed" if self.deviation is None else f"sd {self.deviation:.2g}, {self.seeds} seeds"
        return f"{shown(self.mean)} ({spread})"


def judge(attempt: Attempt) -> Judgement:
    """The verdict on a row, by its claim and its record alone.

    Example:
        >>> published = PublishedNumber(value=80.0, kind="exact", source="a table", read=True)
        >>> claim = Claim(title="A", paper="B 2020", setting="C", data="digits", published=published, budget="none")
        >>> judge(Attempt("a", claim, reason="never started")).word
        'not run'
    """
    obtained, claim = attempt.obtained, attempt.claim
    if obtained is None or obtained.status != "ok":
        word: Word = "failed" if obtained and obtained.status == "failed" else "not run"
        return Judgement(word, remarks=[obtained.reason if obtained else attempt.reason, *claim.differs])
    scores, missing = obtained.of(claim.metric), obtained.missing(claim.metric)
    if not scores:
        return Judgement("failed", remarks=[*missing, *claim.differs] or ["no score"])
    values = [float(score["value"]) for score in scores]
    mean, published, kind = statistics.fmean(values), claim.published, scores[0]["kind"]
    enough = mean <= published.value + claim.tolerance * abs(published.value)
    word = "reproduced" if enough and not missing else "short"
    deviation = statistics.stdev(values) if len(values) > 1 else None
    said = dict.fromkeys(score["reason"] for score in scores if score["reason"])
    remarks = [_gap(mean, published, enough), *missing, *_left_out(attempt, kind), *said, *claim.differs]
    return Judgement(word, mean, deviation, len(values), kind, remarks)


def shown(value: float) -> str:
    """A number as the table shows it.

    Example:
        >>> shown(-153.284), shown(0.1932)
        ('−153.28', '0.193')
    """
    return f"{value:.{2 if abs(value) >= 10 else 3}f}".replace("-", "−")


def metric(claim: Claim, judgement: Judgement, obtained: Obtained | None) -> str:
    """The score, its kind and its particles: ``nats, lower bound, K = 500``."""
    kind = judgement.kind or claim.published.kind
    particles = obtained.particles if obtained and judgement.kind else claim.published.particles
    of = f"K = {particles}" if kind == "lower bound" and particles else ""
    return ", ".join(filter(None, [claim.published.unit, kind, of]))


def published(claim: Claim) -> str:
    """The number with its kind and particles, and whether it was read in its source."""
    number = claim.published
    of = f"K = {number.particles}" if number.particles else ""
    parts = filter(None, [number.kind, of, "" if number.read else "from memory"])
    return f"{shown(number.value)} ({', '.join(parts)})"


def _gap(mean: float, published: PublishedNumber, enough: bool) -> str:
    gap = mean - published.value
    share = abs(gap / published.value) if published.value else 0.0
    if gap <= 0:
        return f"{shown(-gap)} {published.unit} better than published"
    within = "" if enough else ": short of it"
    return f"{shown(gap)} {published.unit} worse than published, {100 * share:.2g} %{within}"


def _left_out(attempt: Attempt, kind: Kind) -> Iterator[str]:
    """The share of the published budget, and what makes the two numbers differ in kind."""
    assert attempt.obtained is not None
    published, seen = attempt.claim.published, attempt.obtained.seen
    if published.seen and seen:
        share = text.percent(seen / published.seen) if seen >= 0.01 * published.seen else "under 1 %"
        yield f"budget: {share} of the published training, {seen:,} of {published.seen:,} examples seen"
    if kind != published.kind and (note := KINDS.get((kind, published.kind))):
        yield note
    here = attempt.obtained.particles
    if kind == published.kind == "lower bound" and published.particles and published.particles != here:
        yield LOOSER.format(here, published.particles)
