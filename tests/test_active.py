"""Active learning: what is read and when, resuming, pairing, and the report."""

from __future__ import annotations

import csv
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, get_type_hints
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from command import zoo as command
from scipy import stats
from torch import Tensor

import zoo
from zoo import Dataset, Event, ZooError
from zoo.data.oracle import Oracle
from zoo.event import Field
from zoo.experiments.active import ActivePlan, Asking, Pool, Way, active, data_with_labels, labelled
from zoo.files import read_json
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import acquisitions, load_shelves
from zoo.report.active import Answered, t_interval, table, write_active
from zoo.training.classifier import CLASSIFIER, classifier_recipe

load_shelves()
WAYS = [
    entry.name + ":steps=3" * ("steps" in inspect.signature(entry.make).parameters)
    for entry in acquisitions
    if entry.make.__module__.startswith("zoo.")
]
DOCS = Path(__file__).parent.parent / "docs"
SHORT = CLASSIFIER.updated({"steps": 6, "batch": 10})
CLASSES = 3


def data(y: Tensor | None = None) -> Dataset:
    """Sixty images of 4x4 pixels and their classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(5, (100, 4, 4), generator=generator).float()
    true = torch.randint(CLASSES, (100,), generator=generator).float()
    true[:60] = true[:60] if y is None else y
    event = Event.record(Field("x", (4, 4), 5), Field("y", (), CLASSES, "label"))
    train, validation, test = event.pack({"x": x, "y": true}).split([60, 20, 20])
    return Dataset("made", event, train, validation, test, "Made up.")


def plan(*ask: str, **changes: Any) -> ActivePlan:
    settings = {"start": 9, "add": 4, "rounds": 2, "seeds": (0,), "recipe": SHORT}
    return ActivePlan(ask=ask, **settings | changes)


def places(folder: Path) -> list[list[int]]:
    """Which labels were asked for in each round."""
    return [read_json(path)["places"] for path in sorted(folder.rglob("round*.json"))]


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS)
def test_no_label_is_read_before_it_is_asked_for(way: str, tmp_path: Path) -> None:
    """Other labels of data that were not asked for until round r change no number until then, nor what is asked next.

    First the classes are shifted in the data themselves; then the oracle has none to give.
    """
    true = labelled(data(), data().train)[1]
    rows = active(data(), plan(way), tmp_path / "true")
    asked = places(tmp_path / "true")
    for number in range(3):
        known = torch.tensor([*chain(*asked[: number + 1])])
        garbage = (true + 1) % CLASSES
        garbage[known] = true[known]
        again = active(data(garbage), plan(way), tmp_path / f"{number}")
        assert again[: number + 1] == rows[: number + 1]
        assert places(tmp_path / f"{number}")[: number + 2] == asked[: number + 2]

    none = torch.full_like(true, torch.nan)
    none[known] = true[known]
    pool = Pool(data().event.array, CLASSES, labelled(data(), data().train)[0], Oracle(none), torch.zeros(60) > 0)
    asking = Asking(pool, plan(way), Way.of(way), 0, tmp_path / "none", labelled(data(), data().test))
    start = torch.tensor(asked[0])
    assert asking.run(start, lambda: asking.trained(start), lambda news: None) == rows
    assert pool.oracle.asked.nonzero()[:, 0].tolist() == sorted(known.tolist())


@pytest.mark.thorough
def test_other_labels_that_were_asked_for_change_the_classifier(tmp_path: Path) -> None:
    """So the law above can fail."""
    true = labelled(data(), data().train)[1]
    long = plan("random", recipe=CLASSIFIER.updated({"steps": 60}))
    rows = [active(data(y), long, tmp_path / f"{shift}") for shift, y in enumerate((true, (true + 1) % CLASSES))]
    assert rows[0] != rows[1]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_stopped_experiment_goes_on_to_the_same_bits(stop: int, tmp_path: Path) -> None:
    """Also where a user's acquisition draws torch's global random numbers."""
    zoo.acquisition("global")(lambda query: torch.randperm(len(query.pool))[: query.count])
    both = plan("entropy", "global")
    news: list[str] = []

    def killed(line: str) -> None:
        news.append(line)
        if len(news) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        active(data(), both, tmp_path / "killed", killed)
    found = active(data(), both, tmp_path / "killed", news.append)
    whole = active(data(), both, tmp_path / "whole")
    files = [write_active(rows, "global", {}, tmp_path / f"{place}") for place, rows in enumerate((found, whole))]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len(news) == 6  # no round twice


def test_more_rounds_and_seeds_go_on_from_those_stored(tmp_path: Path) -> None:
    active(data(), plan("margin"), tmp_path)
    news: list[str] = []
    more = active(data(), plan("margin", rounds=3, seeds=(0, 1)), tmp_path, news.append)
    assert len(news) == 1 + 4
    assert more == active(data(), plan("margin", rounds=3, seeds=(0, 1)), tmp_path / "fresh")


def test_all_ways_share_first_labels_and_first_classifier(tmp_path: Path) -> None:
    rows = active(data(), plan("random", "entropy", "margin", seeds=(0, 1)), tmp_path)
    first = [replace(row, ask="") for row in rows if row.round == 0]
    assert first[:3] == [first[0]] * 3
    assert first[3:] == [first[3]] * 3
    assert [row.labels for row in rows[:3]] == [9, 13, 17]


def test_no_datum_is_asked_for_twice(tmp_path: Path) -> None:
    active(data(), plan("entropy", rounds=12), tmp_path)
    asked = [*chain(*places(tmp_path))]
    assert len(set(asked)) == len(asked) == 57


def test_outliers_are_shuffled_and_nothing_else_changes() -> None:
    x, y = labelled(data(), data().train)
    pool = Pool.of(data(), outliers=0.25, seed=3)
    assert int(pool.strange.sum()) == 15
    assert torch.equal(pool.x[~pool.strange], x[~pool.strange])
    assert torch.equal(pool.oracle.ask(torch.arange(60))[~pool.strange], y[~pool.strange].long())
    shuffled, own = pool.x[pool.strange].flatten(1), x[pool.strange].flatten(1)
    assert torch.equal(shuffled.sort(1).values, own.sort(1).values)
    assert (shuffled != own).any(1).all()


def test_outliers_asked_for_are_counted(tmp_path: Path) -> None:
    rows = active(data(), plan("random", outliers=0.25), tmp_path)
    strange = Pool.of(data(), 0.25, 0).strange
    assert [row.outliers for row in rows] == [int(strange[asked].sum()) for asked in places(tmp_path)]
    assert {row.pool_outliers for row in rows} == {15}


def test_the_oracle_gives_what_it_is_asked_for_only() -> None:
    oracle = Oracle(torch.tensor([2.0, torch.nan, 1.0]))
    assert oracle.ask(torch.tensor([2])).tolist() == [1]
    assert oracle.asked.tolist() == [False, False, True]
    with pytest.raises(ZooError, match="the oracle has no label for 1 of the data asked for"):
        oracle.ask(torch.tensor([0, 1]))
    with pytest.raises(ZooError, match="by places from 0 to 2, got -1 to 0"):
        oracle.ask(torch.tensor([0, -1]))
    assert oracle.asked.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: plan("random", rounds=20), "9 first labels and 20 rounds of 4 are 89, more than the 60 train data"),
        (lambda: plan("entrpy"), "there is no acquisition 'entrpy'; did you mean entropy"),
        (lambda: plan("low-p:famly=vae"), "acquisition 'low-p' has no setting 'famly'; it has: density, steps, partic"),
        (lambda: plan("random", "random"), "each way of asking is named once, got random, random"),
        (lambda: plan("random", outliers=1.0), "share of outliers is from 0 to below 1, got 1.0"),
        (lambda: plan("random", add=0), "one or more ways of asking, first labels, labels in a round"),
        (lambda: plan("random", kind="svm"), "the kind of a classifier is auto, cnn, mlp; got 'svm'"),
        (lambda: classifier_recipe({"particles": 3}), "a classifier has no training setting 'particles'; it has: step"),
    ],
)
def test_wrong_plans_are_refused(wrong: Callable[[], ActivePlan], message: str, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=message):
        active(data(), wrong(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_data_without_labels_are_refused(coins: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="needs data of one array and a label, such as digits:labels=all"):
        active(coins, plan("random"), tmp_path)
    with pytest.raises(ZooError, match="900 of 1000 labels of digits:labels=100 are missing, and the oracle needs all"):
        active(data_with_labels("digits:labels=100"), plan("random"), tmp_path)


def test_a_name_alone_has_all_labels() -> None:
    assert data_with_labels("digits").name == "digits:labels=all"
    assert data_with_labels("moons").name == "moons"


@pytest.mark.parametrize("found", [torch.zeros(4), torch.arange(3), torch.tensor([0, 1, 2, 51]), torch.arange(4) - 1])
def test_places_that_are_no_choice_are_refused(found: Tensor, tmp_path: Path) -> None:
    zoo.acquisition("odd")(lambda query: found)
    with pytest.raises(ZooError, match="acquisition 'odd' should return 4 different places in a pool of 51, got"):
        active(data(), plan("odd"), tmp_path)


def test_rounds_of_another_version_of_a_users_file_stay_apart(tmp_path: Path) -> None:
    file, folders = tmp_path / "mine.py", []
    for end in ("", "# changed\n"):
        file.write_text(f"import zoo\n@zoo.acquisition('own')\ndef own(query):\n    return query.lowest(0)\n{end}")
        with acquisitions.scoped():
            load_families([file])
            folders.append(Way.of("own").folder)
    assert folders[0] != folders[1]


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    a, b = np.array([0.81, 0.84, 0.80, 0.86]), np.array([0.80, 0.80, 0.81, 0.83])
    found, wanted = t_interval((a - b).tolist()), stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.mean == pytest.approx(float((a - b).mean()))
    assert math.isnan(t_interval([0.5]).low)


def rows(seeds: int = 3) -> list[Answered]:
    """Two ways; the other is 1, 2, 3 points better in the last of two rounds, and as good in the one before."""
    found = []
    for seed in range(seeds):
        for way, gap in (("random", 0.0), ("other", 0.01 * (seed + 1))):
            accuracies = (0.5, 0.6, 0.7 + gap)
            found += [
                Answered(way, seed, n, 10 + 5 * n, each, 0.01, 5, n * (way == "other"), 6)
                for n, each in enumerate(accuracies)
            ]
    return found


def test_the_table_shows_paired_differences() -> None:
    headers, lines = table(rows(), "random")
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)  # the standard deviation is one point
    assert headers[1:4] == ["accuracy at 20 labels, %", "less random, points", "less random, mean over rounds"]
    assert lines[1][2] == f"+2.00 [{2 - half:+.2f}, {2 + half:+.2f}]".replace("-", "−")
    assert lines[1][3].startswith("+1.00 [")
    assert lines[1][4:] == ["30.0", "50.0"]  # 3 of 10 asked for, 3 of 6 in the pool
    assert lines[0][2:] == ["", "", "0.0", "0.0"]


def test_one_seed_has_no_intervals_and_no_reference_no_differences() -> None:
    assert table(rows(1), "random")[1][1][:3] == ["other", "71.00", "+1.00"]
    assert len(table(rows(), "nothing")[0]) == 4


@pytest.mark.parametrize(("seeds", "against", "circles"), [(3, "random", 2), (1, "random", 2), (3, "nothing", 0)])
def test_the_figure_is_drawn(seeds: int, against: str, circles: int, tmp_path: Path) -> None:
    write_active(rows(seeds), against, {"data": "made up"}, tmp_path)
    drawn = ElementTree.parse(tmp_path / "active.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f".//{name}polyline")) == 2
    assert len(drawn.findall(f".//{name}circle")) == circles  # one for each round
    words = [each.text for each in drawn.iter(f"{name}text")]
    assert {"random", "other", "labels"} <= set(words)
    assert "nan" not in (tmp_path / "active.svg").read_text()


def test_the_command_writes_its_report_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["active", "--ask", "random,low-p:density=ppca,steps=2", "--start", 20, "--add", 5, "--rounds", 1]
    words += ["--seeds", 2, "--train", "steps=2", "--classifier", "cnn", "--outliers", 0.1, "--quiet"]
    said = command(*words).stdout
    with Path("reports/active-digits/active.csv").open() as file:
        written = list(csv.DictReader(file))
    assert {(row["ask"], row["labels"]) for row in written} == {
        (way, labels) for way in ("random", "low-p:density=ppca,steps=2") for labels in ("20", "25")
    }
    assert "in the pool, %" in said
    assert "low-p:density=ppca,steps=2" in said
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("round*.json")}
    assert command(*words).stdout == said
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("round*.json")}
    assert len(before) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ask", "entropi"], "did you mean entropy"),
        (["--start", 990], "more than the 1000 train data"),
        (["--data", "moons"], "such as digits:labels=all"),
        (["--data", "digits:labels=100"], "labels=all"),
        (["--seeds", 0], "one or more"),
        (["--name", "../up"], "the name of a report has letters"),
        (["--train", "kl_warmup=3"], "a classifier has no training setting"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    words: list[Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in command("active", *words, code=2).output


@pytest.mark.parametrize("path", sorted(DOCS.glob("active-*.csv")), ids=lambda path: path.stem)
def test_the_tables_of_the_page_are_those_of_its_rows(path: Path) -> None:
    kinds = get_type_hints(Answered)
    with path.open() as file:
        found = [Answered(**{key: kinds[key](value) for key, value in row.items()}) for row in csv.DictReader(file)]
    headers, lines = table(found, "random")
    page = (DOCS / "active.md").read_text()
    for cells in (headers, ["---"] * len(headers), *lines):
        assert f"| {' | '.join(cells)} |\n" in page
