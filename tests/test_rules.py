from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.report import verdicts as rules
from zoo.scores import Score

Rows = list[dict[str, Any]]


def rows(evaluation: str, *scores: Score, seed: Any = 0) -> Rows:
    where = {"suite": "s", "family": "f", "guide": "", "group": "", "dataset": "d"}
    return [score.row(**where, seed=seed, evaluation=evaluation) for score in scores]


def stability(diverged: float, fall: float, stderr: float | None = None, n: int = 3) -> Rows:
    asked = (Score("diverged_share", diverged, n=n), Score("discrepancy_drawdown", fall, stderr=stderr, n=n))
    return rows("stability", *asked, seed="all")


def nats(*scores: Score) -> Rows:
    return [row for seed, score in enumerate(scores) for row in rows("likelihood", score, seed=seed)]


@pytest.mark.parametrize(
    ("diverged", "fall", "stderr", "word"),
    [
        (0.0, 0.0, None, "stable"),
        (0.0, rules.LARGEST_FALL_BACK, None, "stable"),
        (0.0, rules.LARGEST_FALL_BACK + 0.01, None, "unstable"),
        (0.0, rules.LARGEST_FALL_BACK + 0.01, 0.01, "stable"),
        (0.0, rules.LARGEST_FALL_BACK + 0.03, 0.01, "unstable"),
        (1 / 3, 0.0, None, "unstable"),
    ],
)
def test_training(diverged: float, fall: float, stderr: float | None, word: str) -> None:
    verdict = rules.training(stability(diverged, fall, stderr))
    assert verdict.word == word
    assert verdict.value == (diverged or fall)
    assert verdict.rule == rules.RULES["training"]


def test_what_a_good_score_remarks_is_kept() -> None:
    remark = "1 of 3 seeds crashed and are left out"
    asked = (Score("diverged_share", 0.0, n=2, reason=remark), Score("discrepancy_drawdown", 0.1))
    assert rules.training(rows("stability", *asked, seed="all")).reason == remark
    assert rules.lossy(rows("lossy", Score("verdict", 1.0, reason="slow"))).word == "yes"


def test_validation_scores_do_not_decide_training() -> None:
    worse = rows("stability", Score("drawdown", 5.0), Score("validation_spread", 50.0), seed="all")
    assert rules.training(stability(0.0, 0.1) + worse) == rules.training(stability(0.0, 0.1))


def test_a_diverged_family_is_unstable_even_if_its_discrepancy_could_not_be_had() -> None:
    lost = rows("stability", Score("diverged_share", 1.0), Score.failed("discrepancy_drawdown", "no runs"), seed="all")
    assert rules.training(lost).word == "unstable"


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["exact", "exact"], "exact"),
        (["exact", "lower bound"], "approximate"),
        (["estimate"], "approximate"),
        ([""], "approximate"),
    ],
)
def test_likelihood(kinds: list[Any], word: str) -> None:
    verdict = rules.likelihood(nats(*(Score("nats", 80.0 + k, "nats", 0.4, kind) for k, kind in enumerate(kinds))))
    assert verdict.word == word
    assert verdict.value == pytest.approx(80.0 + (len(kinds) - 1) / 2)
    assert verdict.stderr == pytest.approx(0.4)
    assert (verdict.spread is None) == (len(kinds) == 1)
    assert ("one seed" in verdict.reason) == (len(kinds) == 1)


def test_no_likelihood_is_a_verdict_with_a_reason() -> None:
    verdict = rules.likelihood(nats(Score.skipped("nats", "observes nothing")))
    assert (verdict.word, verdict.value, verdict.reason) == ("no", None, "observes nothing")


@pytest.mark.parametrize(("time", "word"), [(0.5, "fast"), (rules.LARGEST_RELATIVE_TIME, "fast"), (10.1, "slow")])
def test_sampling(time: float, word: str) -> None:
    assert rules.sampling(rows("sampling", Score("relative_time", time))).word == word


@pytest.mark.parametrize("column", ["lossy", "lossless"])
def test_compression_is_not_guessed(column: str) -> None:
    assert rules.COLUMNS[column]([]).word == "not measured yet"
    both = rows(column, Score("verdict", 1.0)) + rows(column, Score("verdict", 1.0), seed=1)
    assert rules.COLUMNS[column](both).word == "yes"
    assert rules.COLUMNS[column](both + rows(column, Score("verdict", 0.0), seed=2)).word == "poor"
    assert rules.COLUMNS[column](both + rows(column, Score.failed("verdict", "crash"), seed=2)).word == "failed"
    no = rules.COLUMNS[column](rows(column, Score.skipped("verdict", "real data")))
    assert (no.word, no.reason) == ("no", "real data")


def test_a_lossless_verdict_shows_the_bits_behind_it() -> None:
    told = rows("lossless", Score("verdict", 1.0), Score("bits_per_dim", 2.0, "bits/dim"))
    verdict = rules.lossless(told)
    assert (verdict.word, verdict.value, verdict.unit) == ("yes", 2.0, "bits/dim")


@pytest.mark.parametrize("column", ["training", "likelihood", "sampling"])
def test_what_is_missing_or_failed_is_said(column: str) -> None:
    asked = {
        "training": ("stability", ("diverged_share", "discrepancy_drawdown")),
        "likelihood": ("likelihood", ("nats",)),
        "sampling": ("sampling", ("relative_time",)),
    }
    evaluation, metrics = asked[column]
    missing = rules.COLUMNS[column]([])
    failed = rules.COLUMNS[column](
        rows(evaluation, *(Score.failed(metric, "diverged at step 7") for metric in metrics))
    )
    broken = rules.COLUMNS[column](rows(evaluation, *(Score(metric, float("nan")) for metric in metrics)))
    assert missing.word == "not measured"
    assert missing.reason
    assert (failed.word, failed.reason) == ("failed", "diverged at step 7")
    assert (broken.word, broken.reason) == ("failed", "not a finite number")


def test_a_failed_seed_is_counted_beside_the_others() -> None:
    verdict = rules.likelihood(nats(Score("nats", 80.0, kind="exact"), Score.failed("nats", "out of memory")))
    assert verdict.word == "exact"
    assert verdict.value == 80.0
    assert verdict.reason == "1 of 2 seeds failed: out of memory"


def test_disagreement() -> None:
    fast, slow, failed = rules.Verdict("fast"), rules.Verdict("slow"), rules.Verdict("failed")
    assert rules.disagrees(fast, "autoregressive", "sampling")
    assert not rules.disagrees(fast, "flow", "sampling")
    assert not rules.disagrees(slow, "flow", "sampling")
    assert not rules.disagrees(failed, "implicit", "sampling")
    assert not rules.disagrees(fast, "", "sampling")
    assert not rules.disagrees(rules.Verdict("not measured yet"), "prescribed", "lossy")


def test_every_column_has_its_rule_and_its_literature() -> None:
    assert set(rules.RULES) == set(rules.COLUMNS)
    assert all(set(said) == set(rules.COLUMNS) for said in rules.LITERATURE.values())
    assert f"{rules.LARGEST_FALL_BACK:.0%}" in rules.RULES["training"]
    assert f"{rules.LARGEST_RELATIVE_TIME:g} times" in rules.RULES["sampling"]


scores = st.builds(
    Score,
    metric=st.sampled_from(["nats", "relative_time", "diverged_share", "discrepancy_drawdown", "verdict"]),
    value=st.none() | st.floats(),
    stderr=st.none() | st.floats(),
    kind=st.sampled_from(["exact", "lower bound", "estimate", ""]),
    n=st.none() | st.integers(0, 9),
    status=st.sampled_from(["ok", "skipped", "failed"]),
    reason=st.sampled_from(["", "why"]),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["stability", "likelihood", "sampling", "lossy", "lossless"]), scores), max_size=9
    )
)
def test_no_scores_whatever_leave_a_cell_blank(asked: list[tuple[str, Score]]) -> None:
    found = rules.verdicts([row for k, (name, score) in enumerate(asked) for row in rows(name, score, seed=k)])
    assert list(found) == list(rules.COLUMNS)
    for verdict in found.values():
        assert verdict.word
        assert verdict.value is not None or verdict.reason
        assert verdict.value is None or verdict.value == verdict.value
