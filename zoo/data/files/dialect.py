"""How a ``.csv`` is written: what separates its values, which comma is decimal, and whether a line names columns."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from zoo.errors import ZooError

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 200
"""Rows by which a file is judged."""
FEW_ROWS, FEWEST_ROWS = 5, 20
"""With as few rows, a first line of even steps, or of any, that is out of the range of the others need be no header."""
SURE = 6
"""A row of as many cells is hardly 0, 1, 2, ... by chance."""
COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
"""A number with a decimal comma."""
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True)
class Dialect:
    """How the lines of a ``.csv`` are read.

    Args:
        separator: of values.
        decimal: ``.`` or ``,``.
        names: of the columns; empty for a file without a header.
        skipped: lines before the first row.
        note: what was decided where the file could mean something else.
    """

    separator: str
    decimal: str
    names: Sequence[str]
    skipped: int
    note: str = ""


def sniff(path: Path, header: str = "auto", decimal: str = "auto") -> Dialect:
    """How a file is written, by its first rows.

    A first line that is not all numbers is a header. So is one whose first cell is empty, and a line of numbers that
    count the columns evenly (0, 1, 2, ..., years, wavelengths) where they could hardly be a row: they are written
    without a point among numbers with one, or are out of the range of the other rows.

    Args:
        path: the file.
        header: ``yes``, ``no`` or ``auto``.
        decimal: ``point``, ``comma`` or ``auto``.

    Raises:
        ZooError: an unknown setting, an empty file, or one that may be read in two ways.
    """
    for name, value, known in (("header", header, ("yes", "no")), ("decimal", decimal, ("point", "comma"))):
        if value not in (*known, "auto"):
            raise ZooError(f"{path}: {name} is {known[0]} or {known[1]}, got {value!r}")
    blank, lines = _first_lines(path)
    if not lines:
        raise ZooError(f"{path} is empty: it has no line with a value")
    separator, point = _separator(path, lines, decimal)
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    numbers = [[_number(cell, point) for cell in row] for row in rows]
    kind, note = _header(rows, numbers, header)
    names = [cell.lstrip("# ") if place == 0 else cell for place, cell in enumerate(rows[0])] if kind else []
    notes = [note]
    if separator != "," and len(rows[0]) > 1:
        notes.append(f"values are separated by {'tabs' if separator == chr(9) else separator}")
    if point == ",":
        notes.append("commas are decimal ones")
    return Dialect(separator, point, names, blank + bool(kind), "; ".join(filter(None, notes)))


def is_number(cell: str) -> bool:
    """Whether Python reads a cell as a number."""
    return _number(cell, ".") is not None


def _number(cell: str, decimal: str) -> float | None:
    """The number that a cell is, if it is one; NaN for an empty cell."""
    if decimal == "," and COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        return None


def _first_lines(path: Path) -> tuple[int, list[str]]:
    """The number of empty lines at the start, and the first lines that are not."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            blank = 0
            for line in file:
                if line.strip():
                    break
                blank += 1
            else:
                return 0, []
            return blank, [each for each in (line, *islice(file, LOOKED_AT)) if each.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"cannot read {path} as values separated by commas: {error}; save it as UTF-8") from error


def _separator(path: Path, lines: Sequence[str], decimal: str) -> tuple[str, str]:
    """The separator that cuts all lines alike and leaves the most numbers, and the decimal point."""
    if len(lines) > 1 and decimal != "point" and _one_column_of_commas(path, lines, decimal):
        return "\t", _decimal(path, [line.strip().strip('"') for line in lines[1:]], decimal)
    best = (0.0, 1, ",", ".")
    for separator in SEPARATORS:
        rows = list(csv.reader(lines, delimiter=separator))
        cells = [cell.strip() for row in rows[1:] or rows for cell in row]
        numbers = sum(_number(cell, ",") is not None for cell in cells)
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            best = max(best, (numbers / len(cells), len(rows[0]), separator, _decimal(path, cells, decimal)))
    return best[2:]


def _one_column_of_commas(path: Path, lines: Sequence[str], decimal: str) -> bool:
    """Whether lines such as ``1,5`` are one number each: they are below one name, or ``decimal`` says so."""
    first, *others = (line.strip().strip('"') for line in lines)
    if not all(COMMA.fullmatch(each) for each in others):
        return False
    if not COMMA.fullmatch(first):
        return not any(separator in first for separator in SEPARATORS)
    if decimal == "auto" and not lines[0].startswith('"'):
        raise ZooError(
            f"{path}: {first!r} may be two numbers, or one with a decimal comma; say which by {path}:decimal=point or "
            f"{path}:decimal=comma"
        )
    return True


def _decimal(path: Path, cells: Sequence[str], decimal: str) -> str:
    """``,`` where some cells are numbers with a decimal comma, else ``.``."""
    if decimal != "auto":
        return {"point": ".", "comma": ","}[decimal]
    commas = [cell for cell in cells if COMMA.fullmatch(cell) or THOUSANDS.fullmatch(cell)]
    if commas and all(THOUSANDS.fullmatch(cell) for cell in commas):
        raise ZooError(
            f"{path}: the comma in {commas[0]!r} may be a decimal one, or be that of thousands; say that it is decimal "
            f"by {path}:decimal=comma, or write thousands without commas"
        )
    return "," if commas else "."


def _header(rows: Sequence[Sequence[str]], numbers: Sequence[Sequence[float | None]], header: str) -> tuple[bool, str]:
    """Whether the first row names the columns, and a note where that was not evident."""
    cells, first = rows[0], [number for number in numbers[0] if number is not None]
    if header != "auto":
        return header == "yes", ""
    if len(first) < len(cells) or len(rows) == 1:
        return len(first) < len(cells), ""
    if len(cells) > 1 and not cells[0] and all(cells[1:]):
        return True, "the numbers of the first line name the columns"
    columns = [[row[place] for row in numbers[1:] if place < len(row)] for place in range(len(cells))]
    outside = sum(_beyond(number, column) for number, column in zip(first, columns, strict=True))
    point = [
        any(mark in row[place] for row in rows[1:] if place < len(row) for mark in ".,") for place in range(len(cells))
    ]
    whole = sum(point) > len(cells) / 2 and not any(mark in cell for cell in cells for mark in ".,")
    even, many = _even(first), len(cells) >= 3
    far = many and outside == len(cells) and len(rows) > FEWEST_ROWS
    counted = len(cells) >= SURE and first == list(range(len(cells)))
    if far or (even and (whole or counted or (outside > len(cells) / 2 and len(rows) > FEW_ROWS))):
        return True, f"the numbers of the first line, {_few(cells)}, name the columns (header=no if they are a row)"
    return False, f"the first line, {_few(cells)}, is a row (header=yes if it names the columns)" if even else ""


def _even(numbers: Sequence[float]) -> bool:
    """Whether numbers grow by even steps, as those that count columns do; one or two have to be 0, or whole."""
    if len(numbers) == 1:
        return numbers[0] == 0
    steps = [right - left for left, right in pairwise(numbers)]
    if len(steps) == 1:
        return steps == [1] and numbers[0] == round(numbers[0])
    return min(steps) > 0 and max(steps) - min(steps) < 1e-6 * max(steps)


def _beyond(number: float, column: Sequence[float | None]) -> bool:
    """Whether a number is out of the range of those in a column."""
    known = [each for each in column if each is not None and not math.isnan(each)]
    return bool(known) and not min(known) <= number <= max(known)


def _few(cells: Sequence[str]) -> str:
    return ", ".join(cells[:3]) + (", ..." if len(cells) > 3 else "")
