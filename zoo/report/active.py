"""The report of active learning: means over seeds, paired differences, and learning curves."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from zoo.errors import ZooError
from zoo.files import write_text
from zoo.report import text
from zoo.report.figures.active import Curve, learning_curves

CONFIDENCE = 0.95
AGAINST = "random"
"""The way that a page compares the others with."""
FILES = ("active.csv", "active.md", "active.svg")


@dataclass(frozen=True)
class Answered:
    """One round of one way of asking with one seed: a row of ``active.csv``.

    Attributes:
        ask: the acquisition; in round 0 the first data are drawn at random.
        labels: how many labels are known in this round.
        accuracy: of the classifier trained on them, on the test data.
        stderr: its standard error over the test data.
        asked: how many labels were asked for in this round.
        outliers: how many of these were of outliers.
        pool_outliers: how many outliers the whole pool has.
    """

    ask: str
    seed: int
    round: int
    labels: int
    accuracy: float
    stderr: float
    asked: int
    outliers: int
    pool_outliers: int


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; the ends are NaN for a single number."""

    mean: float
    low: float
    high: float


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of independent numbers, and Student's interval: mean +- t s / sqrt(n), of n - 1 degrees of freedom.

    Example:
        >>> t_interval([1.0, 2.0, 3.0])
        Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half)


def write_active(rows: Sequence[Answered], against: str, facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``active.csv`` (a line for each round), ``active.md`` (tables) and ``active.svg`` (curves).

    Args:
        rows: of every way of asking with the same seeds and rounds.
        against: the way that the others are compared with; no differences if it is not among them.
        facts: how the numbers were made, by name.
        folder: where the files go.

    Returns:
        The paths.
    """
    style = resources.files("zoo.report").joinpath("page.css").read_text()
    files = dict(zip(FILES, (_csv(rows), _markdown(rows, against, facts), figure(rows, against, style)), strict=True))
    for name, content in files.items():
        write_text(folder / name, content)
    return [folder / name for name in files]


class Curves:
    """The rows as arrays: for each way of asking, accuracies of shape ``(seeds, rounds + 1)``."""

    def __init__(self, rows: Sequence[Answered], against: str) -> None:
        self.labels = sorted({row.labels for row in rows})
        self.seeds = sorted({row.seed for row in rows})
        found = {(row.ask, row.seed, row.labels): row for row in rows}
        self.ways = list(dict.fromkeys(row.ask for row in rows))
        self.against = against if against in self.ways else ""
        self.accuracy = {
            way: np.array([[found[way, seed, n].accuracy for n in self.labels] for seed in self.seeds])
            for way in self.ways
        }
        self.outliers = {
            way: float(np.mean([sum(found[way, seed, n].outliers for n in self.labels[1:]) for seed in self.seeds]))
            for way in self.ways
        }
        self.asked = self.labels[-1] - self.labels[0]
        self.pool_outliers = rows[0].pool_outliers

    def mean(self, way: str, place: int) -> Interval:
        """Accuracy after the round at ``place``, over seeds."""
        return t_interval(self.accuracy[way][:, place].tolist())

    def difference(self, way: str, place: int) -> Interval:
        """Accuracy less that of ``against`` with the same seed, over seeds."""
        return t_interval((self.accuracy[way] - self.accuracy[self.against])[:, place].tolist())

    def area(self, way: str) -> Interval:
        """The `difference` of the mean over all rounds but the first, which all ways share."""
        return t_interval((self.accuracy[way] - self.accuracy[self.against])[:, 1:].mean(1).tolist())


def table(rows: Sequence[Answered], against: str) -> tuple[list[str], list[list[str]]]:
    """Headers, and a line for each way of asking: the last round in per cent, differences in percentage points."""
    curves = Curves(rows, against)
    several, last = len(curves.seeds) > 1, len(curves.labels) - 1
    headers = ["ask", f"accuracy at {curves.labels[-1]:,} labels, %"]
    if curves.against:
        headers += [f"less {against}, points", f"less {against}, mean over rounds"]
    if curves.pool_outliers:
        headers += ["outliers among those asked for, %", f"of the {curves.pool_outliers:,} in the pool, %"]
    lines = []
    for way in curves.ways:
        cells = [way, _interval(curves.mean(way, last), several, "")]
        if curves.against:
            both = (curves.difference(way, last), curves.area(way))
            cells += ["" if way == against else _interval(each, several, "+") for each in both]
        if curves.pool_outliers:
            cells += [f"{100 * curves.outliers[way] / n:.1f}" for n in (curves.asked, curves.pool_outliers)]
        lines.append(cells)
    return headers, lines


def note_on(rows: Sequence[Answered]) -> str:
    """What the intervals in a table are."""
    seeds = len({row.seed for row in rows})
    if seeds < 2:
        return "One seed, so there are no intervals."
    return (
        f"In brackets: {CONFIDENCE:.0%} intervals of the mean over {seeds} seeds by Student's t. "
        "Differences are taken seed by seed; no interval is widened for the number of comparisons."
    )


def _interval(found: Interval, several: bool, sign: str) -> str:
    shown = f"{100 * found.mean:{sign}.2f}"
    shown += f" [{100 * found.low:{sign}.2f}, {100 * found.high:{sign}.2f}]" if several else ""
    return shown.replace("-", "−")


def _csv(rows: Sequence[Answered]) -> str:
    written = io.StringIO()
    writer = csv.DictWriter(written, [field.name for field in fields(Answered)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return written.getvalue()


def _markdown(rows: Sequence[Answered], against: str, facts: Mapping[str, Any]) -> str:
    curves = Curves(rows, against)
    headers, lines = table(rows, against)
    by_labels = [
        [f"{n:,}", *(f"{100 * curves.mean(way, place).mean:.2f}" for way in curves.ways)]
        for place, n in enumerate(curves.labels)
    ]
    parts = ["# Active learning", note_on(rows), _table(headers, lines)]
    parts += ["## Mean accuracy by number of labels, %", _table(["labels", *curves.ways], by_labels)]
    parts += [
        "## How",
        "\n".join(f"- {text.markdown(name)}: {text.markdown(str(fact))}" for name, fact in facts.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(text.markdown, line))} |" for line in lines)


def read_active(folder: Path) -> list[Answered]:
    """The rows of ``active.csv`` in a folder; none if there is no such file.

    Raises:
        ZooError: it is not what `write_active` writes.
    """
    path, names = folder / FILES[0], [field.name for field in fields(Answered)]
    if not path.is_file():
        return []
    try:
        found = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        rows = [Answered(row["ask"], **{name: _READ.get(name, int)(row[name]) for name in names[1:]}) for row in found]
        if not rows or list(found.fieldnames or ()) != names:
            raise ValueError(f"expected the columns {', '.join(names)} and a row for each round")
        Curves(rows, "")
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise ZooError(f"{path} is damaged ({error}); write it again by zoo active, or delete it") from error
    return rows


_READ: dict[str, Callable[[str], Any]] = {"accuracy": float, "stderr": float}


def figure(rows: Sequence[Answered], against: str, style: str = "") -> str:
    """Accuracies and paired differences by number of labels; with a style sheet it stands alone."""
    curves = Curves(rows, against)
    places = range(len(curves.labels))
    drawn = []
    for way in curves.ways:
        gaps = [curves.difference(way, place) for place in places] if curves.against else []
        ends = [(gap.mean, gap.low, gap.high) for gap in gaps]
        drawn.append(Curve(way, [curves.mean(way, place).mean for place in places], ends))
    return learning_curves(curves.labels, drawn, curves.against, style)
