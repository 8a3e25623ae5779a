"""Obtained against published: rows read from TOML, verdicts, records, and the page that is drawn from them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command import zoo as command
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import ZooError
from zoo.event import Event
from zoo.experiments.claims import ClaimRow, load_claims
from zoo.experiments.reproduce import attempts, read_record, record_path, write_record
from zoo.pairs.build import build
from zoo.pairs.registry import evaluations
from zoo.report.reproduced import markdown, page
from zoo.report.reproduction import Attempt, Obtained, OneRun, judge
from zoo.training.recipe import Recipe

DOCS = Path(__file__).parent.parent / "docs"
PUBLISHED = {"value": 90.0, "kind": "lower bound", "particles": 16, "seen": 1000, "source": "made up", "read": True}
ROW: dict[str, Any] = {
    "title": "pPCA",
    "paper": "Nobody 2020",
    "setting": "digits",
    "published": PUBLISHED,
    "model": "ppca",
    "data": "digits",
    "seeds": [0, 1],
    "particles": 16,
    "budget": "none",
    "recipe": {"steps": 3, "checkpoints": 1},
}
TOML = """
[{name}]
title = "pPCA"
paper = "Nobody 2020"
setting = "digits"
published = {{ value = {value}, kind = "exact", source = "made up", read = false }}
model = "{model}"
data = "{data}"
seeds = [0, 1]
particles = 4
budget = "three steps"
recipe = {{ steps = 3, checkpoints = 1 }}
"""


EVENTS = {
    "mnist-static": Event((28, 28), "binary"),
    "mnist-dynamic": Event((28, 28), "binary"),
    "mnist": Event((28, 28), 256),
    "bsds300": Event(63, "real"),
}
"""What the data of the zoo's rows are."""
SCORES = [{"metric": "nats", "seed": 0, "value": 80.0, "kind": "lower bound", "reason": "a remark"}]
UNMEASURED = {"metric": "likelihood", "seed": 7, "value": None, "kind": "", "reason": "its process was killed"}
"""What a suite says of a run without scores."""


def claimed(**changes: Any) -> ClaimRow:
    return ClaimRow(**ROW | changes)


def obtained(values: Sequence[float | None], **changes: Any) -> Obtained:
    """A record with one score for each seed; ``None`` is one that failed."""
    scores = [
        {"metric": "nats", "seed": n, "value": each, "kind": "lower bound", "reason": "" if each else "it diverged"}
        for n, each in enumerate(values)
    ]
    run = OneRun(seed=0, folder="digits/ppca/seed0-1", steps=5, batch=20, hours=0.1)
    known: dict[str, Any] = {"row": "made-up", "digest": claimed().digest, "command": "zoo reproduce made-up"}
    known |= {"status": "ok", "config": "ppca", "particles": 16, "scores": scores, "runs": [run]}
    return Obtained(**known | changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "titel: Extra inputs are not permitted, got 'x'; a row has title, paper"),
        ({"model": None}, "model: Field required$"),
        ({"seeds": []}, "seeds: List should have at least 1 item"),
        ({"seeds": [1, 1]}, "seeds: .*each seed is named once"),
        ({"tolerance": 1.5}, "tolerance: Input should be less than 1, got 1.5"),
        ({"published": {"value": "many"}}, "published.value: Input should be a valid number.*, got 'many'"),
        ({"published": PUBLISHED | {"kind": "guess"}}, "published.kind: Input should be 'exact', .*got 'guess'"),
        ({"published": PUBLISHED | {"unit": "bits"}}, "published.unit: Input should be 'nats' or 'bits/dim'"),
    ],
)
def test_a_wrong_entry_says_what_was_expected(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {name: value for name, value in (ROW | change).items() if value is not None}
    (tmp_path / "mine.toml").write_text("[made-up]\n" + "\n".join(f"{n} = {toml(v)}" for n, v in row.items()))
    with pytest.raises(ZooError, match=message):
        load_claims(tmp_path / "mine.toml")


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[a", "are not TOML"), ("", "each row is a table, such as .* got nothing"), ("a = 1", "got a")],
)
def test_a_file_that_holds_no_rows_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ZooError, match=message):
        load_claims(tmp_path / "mine.toml")
    with pytest.raises(ZooError, match="cannot be read"):
        load_claims(tmp_path / "other.toml")


@given(st.floats(-500, 500).filter(lambda value: abs(value) > 1), st.floats(-0.05, 0.05), st.floats(0.001, 0.04))
def test_reproduced_is_within_the_tolerance_or_better(value: float, off: float, tolerance: float) -> None:
    row = claimed(published=PUBLISHED | {"value": value}, tolerance=tolerance)
    found = judge(Attempt("made-up", row, obtained([value + off * abs(value)])))
    if abs(off - tolerance) > 1e-9:
        assert found.word == ("reproduced" if off < tolerance else "short")
    assert found.mean == value + off * abs(value)
    assert any("published" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("attempt", "word", "remark"),
    [
        (Attempt("a", claimed(), reason="no record"), "not run", "no record"),
        (Attempt("a", claimed(), obtained([], status="not run", reason="no data")), "not run", "no data"),
        (Attempt("a", claimed(), obtained([], status="failed", reason="it broke")), "failed", "it broke"),
        (Attempt("a", claimed(), obtained([None])), "failed", "seed 0: it diverged"),
        (Attempt("a", claimed(), obtained([])), "failed", "no score"),
        (
            Attempt("a", claimed(), obtained([80.0], scores=[*SCORES, UNMEASURED])),
            "short",
            "seed 7: its process was killed",
        ),
        (Attempt("a", claimed(), obtained([80.0], scores=[UNMEASURED])), "failed", "seed 7: its process was killed"),
        (Attempt("a", claimed(), obtained([80.0, None])), "short", "seed 1: it diverged"),
        (Attempt("a", claimed(), obtained([95.0])), "short", "5.000 nats worse than published, 5.6 %: short of it"),
        (Attempt("a", claimed(), obtained([80.0])), "reproduced", "10.00 nats better than published"),
        (
            Attempt("a", claimed(), obtained([80.0])),
            "reproduced",
            "budget: 10 % of the published training",
        ),
        (
            Attempt("a", claimed(), obtained([80.0], particles=4)),
            "reproduced",
            "a bound of 4 particles here, of 16 there",
        ),
        (
            Attempt("a", claimed(published=PUBLISHED | {"kind": "exact"}), obtained([80.0])),
            "reproduced",
            "a bound here, an",
        ),
        (Attempt("a", claimed(differs=["own data"]), obtained([80.0])), "reproduced", "own data"),
    ],
)
def test_a_verdict_is_never_silent(attempt: Attempt, word: str, remark: str) -> None:
    found = judge(attempt)
    assert found.word == word
    assert any(each.startswith(remark) for each in found.remarks)
    for written in (markdown([attempt]), page([attempt])):
        assert word in written
    assert remark in page([attempt])


def test_seeds_are_shown_with_their_deviation() -> None:
    assert judge(Attempt("a", claimed(), obtained([80.0, 82.0]))).obtained == "81.00 (sd 1.4, 2 seeds)"
    assert judge(Attempt("a", claimed(), obtained([80.0]))).obtained == "80.00 (one seed)"
    assert judge(Attempt("a", claimed())).obtained == "–"


def test_a_record_of_other_settings_does_not_count(tmp_path: Path) -> None:
    write_record(tmp_path, obtained([80.0]))
    assert judge(*attempts({"made-up": claimed()}, tmp_path)).word == "reproduced"
    assert judge(*attempts({"made-up": claimed(title="in other words")}, tmp_path)).word == "reproduced"
    (changed,) = attempts({"made-up": claimed(seeds=[7])}, tmp_path)
    assert "changed after its record" in changed.reason
    assert judge(changed).word == "not run"


def test_a_record_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path, obtained([80.0]))
    assert read_record(path) == obtained([80.0])
    path.write_text(path.read_text().replace("80.0", "70.0"))
    with pytest.raises(ZooError, match=r"changed after it was written.*zoo reproduce made-up"):
        read_record(path)


def test_a_number_outlives_a_machine_without_the_data(tmp_path: Path) -> None:
    write_record(tmp_path, obtained([80.0]))
    write_record(tmp_path, obtained([], status="not run", reason="no data"))
    assert read_record(record_path(tmp_path, "made-up")).status == "ok"


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit's log files
def test_the_command_runs_what_is_missing_and_resumes_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [("near", 1000.0, "ppca", "digits"), ("far", 1.0, "independent", "digits"), ("gone", 1.0, "ppca", "nowhere")]
    text = "".join(TOML.format(name=n, value=v, model=m, data=d) for n, v, m, d in rows)
    Path("mine.toml").write_text(text.replace("steps = 3, checkpoints = 1 }\n\n[gone]", "steps = 0 }\n\n[gone]"))
    words = ["reproduce", "--rows", "mine.toml", "--quiet", "--workers", 1]
    command(*words, "near", "--executor", "submitit", "--executor-option", "cluster=debug")
    assert [path.stem for path in Path("docs/records").iterdir()] == ["near"]
    written = Path("docs/records/near.json").stat().st_mtime_ns
    table = json.loads(command(*words, "--json").stdout)
    assert [row["verdict"] for row in table] == ["reproduced", "short", "not run"]
    assert Path("docs/records/near.json").stat().st_mtime_ns == written
    record = read_record(Path("docs/records/near.json"))
    assert record.command == "zoo reproduce near --rows mine.toml"
    assert [run.steps for run in record.runs] == [3, 3]
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}
    again = command(*words, "near").stdout
    assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.json")}
    assert "near" in again
    assert Path("docs/reproduced.md").read_text().count("\n## ") == 3
    assert "not run" in Path("reports/reproduced/index.html").read_text()


def test_a_row_that_fails_says_so_and_ends_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(TOML.format(name="odd", value=1.0, model="pppca", data="digits"))
    said = command("reproduce", "--rows", "mine.toml", "--quiet", code=1)
    assert "1 row(s) failed" in said.output
    assert "did you mean ppca" in Path("docs/reproduced.md").read_text()
    assert (
        "there is no row 'nothing'; the rows are odd"
        in command("reproduce", "nothing", "--rows", "mine.toml", code=2).output
    )


@pytest.mark.parametrize("name", load_claims())
def test_a_row_of_the_zoo_can_be_built(name: str) -> None:
    """Its settings are known; the data themselves need not be here."""
    row = load_claims()[name]
    pair = build(row.model, EVENTS[row.data], row.hyper)
    assert Recipe.read(pair.recipe).updated(row.recipe).steps > 0
    assert row.evaluation in evaluations
    assert row.suite(name).names() == [row.model]


def test_the_page_on_rows_names_every_key_and_its_example_is_one(tmp_path: Path) -> None:
    text = (DOCS / "claims.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(ClaimRow.model_fields)
    [example] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.toml").write_text(example)
    assert list(load_claims(tmp_path / "mine.toml")) == ["vae-static"]


def test_the_page_agrees_with_the_records() -> None:
    """No number is typed by hand: the page is what the records give."""
    found = attempts(load_claims(), DOCS)
    assert (DOCS / "reproduced.md").read_text() == markdown(found)
    assert {path.stem for path in (DOCS / "records").glob("*.json")} <= {attempt.name for attempt in found}
