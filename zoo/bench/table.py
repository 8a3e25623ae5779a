"""Timings as tables of ratios: text for the screen, and a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo.bench.contenders import REFERENCE
from zoo.bench.measure import Timing, unit_of
from zoo.files import write_text


def write_csv(timings: Sequence[Timing], path: Path) -> None:
    """Write ``timings`` as tidy data."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Timing.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(timing) for timing in timings)
    write_text(path, text.getvalue())


@dataclass(frozen=True)
class Block:
    """Rows that are measured in one unit against one reference: a table."""

    reference: str
    unit: str
    timings: list[Timing]

    @property
    def contenders(self) -> list[str]:
        """The contenders in the order of the columns."""
        return list(dict.fromkeys(timing.contender for timing in self.timings))

    @property
    def rows(self) -> dict[str, dict[str, Timing]]:
        """Row -> contender -> timing."""
        found: dict[str, dict[str, Timing]] = {}
        for timing in self.timings:
            found.setdefault(timing.row, {})[timing.contender] = timing
        return found


def blocks(timings: Sequence[Timing]) -> list[Block]:
    """The tables that ``timings`` make."""
    found: dict[tuple[str, str], Block] = {}
    for timing in timings:
        key = REFERENCE[timing.work], unit_of(timing.work)
        found.setdefault(key, Block(*key, [])).timings.append(timing)
    return list(found.values())


def notes(timings: Sequence[Timing]) -> list[Timing]:
    """The timings that need a footnote: failed, skipped or with a remark."""
    return [timing for timing in timings if timing.reason or timing.status != "ok"]


def table(timings: Sequence[Timing]) -> str:
    """The ratios to each row's reference as text, one table per block, with the `notes` below."""
    remarks = [
        f"{timing.row}, {timing.contender}: {timing.status}{': ' * bool(timing.reason)}{timing.reason}"
        for timing in notes(timings)
    ]
    return "\n".join([*map(_written, blocks(timings)), *remarks])


def _written(block: Block) -> str:
    widths = [max(8, len(name) + 2) for name in block.contenders]
    head = "".join(f"{name:>{width}}" for name, width in zip(block.contenders, widths, strict=True))
    lines = [f"{'ratio to ' + block.reference:<20}{block.reference + ' ' + block.unit:>11}{head}"]
    for row, timings in block.rows.items():
        base = timings[block.reference].value
        cells = [cell(timings.get(name)) for name in block.contenders]
        line = "".join(f"{text:>{width}}" for text, width in zip(cells, widths, strict=True))
        lines.append(f"{row:<20}{f'{base:.2f}' if base else '-':>11}{line}")
    return "\n".join(lines)


def cell(timing: Timing | None) -> str:
    """The ratio as text, or one word for why there is none."""
    if timing is None:
        return "-"
    if timing.status != "ok":
        return timing.status
    if not timing.ratio:
        return "?"
    return f"{timing.ratio:.3f}" if timing.ratio >= 0.01 else f"{timing.ratio:.2g}"
