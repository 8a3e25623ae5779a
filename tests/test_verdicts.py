"""The rules of the columns, at their thresholds and for every state of the scores."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.evaluations.sampling import LARGEST_RELATIVE_TIME
from zoo.evaluations.stability import LARGEST_FALL_BACK
from zoo.pairs.declarations import Column
from zoo.pairs.registry import GROUPS
from zoo.report.verdicts import Verdict, agrees, columns, judge
from zoo.scores import Kind, Score

Rows = list[dict[str, Any]]
COMPRESSION = ("lossy", "lossless")


def rows(evaluation: str, *scores: Score, seed: Any = 0) -> Rows:
    where = {"suite": "s", "family": "f", "guide": "", "group": "", "dataset": "d"}
    return [score.row(**where, seed=seed, evaluation=evaluation) for score in scores]


def named(name: str) -> Column:
    (found,) = (column for column in columns() if column.name == name)
    return found


def verdict(name: str, found: Rows) -> Verdict:
    return judge(named(name), found)


def stability(diverged: float, fall: float, stderr: float | None = None, n: int = 3) -> Rows:
    scores = (Score("diverged_share", diverged, n=n), Score("discrepancy_drawdown", fall, stderr=stderr, n=n))
    return rows("stability", *scores, seed="all")


def nats(*scores: Score) -> Rows:
    return [row for seed, score in enumerate(scores) for row in rows("likelihood", score, seed=seed)]


@pytest.mark.parametrize(
    ("diverged", "fall", "stderr", "word"),
    [
        (0.0, 0.0, None, "stable"),
        (0.0, LARGEST_FALL_BACK, None, "stable"),
        (0.0, LARGEST_FALL_BACK + 0.01, None, "unstable"),
        (0.0, LARGEST_FALL_BACK + 0.01, 0.01, "stable"),
        (0.0, LARGEST_FALL_BACK + 0.03, 0.01, "unstable"),
        (1 / 3, 0.0, None, "unstable"),
    ],
)
def test_training(diverged: float, fall: float, stderr: float | None, word: str) -> None:
    found = verdict("training", stability(diverged, fall, stderr))
    assert (found.word, found.value) == (word, diverged or fall)


def test_the_remark_of_a_good_score_is_kept() -> None:
    remark = "1 of 3 seeds crashed and are left out"
    scores = (Score("diverged_share", 0.0, n=2, reason=remark), Score("discrepancy_drawdown", 0.1))
    assert verdict("training", rows("stability", *scores, seed="all")).reason == remark
    assert verdict("lossy", rows("lossy", Score("verdict", 1.0, reason="slow"))).word == "yes"


def test_validation_scores_do_not_decide_training() -> None:
    worse = rows("stability", Score("drawdown", 5.0), Score("validation_spread", 50.0), seed="all")
    assert verdict("training", stability(0.0, 0.1) + worse) == verdict("training", stability(0.0, 0.1))


def test_a_diverged_family_is_unstable_even_without_a_discrepancy() -> None:
    lost = rows("stability", Score("diverged_share", 1.0), Score.failed("discrepancy_drawdown", "no runs"), seed="all")
    assert verdict("training", lost).word == "unstable"


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["exact", "exact"], "exact"),
        (["exact", "lower bound"], "approximate"),
        (["estimate"], "approximate"),
        ([""], "approximate"),
    ],
)
def test_likelihood(kinds: list[Kind], word: str) -> None:
    scores = (Score("nats", 80.0 + k, "nats", 0.4, kind) for k, kind in enumerate(kinds))
    found = verdict("likelihood", nats(*scores))
    assert found.word == word
    assert found.value == pytest.approx(80.0 + (len(kinds) - 1) / 2)
    assert found.stderr == pytest.approx(0.4)
    assert (found.spread is None) == (len(kinds) == 1)
    assert ("one seed" in found.reason) == (len(kinds) == 1)


@pytest.mark.parametrize(("time", "word"), [(0.5, "fast"), (LARGEST_RELATIVE_TIME, "fast"), (10.1, "slow")])
def test_sampling(time: float, word: str) -> None:
    assert verdict("sampling", rows("sampling", Score("relative_time", time))).word == word


@pytest.mark.parametrize("name", COMPRESSION)
def test_compression_has_to_pass_in_every_seed(name: str) -> None:
    both = rows(name, Score("verdict", 1.0)) + rows(name, Score("verdict", 1.0), seed=1)
    assert verdict(name, both).word == "yes"
    assert verdict(name, both + rows(name, Score("verdict", 0.0), seed=2)).word == "poor"
    assert verdict(name, both + rows(name, Score.failed("verdict", "crash"), seed=2)).word == "failed"


def test_a_lossless_verdict_shows_the_bits_behind_it() -> None:
    found = verdict("lossless", rows("lossless", Score("verdict", 1.0), Score("bits_per_dim", 2.0, "bits/dim")))
    assert (found.word, found.value, found.unit) == ("yes", 2.0, "bits/dim")


@pytest.mark.parametrize(
    ("value", "stderr", "word"),
    [(0.5, None, "tight"), (0.3, 0.1, "tight"), (0.3, 0.11, "unsure"), (0.7, 0.1, "unsure"), (0.7, 0.09, "loose")],
)
def test_within(value: float, stderr: float | None, word: str) -> None:
    found = verdict("within", rows("certificate", Score("within", value, "nats", stderr, "bracket", 16)))
    assert (found.word, found.value, found.unit) == (word, value, "nats")


@pytest.mark.parametrize(
    ("shuffled", "rotated", "word", "least"),
    [(1.0, 0.95, "yes", "rotated"), (0.94, 1.0, "weak", "shuffled"), (0.49, 1.0, "weak", "shuffled"),
     (1.0, 0.47, "reversed", "rotated"), (0.96, None, "yes", "shuffled")],
)  # fmt: skip
def test_novelty(shuffled: float, rotated: float | None, word: str, least: str) -> None:
    scores = [Score("auroc_log_p_shuffled", shuffled, "AUROC", 0.01, n=100)]
    scores += [Score("auroc_log_p_rotated", rotated, "AUROC", 0.01)] if rotated else []
    found = verdict("novelty", rows("novelty", *scores))
    assert (found.word, found.unit) == (word, f"AUROC, {least}")
    assert found.value == min(shuffled, rotated or 1.0)


@pytest.mark.parametrize(("gain", "word"), [(0.021, "yes"), (0.02, "no"), (-0.03, "no")])
def test_coverage(gain: float, word: str) -> None:
    scores = (Score("error_90_gated_shuffled_gain", gain, "share", 0.01), Score("error_90_posterior_alone", 0.0))
    found = verdict("coverage", rows("selective", *scores))
    assert (found.word, found.value) == (word, gain)
    assert found.reason.startswith("errors 0 % on test data")


@pytest.mark.parametrize(("excess", "word"), [(-0.01, "calibrated"), (0.02, "calibrated"), (0.021, "off")])
def test_calibration(excess: float, word: str) -> None:
    scores = Score("ece_excess", excess, "probability", 0.01), Score("ece", 0.05, "probability", 0.004)
    found = verdict("calibration", rows("calibration", *scores))
    assert (found.word, found.value, found.stderr) == (word, 0.05, 0.004)


@pytest.mark.parametrize("column", columns(), ids=lambda column: column.name)
def test_a_cell_without_a_value_says_why(column: Column) -> None:
    missing = judge(column, [])
    skipped, failed, broken = (
        judge(column, rows(column.evaluation, score))
        for score in (
            Score.skipped(column.metric, "does not apply"),
            Score.failed(column.metric, "diverged at step 7"),
            Score(column.metric, float("nan")),
        )
    )
    assert missing.word == column.missing
    assert missing.reason
    assert (skipped.word, skipped.reason) == (column.skipped, "does not apply")
    assert (failed.word, failed.reason) == ("failed", "diverged at step 7")
    assert (broken.word, broken.reason) == ("failed", "not a finite number")


def test_a_failed_seed_is_counted() -> None:
    found = verdict("likelihood", nats(Score("nats", 80.0, kind="exact"), Score.failed("nats", "out of memory")))
    assert found == Verdict("exact", 80.0, "nats", reason="1 of 2 seeds failed: out of memory")


@pytest.mark.parametrize(
    ("word", "literature", "expected"),
    [
        ("fast", "slow", False),
        ("fast", "fast/slow", True),
        ("slow", "fast/slow", True),
        ("failed", "fast", None),
        ("not measured yet", "yes", None),
        ("fast", "", None),
    ],
)
def test_agreement_with_the_literature(word: str, literature: str, expected: bool | None) -> None:
    assert agrees(Verdict(word), literature) is expected


@pytest.mark.parametrize("column", columns(), ids=lambda column: column.name)
def test_every_column_states_its_question_and_rule(column: Column) -> None:
    assert column.doc.partition("\n")[0].endswith("?")
    assert set(column.literature) <= set(GROUPS)
    words = {word for said in column.literature.values() for word in said.split("/")}
    assert all(word in column.rule for word in words), "the literature's words are those of the rule"


scores = st.builds(
    Score,
    metric=st.sampled_from([*{column.metric for column in columns()}, "discrepancy_drawdown", "bits_per_dim"]),
    value=st.none() | st.floats(),
    stderr=st.none() | st.floats(),
    kind=st.sampled_from(["exact", "lower bound", "estimate", ""]),
    n=st.none() | st.integers(0, 9),
    status=st.sampled_from(["ok", "skipped", "failed"]),
    reason=st.sampled_from(["", "why"]),
)


@pytest.mark.thorough
@given(st.lists(st.tuples(st.sampled_from([column.evaluation for column in columns()]), scores), max_size=9))
def test_no_scores_leave_a_cell_blank(drawn: list[tuple[str, Score]]) -> None:
    found = [row for k, (name, score) in enumerate(drawn) for row in rows(name, score, seed=k)]
    for each in (judge(column, found) for column in columns()):
        assert each.word
        assert each.value is not None or each.reason
        assert each.value is None or each.value == each.value
