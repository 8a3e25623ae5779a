"""From scores to verdicts: metrics pooled over seeds, and what the registered columns make of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from zoo.pairs.declarations import Column
from zoo.pairs.registry import columns as registered
from zoo.pairs.registry import load_shelves
from zoo.scores import label

Row = Mapping[str, Any]

NOT_ASKED = "not measured yet"
"""Verdict of a column that no evaluation of the suite fills; its cell gives no reason."""
UNMEASURED = ("not measured", NOT_ASKED, "skipped", "failed")
"""Verdicts that answer nothing, so that they neither agree nor disagree with the literature."""


@dataclass(frozen=True)
class Verdict:
    """A cell of the table: a word and the number behind it.

    ``value`` and ``stderr`` are in ``unit``. A unit ``share ...`` is shown as a percentage, ``times ...`` as a factor.
    ``spread`` is the standard deviation over seeds, ``None`` for fewer than two. ``reason`` says why there is no
    number, or what to know about it.
    """

    word: str
    value: float | None = None
    unit: str = ""
    stderr: float | None = None
    spread: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Pooled:
    """One metric of one family over its seeds.

    ``value`` is the mean over seeds. ``stderr`` is the mean of the seeds' standard errors, not divided by the root of
    their number, because all seeds are scored on the same data. ``spread`` is the standard deviation over seeds.
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

    @property
    def number(self) -> float:
        """The value of a score that is ``ok``."""
        assert self.value is not None
        return self.value

    def verdict(self, word: str, unit: str = "") -> Verdict:
        """``word`` with this number behind it, in ``unit`` if its own should read otherwise."""
        note = self.reason or one_seed(self.seeds)
        return Verdict(word, self.value, unit or self.unit, self.stderr, self.spread, note)

    def without_value(self, skipped: str = "skipped", missing: str = "not measured") -> Verdict:
        """The verdict on a score that is not ``ok``."""
        return Verdict({"skipped": skipped, "missing": missing}.get(self.state, "failed"), reason=self.reason)


def pool(rows: Iterable[Row], evaluation: str, metric: str) -> Pooled:
    """Pool a metric over the seeds in the score rows of one family, guide and data set.

    A row whose metric is the evaluation's own name says why that seed has none of its metrics.
    """
    found = [row for row in rows if row["evaluation"] == evaluation and row["metric"] in (metric, evaluation)]
    good = [row for row in found if row["status"] == "ok" and _finite(row["value"])]
    bad = [row for row in found if row not in good and row["status"] != "skipped"]
    if not good:
        state = "failed" if bad else "skipped" if found else "missing"
        return Pooled(state, reason=_reasons(found) or f"no score {evaluation}/{metric}")
    values = [float(row["value"]) for row in good]
    errors = [float(row["stderr"]) for row in good if _finite(row["stderr"])]
    remarks = "; ".join(dict.fromkeys(row["reason"] for row in good if row["reason"]))
    strength = ("lower bound", "upper bound", "bracket", "estimate", "", "exact")
    return Pooled(
        state="ok",
        value=fmean(values),
        unit=good[0]["unit"],
        stderr=fmean(errors) if errors else None,
        spread=stdev(values) if len(values) > 1 else None,
        kind=min((str(row["kind"]) for row in good), key=strength.index),
        n=good[0]["n"],
        seeds=len(good),
        failed=len(bad),
        reason=f"{len(bad)} of {len(found)} seeds failed: {_reasons(bad)}" if bad else remarks,
    )


def one_seed(seeds: int | None) -> str:
    """The remark on a number that comes from one seed."""
    return "one seed: its spread over seeds cannot be seen" if seeds == 1 else ""


def columns(optional: bool | None = None) -> list[Column]:
    """The registered columns, or those that are ``optional`` or not, in their order: by place, then by name."""
    load_shelves()
    chosen = (column for column in registered if optional in (None, column.optional))
    return sorted(chosen, key=lambda column: column.place)


def judge(column: Column, rows: Sequence[Row]) -> Verdict:
    """The verdict of a column on the score rows of one family, guide and data set."""
    score = pool(rows, column.evaluation, column.metric)
    if score.state == "missing" and column.optional and rows:
        name = label(rows[0]["family"], rows[0]["guide"] or "")
        return Verdict(column.missing, reason=f"zoo evaluate {name} -e {column.evaluation}")
    if score.value is None:
        return score.without_value(column.skipped, column.missing)
    try:
        verdict = column.judge(score, rows)
        if not isinstance(verdict, Verdict):
            raise TypeError(f"column {column.name!r} should return score.verdict(word), got {verdict!r}")
    except Exception as error:  # a column may come from any file: its cells fail, the report is still written
        return Verdict("failed", reason=f"{type(error).__name__}: {error}")
    return verdict


def yes_or_poor(passed: Pooled, number: Pooled) -> Verdict:
    """``yes`` if every seed passed (a score of 1), ``poor`` if one did not; ``number`` behind it."""
    if passed.failed:
        return Verdict("failed", reason=passed.reason)
    word = "yes" if passed.number >= 1 else "poor"
    if number.value is None:
        return Verdict(word, passed.value, "share of seeds passed", reason=passed.reason)
    return number.verdict(word)


def agrees(verdict: Verdict, literature: str) -> bool | None:
    """Whether a verdict is among the literature's, such as ``fast/slow``; ``None`` where either is missing."""
    if verdict.word in UNMEASURED or not literature:
        return None
    return verdict.word in literature.split("/")


def _reasons(rows: Iterable[Row]) -> str:
    given = (row["reason"] or ("not a finite number" if row["status"] == "ok" else "no reason given") for row in rows)
    return "; ".join(dict.fromkeys(given))


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
