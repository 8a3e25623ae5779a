"""The rows of the measured table that the documentation shows, from ``docs/measured``. To refresh them:

$ make compare && .venv/bin/python docs/measured_rows.py reports/table1
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from zoo.report.text import behind
from zoo.report.verdicts import Verdict
from zoo.scores import label

STORED = Path(__file__).parent / "measured"
Row = Mapping[str, str]


def refresh(report: Path, folder: Path = STORED) -> None:
    """Copy the table of a finished comparison to ``folder``, with its command, commit and date."""
    provenance = json.loads((report / "scores.json").read_text())["provenance"]
    shutil.copyfile(report / "table1.csv", folder / f"{report.name}.csv")
    kept = {name: provenance[name] for name in ("command", "commit", "date", "processor", "torch")}
    (folder / f"{report.name}.json").write_text(json.dumps(kept, indent=2) + "\n")


def measured_rows(folder: Path = STORED) -> list[Row]:
    """The rows of every table in ``folder``, each with its provenance."""
    found: list[Row] = []
    for path in sorted(folder.glob("*.csv")):
        provenance = json.loads(path.with_suffix(".json").read_text())
        with path.open(newline="") as file:
            found += [row | provenance for row in csv.DictReader(file)]
    return found


def judged(row: Row) -> list[str]:
    """The names of a row's verdicts."""
    return [name.removesuffix("_literature") for name in row if name.endswith("_literature")]


def origin(row: Row) -> str:
    """What made a row, as Markdown."""
    return f"`{row['command']}` at commit {row['commit']}, {row['date'][:10]}"


def row_header(row: Row) -> list[str]:
    """The headings of `row_cells`."""
    return ["pair", *(name.capitalize() for name in judged(row))]


def row_cells(row: Row) -> Iterator[str]:
    """The pair, then for each verdict its word, the literature's where it differs, and the number or the reason."""
    yield f"`{label(row['family'], row['guide'])}` on {row['dataset']}"
    for name in judged(row):
        differs = f" ≠ *{row[f'{name}_literature']}*" if row[f"{name}_disagrees"] == "yes" else ""
        yield f"**{row[name]}**{differs}<br>{number(row, name) or row[f'{name}_reason']}"


def number(row: Row, name: str) -> str:
    """The number behind a verdict, with its standard error and unit; empty where there is none."""
    value, stderr = (float(text) if (text := row[f"{name}_{fact}"]) else None for fact in ("value", "stderr"))
    return behind(Verdict(row[name], value, row[f"{name}_unit"], stderr))


if __name__ == "__main__":
    refresh(Path(sys.argv[1]))
