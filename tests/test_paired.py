"""Paired differences: their errors in closed form, and that a comparison's agree with its scores."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from command import zoo as run_zoo
from hypothesis import given
from hypothesis import strategies as st
from make_believe import study

from zoo import Dataset, Event, ZooError, load_data
from zoo.data.atoms import standardised
from zoo.files import read_tensors, write_tensors
from zoo.metrics.paired import difference
from zoo.report.export import named_figures
from zoo.report.paired import paired, reading
from zoo.report.study import PAIRED, Study
from zoo.report.writing import write_report
from zoo.runs.evaluation import Settings
from zoo.runs.nats import fingerprint_of_test, kept_nats
from zoo.runs.run import find_runs
from zoo.runs.stored_scores import read_scores
from zoo.scores import label

PARTICLES = 4


def test_the_error_of_a_pair_is_that_of_its_differences() -> None:
    first, second = torch.tensor([[100.0, 200.0, 300.0, 401.0]]), torch.tensor([[99.0, 198.0, 299.0, 399.0]])
    found = difference(first, second)  # 1, 2, 1, 2
    assert found.mean == pytest.approx(1.5)
    assert found.stderr_data == pytest.approx(math.sqrt(1 / 3) / 2)
    assert found.stderr_seeds is None
    assert found.low == pytest.approx(1.5 - 3.182446 * math.sqrt(1 / 12), abs=1e-5), "Student's with 3 degrees"
    assert found.n == 4


def test_two_seeds_add_the_error_of_their_spread() -> None:
    base = torch.tensor([1.0, 2.0, 3.0, 4.0])
    first = torch.stack([base + 1, base + 3])  # seeds differ by 2: variance 2, over two seeds 1
    second = torch.stack([base, base])
    found = difference(first, second)
    assert (found.mean, found.stderr_data, found.stderr_seeds) == (2.0, 0.0, 1.0)
    assert found.high == pytest.approx(2 + 12.706205, abs=1e-4), "Student's with 1 degree"
    assert difference(first, second[:1]).stderr_seeds is None


def test_equal_values_have_no_error_and_one_datum_has_none() -> None:
    same = torch.ones(2, 5)
    assert difference(same, same).low == difference(same, same).high == 0.0
    assert difference(same[:, :1], same[:, :1]).low is None


@given(st.integers(2, 4), st.integers(2, 4), st.integers(2, 9), st.integers(0, 10**6))
def test_a_difference_is_of_the_means_and_antisymmetric(k: int, m: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(rows, n, generator=generator, dtype=torch.float64) for rows in (k, m))
    found, back = difference(first, second), difference(second, first)
    assert found.mean == pytest.approx(float(first.mean() - second.mean()), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((-(back.high or 0), -(back.low or 0)))
    assert found.stderr_data is not None
    shared = torch.randn(n, generator=generator, dtype=torch.float64) * 100
    moved = difference(first + shared, second + shared)
    assert moved.stderr_data == pytest.approx(found.stderr_data, abs=1e-9), "what data share cancels"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paired")
    run_zoo("compare", *arguments(folder))
    return folder


def arguments(folder: Path) -> list[Any]:
    places = ["--runs", folder / "runs", "--reports", folder / "reports"]
    places += ["--figures", "svg"]
    seeds = ["--seed", 0, "--seed", 1, "--train", "steps=3", "--particles", PARTICLES]
    return ["independent", "ppca", "vae", "--quiet", "-e", "likelihood", *places, *seeds]


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "reports/own" / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.thorough
def test_every_pair_agrees_with_the_scores(compared: Path) -> None:
    nats: dict[str, list[dict[str, str]]] = {}
    for row in rows_of(compared, "scores.csv"):
        if row["metric"] == "nats":
            nats.setdefault(label(row["family"], row["guide"]), []).append(row)
    rows = rows_of(compared, "paired.csv")
    names = [(label(row["family"], row["guide"]), label(row["than_family"], row["than_guide"])) for row in rows]
    assert sorted(map(sorted, names)) == sorted(map(sorted, combinations(nats, 2)))
    for row, (worse, better) in zip(rows, names, strict=True):
        means = [fmean(float(each["value"]) for each in nats[name]) for name in (worse, better)]
        assert float(row["difference"]) == pytest.approx(means[0] - means[1], abs=1e-9)
        assert float(row["difference"]) >= 0
        assert (row["n"], row["seeds"], row["than_seeds"], row["reason"]) == ("447", "2", "2", "")
        bounds = tuple(nats[name][0]["kind"] == "lower bound" for name in (worse, better))
        kinds = {(False, False): "exact", (True, False): "at most", (False, True): "at least"}
        assert row["kind"] == kinds.get(bounds, "of bounds")
        both = math.hypot(*(float(nats[name][0]["stderr"]) for name in (worse, better)))
        assert 0 < float(row["stderr_data"]) < both


@pytest.mark.thorough
def test_a_comparison_writes_its_figures_and_nearest_data(compared: Path) -> None:
    made = Study.load(compared / "reports/own")
    near = made.pictures["digits"]["neighbours"]
    assert set(near) == {"independent", "ppca", "vae+normal"}
    assert all(found["ratio"] > 0 and len(found["nearest"]) == found["n"] == 24 for found in near.values())
    written = {path.stem for path in (compared / "reports/own/figures").glob("*.svg")}
    assert written == set(named_figures(made))
    assert "digits-ranking" in written


@pytest.mark.thorough
def test_the_kept_nats_are_those_of_the_score(compared: Path) -> None:
    settings, data = Settings(particles=PARTICLES), load_data("digits")
    for run in find_runs(compared / "runs"):
        score = next(each for each in read_scores(run, "likelihood", settings) or [] if each.metric == "nats")
        kept = kept_nats(run, data, settings, score)
        assert kept.of == "p(x)"
        assert float(kept.values.std() / math.sqrt(len(kept.values))) == pytest.approx(score.stderr)


@pytest.mark.thorough
def test_nats_of_other_data_settings_or_scores_are_refused(compared: Path) -> None:
    settings, data = Settings(particles=PARTICLES), load_data("digits")
    [run, *_] = find_runs(compared / "runs", "ppca")
    score = next(each for each in read_scores(run, "likelihood", settings) or [] if each.metric == "nats")
    turned = data.map(lambda split: split.flip(0))
    for other, asked in ((turned, settings), (data, Settings(particles=5))):
        with pytest.raises(ZooError, match=r"other test data or other settings; delete .*likelihood\.json"):
            kept_nats(run, other, asked, score)
    path = run.folder / "nats.safetensors"
    tensors, note = read_tensors(path)
    try:
        write_tensors(path, {"nats": tensors["nats"] + 1e-3}, note)
        with pytest.raises(ZooError, match="its score is"):
            kept_nats(run, data, settings, score)
        path.unlink()
        run_zoo("compare", *arguments(compared))
        reasons = {row["reason"] for row in rows_of(compared, "paired.csv") if "ppca" in row.values()}
        assert len(reasons) == 1
        assert "measured before the nats of each datum were kept" in reasons.pop()
        assert "measured before" in (compared / "reports/own/index.html").read_text()
    finally:
        write_tensors(path, tensors, note)


def test_test_data_are_the_same_in_any_arrangement_and_units() -> None:
    digits = load_data("digits")
    assert fingerprint_of_test(digits.reshaped(Event.parse("64:17"))) == fingerprint_of_test(digits)
    assert fingerprint_of_test(digits.map(lambda split: split.flip(0))) != fingerprint_of_test(digits)
    rows = 5 + 3 * torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    raw = Dataset("rows", Event(2, "real"), rows[:40], rows[40:50], rows[50:], "made up")
    scaled = standardised(raw)
    assert not torch.equal(scaled.test, raw.test)
    assert fingerprint_of_test(scaled) == fingerprint_of_test(raw)


def pairs(*rows: tuple[str, str, float, float, str]) -> Iterator[dict[str, Any]]:
    for worse, better, mean, error, kind in rows:
        row: dict[str, Any] = dict.fromkeys(PAIRED) | {"dataset": "digits", "family": worse, "than_family": better}
        row |= {"guide": "", "than_guide": "", "difference": mean, "stderr_data": error, "stderr_seeds": None}
        yield row | {"low": mean - 2 * error, "high": mean + 2 * error, "kind": kind, "n": 447, "reason": ""}


ROWS = [
    ("b", "a", 1.0, 0.1, "exact"),
    ("c", "a", 0.1, 0.1, "exact"),
    ("d", "a", 2.0, 0.1, "at most"),
    ("b", "c", 0.9, 0.1, "exact"),
    ("d", "c", 1.9, 0.1, "at most"),
    ("d", "b", 1.0, 0.1, "at most"),
]


def test_a_bound_alone_calls_no_family_worse() -> None:
    words = {row["kind"]: reading(row) for row in pairs(*((f"{k}", "a", 1.0, 0.1, k) for k in KINDS))}
    assert words == KINDS
    assert {reading(row) for row in pairs(*(("b", "a", 0.1, 0.1, kind) for kind in KINDS))} == {"not separated"}


KINDS = {"exact": "worse", "at least": "worse", "at most": "bound is worse", "of bounds": "bound is worse"}
KINDS |= {"estimate": "estimate is worse"}


@pytest.mark.thorough
def test_the_tables_are_against_the_best_and_of_every_two(tmp_path: Path) -> None:
    made = study(seeds=1)
    made.paired = list(pairs(*ROWS))
    against, matrix = paired(made, "digits")
    assert against.title == "Differences from a, the best"
    assert [name for name, _ in against.lines] == ["c", "b", "d"]
    assert [cells[-1] for _, cells in against.lines] == ["not separated", "worse", "bound is worse"]
    assert matrix.headers == ("a", "c", "b")
    assert dict(matrix.lines) == {
        "c": ("≈ 0.1 ± 0.2", "", ""),
        "b": ("1.0 ± 0.2", "0.9 ± 0.2", ""),
        "d": ("≤ 2.0 ± 0.2", "≤ 1.9 ± 0.2", "≤ 1.0 ± 0.2"),
    }
    write_report(made, tmp_path)
    for name in ("index.html", "report.md"):
        source = (tmp_path / name).read_text()
        assert "Differences from a, the best" in source
        assert "≤ 1.9 ± 0.2" in source
    with (tmp_path / "paired.csv").open(newline="") as file:
        assert [float(row["difference"]) for row in csv.DictReader(file)] == [row[2] for row in ROWS]


@pytest.mark.thorough
def test_a_study_from_before_has_no_pairs_and_still_loads(tmp_path: Path) -> None:
    old = json.loads(study(seeds=1).json())
    del old["paired"]
    (tmp_path / "scores.json").write_text(json.dumps(old))
    loaded = Study.load(tmp_path)
    assert loaded.paired == []
    write_report(loaded, tmp_path)
    assert "Differences from" not in (tmp_path / "index.html").read_text()


def test_a_pair_without_its_columns_is_named(tmp_path: Path) -> None:
    broken = json.loads(study(seeds=1).json()) | {"paired": [{"difference": 1}]}
    (tmp_path / "scores.json").write_text(json.dumps(broken))
    with pytest.raises(ZooError, match="a paired difference has the keys"):
        Study.load(tmp_path)
