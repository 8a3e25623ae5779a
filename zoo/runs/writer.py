"""The callback that writes a run's status, history and resume files."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.errors import RunError
from zoo.files import digest_of, read_tensors, write_json, write_tensors, write_text
from zoo.runs.config import RunConfig
from zoo.training.callbacks import Progress

WATCH_SECONDS = 0.5
"""Time between two writings of a running run's status."""
KEEP_SECONDS = 3.0
"""Time between two writings of what a killed run resumes from."""
HISTORY = ("step", "train", "validation", "discrepancy", "lr")
"""The columns of ``history.csv``."""
FIELDS = tuple(each.name for each in fields(Progress) if each.name != "tensors")


class RunWriter:
    """The callback that writes a run's files."""

    def __init__(self, folder: Path, config: RunConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.config, self.clock = folder, config, clock
        self.told = self.kept = -math.inf

    def read(self) -> Progress | None:
        """The progress of an unfinished run, if there is one."""
        path = self.folder / "resume.safetensors"
        if not path.exists():
            return None
        tensors, note = read_tensors(path)
        if note["digest"] != self.config.digest:
            raise RunError(f"{path} belongs to other settings ({note['digest']}); delete its folder to begin anew")
        return Progress(**{name: _number(note[name]) for name in FIELDS if name in note}, tensors=tensors)

    def on_progress(self, progress: Progress) -> None:
        if progress.status == "running" and self.clock() - self.told >= WATCH_SECONDS:
            self.told = self.clock()
            self.tell(progress)

    def on_checkpoint(self, progress: Progress) -> None:
        if progress.status != "running" or self.clock() - self.kept < KEEP_SECONDS:
            return
        self.kept = self.clock()
        write_text(self.folder / "history.csv", _csv(progress.history))
        note = {name: _plain(getattr(progress, name)) for name in FIELDS}
        write_tensors(self.folder / "resume.safetensors", progress.tensors, note | {"digest": self.config.digest})

    def tell(self, progress: Progress) -> None:
        """Write ``status.json`` and, at the end, ``history.csv``."""
        told = {name: _plain(getattr(progress, name)) for name in FIELDS if name not in ("history", "stale")}
        told |= {"steps": self.config.recipe.steps, "pid": os.getpid()}
        if progress.status != "running":
            text = _csv(progress.history)
            write_text(self.folder / "history.csv", text)
            told["history_digest"] = digest_of(text)
        write_json(self.folder / "status.json", told)


def _csv(history: list[dict[str, Any]]) -> str:
    return pd.DataFrame(history, columns=list(HISTORY)).to_csv(index=False)


def _plain(value: Any) -> Any:
    """JSON knows no NaN or infinity: they are written as text."""
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, list):
        return [{key: _plain(number) for key, number in row.items()} for row in value]
    return value


def _number(value: Any) -> Any:
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, list):
        return [{key: _number(number) for key, number in row.items()} for row in value]
    return value
