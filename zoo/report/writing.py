"""The files of a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.files import write_bytes, write_text
from zoo.report import export, latex, markdown, page, paired, tables
from zoo.report.active import read_active
from zoo.report.study import FILE, Study
from zoo.scores import COLUMNS

USE = "use.html"
FIGURES = "figures"
"""The folder of the figures in that of a report."""


def write_report(study: Study, folder: Path, formats: Sequence[str] = ()) -> list[Path]:
    """Write the files of a report.

    They are ``index.html``, ``report.md``, ``table1.csv``, ``table1.tex``, ``scores.csv``, ``paired.csv`` and
    ``scores.json``; ``use.html`` if anything is in use; with ``formats`` also each figure, in ``figures/``. All are
    rendered before the first is written, and each is written atomically. They are drawn from the content of
    ``scores.json``, so redrawing the loaded study gives the same files; active learning is drawn from the
    ``active.csv`` in the folder, if there is one.

    Args:
        study: what was measured.
        folder: of the report.
        formats: of the figures; see `zoo.report.export.formats_of`.

    Returns:
        The paths.
    """
    stored = Study.parse(study.json(), FILE)
    answered = read_active(folder)
    files = {
        "index.html": page.render(stored, answered),
        "report.md": markdown.render(stored),
        "table1.csv": _csv(tables.wide_header(), tables.wide(stored)),
        "table1.tex": latex.render(stored),
        "scores.csv": _csv(COLUMNS, stored.scores),
        "paired.csv": _csv(paired.COLUMNS, [{"suite": stored.suite} | row for row in stored.paired]),
        FILE: stored.json(),
    }
    if in_use := page.render_use(stored, answered):
        files[USE] = in_use
    else:
        (folder / USE).unlink(missing_ok=True)
    drawn = export.figure_files(stored, formats, answered)
    for name, text in files.items():
        write_text(folder / name, text)
    for name, content in drawn.items():
        write_bytes(folder / FIGURES / name, content)
    return [*(folder / name for name in files), *(folder / FIGURES / name for name in drawn)]


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
