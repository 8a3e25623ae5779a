"""A run: one family trained on one data set with one seed, as a folder.

``config.json`` (settings and provenance), ``weights.safetensors``, ``history.csv`` and ``status.json``; while it
trains also ``resume.safetensors``. The folder's name ends in a digest of the settings, so changed settings are
another run and nothing is overwritten.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import digest_of, read_json, read_tensors, write_json, write_tensors, write_text
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.plugins import load_families
from zoo.provenance import provenance
from zoo.runs.config import RunConfig
from zoo.runs.writer import HISTORY, RunWriter
from zoo.training.callbacks import Callback
from zoo.training.loop import fit

LOCK_SECONDS = 5.0
"""How long to wait for another process to let go of a run: one whose parent was killed does so within seconds."""
STATES = ("running", "finished", "diverged", "failed")


@dataclass(frozen=True)
class Run:
    """A run's folder under ``runs``."""

    folder: Path

    @classmethod
    def of(cls, config: RunConfig, runs: Path) -> Run:
        """The folder that belongs to ``config`` (made by training)."""
        place = _as_folder(Path(config.data.name).name)
        return cls(runs / place / _as_folder(config.name) / f"seed{config.seed}-{config.digest}")

    @property
    def config(self) -> RunConfig:
        """The settings.

        Raises:
            RunError: ``config.json`` is missing, damaged, or was changed after it was written.
        """
        path = self.folder / "config.json"
        try:
            config = RunConfig(**read_json(path)["config"])
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} is damaged ({error}); delete its folder to begin anew") from error
        if not self.folder.name.endswith(config.digest):
            raise RunError(f"{path} was changed after it was written; delete its folder to begin anew")
        return config

    @property
    def status(self) -> dict[str, Any]:
        """The last told status; ``{"status": "new"}`` before the first."""
        path = self.folder / "status.json"
        if not path.exists():
            return {"status": "new"}
        status = read_json(path)
        if status.get("status") not in STATES:
            raise RunError(f"{path} is damaged (it names no status); delete its folder to begin anew")
        return status

    @property
    def history(self) -> list[dict[str, float]]:
        """A row for each checkpoint: step, train, validation, discrepancy, lr."""
        path = self.folder / "history.csv"
        try:
            self._compare_history(path)
            table = pd.read_csv(path)
            return [{name: float(row[name]) for name in HISTORY} for row in table.to_dict("records")]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, OSError) as error:
            told = str(error).strip()
            raise RunError(f"{path} is damaged ({told}); delete its folder to begin anew") from error

    def _compare_history(self, path: Path) -> None:
        told = self.status.get("history_digest")
        if told and (not path.is_file() or told != digest_of(path.read_text(errors="replace"))):
            raise RunError(f"{path} is gone or was changed after it was written; delete its folder to begin anew")

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.status["status"] in ("finished", "diverged")

    def pair(self) -> Pair:
        """The trained pair, in evaluation mode.

        Raises:
            RunError: no weights, or damaged ones.
        """
        config = self.config
        weights, note = read_tensors(self.folder / "weights.safetensors")
        if note != config.digest:
            raise RunError(f"{self.folder / 'weights.safetensors'} belongs to other settings ({note})")
        load_families([Path(path) for path in config.files])
        pair = build(config.name, Event.parse(config.event), config.hyper, config.seed)
        pair.load(weights)
        return pair.train(False)

    def train(
        self,
        config: RunConfig,
        data: Dataset,
        device: str = "auto",
        callbacks: Sequence[Callback] = (),
        runs: int = 1,
    ) -> None:
        """Train what is left to train; a finished run is left alone. ``runs``: see `zoo.training.loop.fit`.

        Raises:
            RunError: files are damaged, or another process trains this run now.
            ZooError: the pair breaks the contract.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / ".lock", timeout=LOCK_SECONDS)
        try:
            with lock:
                self._train(config, data, device, callbacks, runs)
        except filelock.Timeout as error:
            raise RunError(f"another process is training {self.folder}; wait for it or stop it") from error

    def fail(self, reason: str) -> None:
        """Note that training ended without a result, and why; the next call tries again."""
        write_json(self.folder / "status.json", {"status": "failed", "reason": reason})

    def _train(self, config: RunConfig, data: Dataset, device: str, callbacks: Sequence[Callback], runs: int) -> None:
        if self.status["status"] != "new" and self.config != config:
            raise RunError(f"{self.folder} holds other settings; delete it to begin anew")
        if self.done:
            read_tensors(self.folder / "weights.safetensors")
            return
        chosen = pick_device(device)
        told = {"config": config.model_dump(mode="json"), "provenance": provenance(chosen)}
        write_json(self.folder / "config.json", told)
        try:
            pair = build(config.name, Event.parse(config.event), config.hyper, config.seed)
            book = RunWriter(self.folder, config)
            end = fit(
                pair,
                data,
                config.recipe,
                seed=config.seed,
                device=str(chosen),
                start=book.read(),
                callbacks=[book, *callbacks],
                runs=runs,
            )
        except ZooError as error:
            self.fail(str(error))
            raise
        except Exception as error:  # a family's own failure is this run's result, with its reason
            write_text(self.folder / "error.log", traceback.format_exc())
            self.fail(_first_line(error))
            raise RunError(f"{config.name} failed: {_first_line(error)} (see {self.folder}/error.log)") from error
        write_tensors(self.folder / "weights.safetensors", pair.state(), config.digest)
        book.tell(end)
        (self.folder / "resume.safetensors").unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    """What went wrong without what Pyro adds below it; the whole stands in ``error.log``."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _as_folder(name: str) -> str:
    """A name with ``_`` for what a folder's name may not hold everywhere."""
    return re.sub(r"[^\w.+*-]+", "_", name)


def find_runs(runs: Path, name: str = "*", data: str = "*") -> list[Run]:
    """The run folders under ``runs``, optionally of one family (and guide) on one data set."""
    if not re.fullmatch(r"[\w.+*:=,-]+", name):
        raise ZooError(f"a run is looked up by the name of its family, got {name!r}")
    return [Run(path.parent) for path in sorted(runs.glob(f"{data}/{_as_folder(name)}/seed*/config.json"))]


def as_json(value: Any) -> str:
    """Strict JSON for people's scripts."""
    return json.dumps(value, indent=2, allow_nan=False)
