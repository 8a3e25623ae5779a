"""The rules that turn scores into the verdicts of the table.

They are fixed before the runs, stand in this one module, and every report prints `RULES` word for word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

Row = Mapping[str, Any]

LARGEST_FALL_BACK = 0.25
"""Share of its total improvement that the sample discrepancy of a stable training may lose again."""

NOISE = 2.0
"""Standard errors by which a fall-back must exceed the limit to count."""

LARGEST_RELATIVE_TIME = 10.0
"""Times a plain VAE's time that a fast sampler may take for 100 samples."""

RULES: dict[str, str] = {
    "training": (
        "stable if no seed diverged and the worst fall-back of the sample discrepancy from its best so far, "
        f"less {NOISE:g} standard errors, is at most {LARGEST_FALL_BACK:.0%} of its total improvement in every seed; "
        "unstable otherwise. The discrepancy is the distance MMD between samples and validation data, where less than "
        "two standard errors of MMD² between data and data counts as none; the improvement counts from uniform noise "
        "where training starts better than that. Only measures that implicit and likelihood models share decide."
    ),
    "likelihood": (
        "exact if the test log-likelihood is computed exactly in every seed that could be scored; approximate if it is "
        "a lower bound or an estimate in any; no if the family has none."
    ),
    "sampling": (
        f"fast if 100 samples take at most {LARGEST_RELATIVE_TIME:g} times as long as from a plain VAE timed beside it "
        "(mean over seeds); slow otherwise. How good the samples are stands beside it and does not decide."
    ),
    "lossy": (
        "yes if the family's lossy codec passes in every seed (its evaluation says what that takes); poor if it "
        "decodes but does not pass in some; no, with its reason, for a family that has none; not measured yet while "
        "nothing asks."
    ),
    "lossless": (
        "yes if the file of the whole test split, its header and initial bits counted, decodes to the same data and is "
        "smaller than the best of the standard codes (zlib, bz2, lzma, PNG, lossless WebP) on the same data, in every "
        "seed; poor if it decodes but is larger in some; no, with its reason, for a family that gives no such code; "
        "not measured yet while nothing asks."
    ),
}
"""Column of the table -> the rule of its verdict."""

LITERATURE: dict[str, dict[str, str]] = {
    "autoregressive": {
        "training": "stable",
        "likelihood": "exact",
        "sampling": "slow",
        "lossy": "no",
        "lossless": "yes",
    },
    "flow": {"training": "stable", "likelihood": "exact", "sampling": "fast/slow", "lossy": "no", "lossless": "yes"},
    "implicit": {"training": "unstable", "likelihood": "no", "sampling": "fast", "lossy": "no", "lossless": "no"},
    "prescribed": {
        "training": "stable",
        "likelihood": "approximate",
        "sampling": "fast",
        "lossy": "yes",
        "lossless": "no",
    },
}
"""Group -> column -> verdict in Table 1 of J. M. Tomczak's introduction to deep generative modelling."""

UNJUDGED = {"missing": "not measured", "skipped": "skipped", "failed": "failed"}
"""What a cell says when there is no number: state of the scores -> word."""

UNASKED = "not measured yet"
"""What a cell says when there is no evaluation to fill it."""


@dataclass(frozen=True)
class Verdict:
    """A cell of the table: its word, the number behind it, and the rule that turned one into the other.

    ``value`` and ``stderr`` are in ``unit``; ``spread`` is the standard deviation over seeds (``None`` with fewer than
    two). ``reason`` says why there is no number, or what to know beside it.
    """

    word: str
    value: float | None = None
    unit: str = ""
    stderr: float | None = None
    spread: float | None = None
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Pooled:
    """One metric of one family over its seeds.

    ``value`` is the mean over seeds; ``stderr`` the mean of the seeds' standard errors, not divided by the root of
    their number, because all seeds are scored on the same data; ``spread`` the standard deviation over seeds.
    ``state`` is ``ok`` if any seed has a finite value, else ``failed``, ``skipped`` or ``missing``.
    """

    state: str
    value: float | None = None
    unit: str = ""
    stderr: float | None = None
    spread: float | None = None
    kind: str = ""
    n: int | None = None
    seeds: int = 0
    failed: int = 0
    reason: str = ""


def pool(rows: Iterable[Row], evaluation: str, metric: str) -> Pooled:
    """Pool a metric over the seeds in the score rows of one family, guide and data set.

    A row whose metric is the evaluation's own name tells why that seed has none of its metrics.
    """
    asked = [row for row in rows if row["evaluation"] == evaluation and row["metric"] in (metric, evaluation)]
    good = [row for row in asked if row["status"] == "ok" and _finite(row["value"])]
    bad = [row for row in asked if row not in good and row["status"] != "skipped"]
    if not good:
        state = "failed" if bad else "skipped" if asked else "missing"
        return Pooled(state, reason=_reasons(asked) or f"no score {evaluation}/{metric}")
    values = [float(row["value"]) for row in good]
    errors = [float(row["stderr"]) for row in good if _finite(row["stderr"])]
    return Pooled(
        state="ok",
        value=fmean(values),
        unit=good[0]["unit"],
        stderr=fmean(errors) if errors else None,
        spread=stdev(values) if len(values) > 1 else None,
        kind=_weakest(str(row["kind"]) for row in good),
        n=good[0]["n"],
        seeds=len(good),
        failed=len(bad),
        reason=f"{len(bad)} of {len(asked)} seeds failed: {_reasons(bad)}" if bad else _remarks(good),
    )


def training(rows: Sequence[Row]) -> Verdict:
    """``stable`` or ``unstable``, by the share of diverged seeds and the fall-back of the sample discrepancy."""
    diverged, fall = pool(rows, "stability", "diverged_share"), pool(rows, "stability", "discrepancy_drawdown")
    note = diverged.reason or _one_seed(diverged.n)
    if diverged.value is None:
        return _unjudged("training", diverged)
    if diverged.value > 0:
        return Verdict("unstable", diverged.value, "share of seeds diverged", rule=RULES["training"], reason=note)
    if fall.value is None:
        return _unjudged("training", fall)
    word = "stable" if fall.value - NOISE * (fall.stderr or 0.0) <= LARGEST_FALL_BACK else "unstable"
    return Verdict(word, fall.value, "share fall-back", fall.stderr, None, RULES["training"], note)


def likelihood(rows: Sequence[Row]) -> Verdict:
    """``exact``, ``approximate`` or ``no``, with the test negative log-likelihood in nats per datum."""
    nats = pool(rows, "likelihood", "nats")
    if nats.state == "skipped":
        return Verdict("no", rule=RULES["likelihood"], reason=nats.reason)
    if nats.value is None:
        return _unjudged("likelihood", nats)
    word = "exact" if nats.kind == "exact" else "approximate"
    return _judged("likelihood", word, nats, "nats")


def sampling(rows: Sequence[Row]) -> Verdict:
    """``fast`` or ``slow``, by the time of 100 samples relative to a plain VAE's."""
    time = pool(rows, "sampling", "relative_time")
    if time.value is None:
        return _unjudged("sampling", time)
    return _judged("sampling", "fast" if time.value <= LARGEST_RELATIVE_TIME else "slow", time, "times a plain VAE")


def lossy(rows: Sequence[Row]) -> Verdict:
    """``yes``, ``poor`` or ``no``, with bytes beside JPEG's at equal PSNR, as a share (Bjontegaard's)."""
    return _compression("lossy", rows, "bd_rate_jpeg")


def lossless(rows: Sequence[Row]) -> Verdict:
    """``yes``, ``poor`` or ``no``, with the bits per dimension of the whole file."""
    return _compression("lossless", rows, "bits_per_dim")


COLUMNS: dict[str, Callable[[Sequence[Row]], Verdict]] = {
    "training": training,
    "likelihood": likelihood,
    "sampling": sampling,
    "lossy": lossy,
    "lossless": lossless,
}
"""The columns of the table, in its order: name -> what judges them."""


def verdicts(rows: Sequence[Row]) -> dict[str, Verdict]:
    """All verdicts on one family, guide and data set: column of the table -> verdict."""
    return {column: judge(rows) for column, judge in COLUMNS.items()}


def literature(group: str, column: str) -> str:
    """The literature's verdict on a group, such as ``fast/slow``; empty where it has none."""
    return LITERATURE.get(group, {}).get(column, "")


def comparable(verdict: Verdict, group: str, column: str) -> bool:
    """Whether there is both a measured verdict and one of the literature's."""
    measured = verdict.word not in UNJUDGED.values() and verdict.word != UNASKED
    return measured and bool(literature(group, column))


def disagrees(verdict: Verdict, group: str, column: str) -> bool:
    """Whether a measured verdict is none of the literature's for this group."""
    return comparable(verdict, group, column) and verdict.word not in literature(group, column).split("/")


def _compression(column: str, rows: Sequence[Row], behind: str) -> Verdict:
    """By the score ``verdict`` of the evaluation called like the column: 1 passed, 0 decoded only, or skipped."""
    passed = pool(rows, column, "verdict")
    if passed.state == "missing":
        return Verdict(UNASKED, rule=RULES[column], reason="there is no such evaluation yet")
    if passed.state == "skipped":
        return Verdict("no", rule=RULES[column], reason=passed.reason)
    if passed.value is None or passed.failed:
        return Verdict("failed", rule=RULES[column], reason=passed.reason)
    word, number = "yes" if passed.value >= 1 else "poor", pool(rows, column, behind)
    if number.value is None:
        return Verdict(word, passed.value, "share of seeds passed", None, None, RULES[column], passed.reason)
    return _judged(column, word, number, number.unit)


def _judged(column: str, word: str, score: Pooled, unit: str) -> Verdict:
    note = score.reason or _one_seed(score.seeds)
    return Verdict(word, score.value, unit, score.stderr, score.spread, RULES[column], note)


def _unjudged(column: str, score: Pooled) -> Verdict:
    return Verdict(UNJUDGED[score.state], rule=RULES[column], reason=score.reason)


def _one_seed(seeds: int | None) -> str:
    return "one seed: its spread over seeds cannot be seen" if seeds == 1 else ""


def _reasons(rows: Iterable[Row]) -> str:
    given = (row["reason"] or ("not a finite number" if row["status"] == "ok" else "no reason given") for row in rows)
    return "; ".join(dict.fromkeys(given))


def _remarks(rows: Iterable[Row]) -> str:
    return "; ".join(dict.fromkeys(row["reason"] for row in rows if row["reason"]))


def _weakest(kinds: Iterable[str]) -> str:
    strength = ("lower bound", "estimate", "", "exact")
    return min(kinds, key=strength.index)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
