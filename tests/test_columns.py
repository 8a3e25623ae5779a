"""A column from a person's own file, and wrong declarations."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from make_believe import study
from typer.testing import CliRunner

from zoo import ZooError, column
from zoo.cli.app import app
from zoo.pairs.plugins import load_families
from zoo.report import tables
from zoo.report.verdicts import Pooled, Verdict, columns
from zoo.report.writing import write_report

EXAMPLE = Path(__file__).parent.parent / "zoo/cli/templates/my_column.py"
PLAIN: dict[str, Any] = {"title": "Mine", "evaluation": "sampling", "metric": "c2st", "rule": "good, always."}


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table1.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.thorough
def test_the_example_file_adds_its_column_to_every_format(tmp_path: Path) -> None:
    write_report(study(), tmp_path / "before")
    load_families([EXAMPLE])
    write_report(study(), tmp_path / "after")
    before, after = table(tmp_path / "before"), table(tmp_path / "after")
    assert [{key: cell for key, cell in row.items() if not key.startswith("my-column")} for row in after] == before
    for row in after:
        assert row["my-column"] == ("real" if float(row["my-column_value"]) <= 0.75 else "artificial")
        assert row["my-column_literature"] == {"implicit": "real", "prescribed": "artificial"}.get(row["group"], "")
        differs = row["my-column_literature"] not in ("", row["my-column"])
        assert row["my-column_disagrees"] == ("yes" if differs else "no")
    for name in ("index.html", "report.md"):
        source = (tmp_path / "after" / name).read_text()
        assert "My column" in source
        assert "right in at most 75% of cases" in source
    source = (tmp_path / "after" / "table1.tex").read_text()
    shares = re.findall(r"([\d.]+)\\linewidth", source.partition("toprule")[0])
    shown = tables.leading(tables.members(study(), "digits"))
    assert "my-column" in [each.name for each in shown]
    assert len(shares) == 2 * (1 + len(shown)), "a width and a gap for each column, and for the families"
    assert sum(map(float, shares)) == pytest.approx(1.0, abs=0.01)


@pytest.mark.thorough
def test_a_report_is_redrawn_with_a_column_of_ones_own(tmp_path: Path) -> None:
    study(seeds=1).save(tmp_path / "table1")
    done = CliRunner().invoke(app, ["report", "table1", "--reports", str(tmp_path), "--with", str(EXAMPLE)])
    assert done.exit_code == 0, done.output
    assert {row["my-column"] for row in table(tmp_path / "table1")} <= {"real", "artificial"}


@pytest.mark.parametrize("answer", [lambda score, rows: 1 / 0, lambda score, rows: "good"])
def test_a_broken_judge_fails_its_own_cells_only(tmp_path: Path, answer: Any) -> None:
    column("mine", **PLAIN)(answer)
    write_report(study(seeds=1), tmp_path)
    found = table(tmp_path)
    assert {row["mine"] for row in found} == {"failed"}
    assert all(row["mine_reason"] for row in found)
    assert {row["sampling"] for row in found} == {"fast", "slow"}


@pytest.mark.parametrize("name", ["family", "two words", "x_y", "training"])
def test_a_name_that_would_clash_is_refused(name: str) -> None:
    with pytest.raises(ZooError, match=name):
        column(name, **PLAIN)(good)


def test_literature_on_an_unknown_group_is_refused() -> None:
    with pytest.raises(ZooError, match="prescribd"):
        column("mine", **PLAIN, literature={"prescribd": "good"})


def test_columns_stand_by_place_then_by_name() -> None:
    for name, place in (("zebra", 3), ("last", 100), ("ant", 3)):
        column(name, **PLAIN, place=place)(good)
    names = [each.name for each in columns()]
    wanted = "training likelihood within ant sampling zebra lossy lossless novelty coverage calibration last"
    assert names == wanted.split()


@pytest.mark.thorough
def test_an_optional_column_is_apart_and_says_how_to_measure(tmp_path: Path) -> None:
    column("mine", **PLAIN, optional=True)(good)
    column("unasked", **PLAIN | {"title": "Unasked", "evaluation": "toy_kl"}, optional=True)(good)
    write_report(study(seeds=1), tmp_path)
    [row] = [row for row in table(tmp_path) if (row["family"], row["guide"]) == ("vae", "iaf")]
    assert (row["mine"], row["unasked"]) == ("good", "not measured")
    assert row["unasked_reason"] == "zoo evaluate vae+iaf -e toy_kl"
    page, markdown, tex = ((tmp_path / name).read_text() for name in ("index.html", "report.md", "table1.tex"))
    first, folded = page.partition('<details class="more columns">')[::2]
    folded = folded.partition("</details>")[0]
    assert ">Mine</th>" in folded
    assert "zoo evaluate vae+iaf -e toy_kl" in folded
    for text in (first, markdown.partition("### More columns")[0], tex.partition(r"\end{table}")[0]):
        assert "Mine" not in text
    assert "Mine" in markdown.partition("### Likelihood")[0]
    assert "Mine" in tex
    assert "Unasked" not in markdown.partition("## Rules")[0] + tex, "no column without an answer"


def good(score: Pooled, rows: Any) -> Verdict:
    """Is it good?"""
    return score.verdict("good")
