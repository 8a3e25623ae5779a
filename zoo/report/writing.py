"""The files of a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.files import write_text
from zoo.report import latex, markdown, page, paired, tables
from zoo.report.study import FILE, Study
from zoo.scores import COLUMNS


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write the files of a report.

    They are ``index.html``, ``report.md``, ``table1.csv``, ``table1.tex``, ``scores.csv``, ``paired.csv`` and
    ``scores.json``. All are rendered before the first is written, and each is written atomically. They are drawn from the content of
    ``scores.json``, so redrawing the loaded study gives the same files.

    Returns:
        The paths.
    """
    stored = Study.parse(study.json(), FILE)
    files = {
        "index.html": page.render(stored),
        "report.md": markdown.render(stored),
        "table1.csv": _csv(tables.wide_header(), tables.wide(stored)),
        "table1.tex": latex.render(stored),
        "scores.csv": _csv(COLUMNS, stored.scores),
        "paired.csv": _csv(paired.COLUMNS, [{"suite": stored.suite} | row for row in stored.paired]),
        FILE: stored.json(),
    }
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
