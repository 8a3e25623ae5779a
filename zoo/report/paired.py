"""Paired differences of nats: of every family from the best one, and of every two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.report.numbers import Cell, Table
from zoo.report.study import PAIRED
from zoo.report.text import number, plus_minus
from zoo.report.verdicts import Row
from zoo.scores import label

if TYPE_CHECKING:
    from zoo.report.study import Study

COLUMNS = ("suite", *PAIRED)
"""Of ``paired.csv``."""
SIGNS = {"exact": "", "at most": "≤ ", "at least": "≥ ", "of bounds": "◁ ", "estimate": "≈ "}
KINDS = (
    "At most: the family's own value is a bound, and the true difference lies at the value or below it. At least: that "
    "of the other is one, and it lies at the value or above it. Of bounds: both are, and it may lie on either side. "
    "Estimate: the normalising constant of either is an estimate, and it may lie on either side."
)


def paired(study: Study, dataset: str) -> list[Table]:
    """The tables of a data set: differences from the best family, and between every two; none if none were measured."""
    rows = [row for row in study.paired if row["dataset"] == dataset]
    if not rows:
        return []
    worse = {_worse(row) for row in rows}
    best = next(_better(row) for row in rows if _better(row) not in worse)
    order = [best, *(_worse(row) for row in sorted((r for r in rows if _better(r) == best), key=_size))]
    return [_against(best, [row for row in rows if _better(row) == best]), _matrix(order, rows)]


def reading(row: Row) -> str:
    """What may be concluded of a difference: ``worse``, ``bound is worse``, or that the two are not separated."""
    if row["low"] is None:
        return "one datum"
    if row["low"] <= 0:
        return "not separated"
    if row["kind"] == "estimate":
        return "estimate is worse"
    return "worse" if row["kind"] in ("exact", "at least") else "bound is worse"


def _against(best: str, rows: Sequence[Row]) -> Table:
    ordered = sorted(rows, key=_size)
    n = next((f"{row['n']} " for row in ordered if row["n"]), "")
    lines, values = [], []
    for row in ordered:
        cells = _cells(row)
        lines.append((_worse(row), tuple(words for words, _ in cells)))
        values.append(tuple(value for _, value in cells))
    return Table(
        f"Differences from {best}, the best",
        f"Nats per datum of each family less those of {best}, paired over the same {n}test data, so that the interval "
        "is far narrower than the errors of both suggest. The values of several seeds are averaged for each datum. The "
        "error over data is that of the mean of these differences, the error over seeds comes from the spread of the "
        "seeds' means, and the 95 % interval counts both (Student's, with Welch's degrees of freedom). With one seed "
        f"of either, it is of these weights on other data. {KINDS}",
        ("difference, nats", "95 % interval", "error over data", "error over seeds", "kind", "reading"),
        tuple(lines),
        tuple(values),
    )


def _cells(row: Row) -> list[Cell]:
    value, data, seeds = row["difference"], row["stderr_data"], row["stderr_seeds"]
    if value is None:
        return [*[("·", value)] * 5, (row["reason"], None)]
    error = None if data is None else (data**2 + (seeds or 0.0) ** 2) ** 0.5
    interval = "·" if row["low"] is None else f"{number(row['low'], error)} to {number(row['high'], error)}"
    return [
        (plus_minus(value, error), value),
        (interval, row["low"]),
        ("·" if data is None else f"{data:.2g}", data),
        ("one seed" if seeds is None else f"{seeds:.2g}", seeds),
        (row["kind"], None),
        (reading(row), None),
    ]


def _matrix(order: Sequence[str], rows: Sequence[Row]) -> Table:
    found = {(_worse(row), _better(row)): row for row in rows}
    lines, values = [], []
    for line in order[1:]:
        pairs = [found.get((line, column)) for column in order[:-1]]
        cells = [_cell(row) if row else ("", None) for row in pairs]
        lines.append((line, tuple(words for words, _ in cells)))
        values.append(tuple(value for _, value in cells))
    return Table(
        "Differences of every two",
        "Nats per datum of the row less those of the column, which is better, with half the 95 % interval. ≈: the "
        "interval holds 0. ≤: at most, ≥: at least, ◁: of two bounds.",
        tuple(order[:-1]),
        tuple(lines),
        tuple(values),
    )


def _cell(row: Row) -> Cell:
    if row["difference"] is None or row["low"] is None:
        return "·", row["difference"]
    half = (row["high"] - row["low"]) / 2
    same = "≈ " if row["low"] <= 0 else ""
    return f"{SIGNS[row['kind']]}{same}{plus_minus(row['difference'], half)}", row["difference"]


def _size(row: Row) -> tuple[bool, float]:
    return row["difference"] is None, row["difference"] or 0.0


def _worse(row: Row) -> str:
    return label(row["family"], row["guide"])


def _better(row: Row) -> str:
    return label(row["than_family"], row["than_guide"])
