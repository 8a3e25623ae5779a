"""The table of nearest training data: do samples lie closer to the training data than test data do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.report.numbers import Cell, Table
from zoo.report.tables import Member
from zoo.report.text import number, plus_minus

if TYPE_CHECKING:
    from zoo.report.study import Study

NOTE = (
    "The mean distance of the samples that are shown to their nearest training datum, over that of test data: about 1 "
    "if samples are like new data. Well below 1 they are copies of training data, or blurred: the pictures tell these "
    "apart. Above 1 they lie off the data. Distances are Euclidean, of levels as they are and of real entries "
    "standardised; ± is a standard error over samples and test data."
)


def neighbours(study: Study, lines: Sequence[Member]) -> Table:
    """Of the families of one data set; without lines if nothing was measured."""
    shown = [(line.label, study.pictures.get(line.dataset, {}).get("neighbours", {}).get(line.label)) for line in lines]
    cells = [(label, _cells(found)) for label, found in shown if found]
    return Table(
        "Nearest training data",
        NOTE,
        ("samples ÷ test data", "samples"),
        tuple((label, tuple(words for words, _ in each)) for label, each in cells),
        tuple(tuple(value for _, value in each) for _, each in cells),
    )


def _cells(found: dict[str, float | None]) -> list[Cell]:
    ratio, n = found["ratio"], found["n"] or 0
    return [("·" if ratio is None else plus_minus(ratio, found["stderr"]), ratio), (number(n), n)]
