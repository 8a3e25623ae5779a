"""The callback that writes a run's status, history and resume files."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.errors import RunError
from zoo.files import digest_of, read_tensors, write_json, write_tensors, write_text
from zoo.runs.config import RunConfig
from zoo.training.callbacks import Progress

STATUS_SECONDS = 0.5
"""The shortest time between two writes of a running run's status."""
RESUME_SECONDS = 3.0
"""The shortest time between two writes of the file that a killed run resumes from."""
HISTORY = ("step", "train", "validation", "discrepancy", "lr")
"""The columns of ``history.csv``."""
FIELDS = tuple(field.name for field in fields(Progress) if field.name not in ("tensors", "recipe"))


class RunWriter:
    """Writes a run's files while it trains."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        self.status_written = self.resume_written = -math.inf

    def resume(self) -> Progress | None:
        """The progress of an unfinished run, if there is one.

        Raises:
            RunError: the resume file is damaged or belongs to other settings.
        """
        path = self.folder / "resume.safetensors"
        if not path.exists():
            return None
        tensors, note = read_tensors(path)
        if note["digest"] != self.config.digest:
            raise RunError(f"{path} belongs to other settings ({note['digest']}); delete its folder to start over")
        return Progress(**{name: _from_json(note[name]) for name in FIELDS if name in note}, tensors=tensors)

    def on_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.status == "running" and now - self.status_written >= STATUS_SECONDS:
            self.status_written = now
            self.write_status(progress)

    def on_checkpoint(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.status == "running" and now - self.resume_written >= RESUME_SECONDS:
            self.resume_written = now
            write_text(self.folder / "history.csv", _csv(progress.history))
            note = {name: getattr(progress, name) for name in FIELDS} | {"digest": self.config.digest}
            write_tensors(self.folder / "resume.safetensors", progress.tensors, _to_json(note))

    def write_status(self, progress: Progress) -> None:
        """Write ``status.json`` and, at the end, ``history.csv``."""
        status = {name: getattr(progress, name) for name in FIELDS if name not in ("history", "stale")}
        status |= {"steps": self.config.recipe.steps, "pid": os.getpid()}
        if progress.status != "running":
            text = _csv(progress.history)
            write_text(self.folder / "history.csv", text)
            status["history_digest"] = digest_of(text)
        write_json(self.folder / "status.json", _to_json(status))


def _csv(history: list[dict[str, float]]) -> str:
    return pd.DataFrame(history, columns=list(HISTORY)).to_csv(index=False)


def _to_json(values: dict[str, Any]) -> dict[str, Any]:
    """The values with NaN and infinity as text: JSON has no such numbers."""
    return json.loads(json.dumps(values), parse_constant=lambda name: str(float(name)))


def _from_json(value: Any) -> Any:
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, list):
        return [{key: _from_json(number) for key, number in row.items()} for row in value]
    return value
