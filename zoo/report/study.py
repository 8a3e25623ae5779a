"""The one value that a report is drawn from."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ZooError
from zoo.files import write_text
from zoo.report import latex, markdown, page, tables
from zoo.scores import COLUMNS

FILE = "scores.json"


@dataclass
class Study:
    """What a suite measured, and all that its report shows.

    ``scores`` are rows with the columns `zoo.scores.COLUMNS`. ``curves`` are rows ``{"family", "guide", "dataset",
    "seed", "step", "metric", "value"}`` whose metric is ``train`` (mean loss, nats per datum), ``validation``
    (validation score, nats per datum) or ``discrepancy`` (between samples and data); a null value is one that was not
    finite. ``pictures`` maps a data set to ``{"event": "8x8:17", "real": [...], "samples": {"family+guide": [...]}}``
    with batches as nested lists. ``provenance`` holds versions, device, command, settings, and under ``datasets`` one
    sentence on the source of each.
    """

    suite: str
    quick: bool
    provenance: dict[str, Any]
    scores: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    pictures: dict[str, dict[str, Any]]

    def save(self, folder: Path) -> Path:
        """Write ``scores.json`` (strict JSON: what is not a finite number is null) and return its path."""
        path = folder / FILE
        write_text(path, self._json())
        return path

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read what `save` wrote.

        Raises:
            ZooError: there is no such file, or it is not one that `save` wrote.
        """
        path = folder / FILE
        if not path.is_file():
            raise ZooError(f"a report is drawn from {path}, which is not there; `zoo compare` makes it")
        return cls._parse(path.read_text(encoding="utf-8"), str(path))

    def _json(self) -> str:
        parts = (f"{json.dumps(name)}: {_dumps(value)}" for name, value in asdict(self).items())
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def _parse(cls, text: str, where: str) -> Study:
        names = {field.name for field in fields(cls)}
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise ZooError(f"{where} is torn ({error}); run `zoo compare` again to write it anew") from error
        if not isinstance(value, dict) or set(value) != names:
            raise ZooError(f"{where}: expected an object with the keys {', '.join(sorted(names))}")
        if wrong := [row for row in value["scores"] if set(row) != set(COLUMNS)]:
            raise ZooError(f"{where}: a score has the columns {', '.join(COLUMNS)}; got {', '.join(wrong[0])}")
        return cls(**value)


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write ``index.html``, ``report.md``, ``table1.csv``, ``table1.tex``, ``scores.csv`` and ``scores.json``.

    All are rendered before the first is written, each is written atomically, and all are drawn from what
    ``scores.json`` holds, so that a redrawing of the loaded study gives the same files. Returns their paths.
    """
    stored = Study._parse(study._json(), FILE)
    files = {
        "index.html": page.render(stored),
        "report.md": markdown.render(stored),
        "table1.csv": _csv(tables.WIDE, tables.wide(stored)),
        "table1.tex": latex.render(stored),
        "scores.csv": _csv(COLUMNS, stored.scores),
        FILE: stored._json(),
    }
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _dumps(value: Any) -> str:
    return json.dumps(_plain(value), allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """JSON's own types: arrays as lists, and None for a float that is not finite."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
