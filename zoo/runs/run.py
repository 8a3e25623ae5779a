"""A run: one family trained on one data set with one seed, as a folder.

``config.json`` (settings and provenance), ``weights.safetensors``, ``history.csv``, ``status.json`` and ``laws.json``
(the ground laws hold); while it trains also ``resume.safetensors``. The folder's name ends in a digest of the settings,
so changed settings are another run and nothing is overwritten.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
from torch import Tensor

from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.errors import LockedError, RunError, ZooError
from zoo.event import Event
from zoo.files import digest_of, folder_name, read_json, read_tensors, write_json, write_tensors, write_text
from zoo.nn.networks import networks_of
from zoo.pairs.build import build, read_name
from zoo.pairs.pair import Pair
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import guides
from zoo.provenance import provenance
from zoo.runs.config import RunConfig
from zoo.runs.laws import note_laws, require_laws
from zoo.runs.writer import HISTORY, RunWriter
from zoo.training.callbacks import Callback
from zoo.training.loop import fit

LOCK_SECONDS = 5.0
"""How long to wait for a process that is training the run: one whose parent was killed ends within seconds."""
FOREVER = -1.0
STATES = ("running", "finished", "diverged", "failed")


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @classmethod
    def of(cls, config: RunConfig, runs: Path) -> Run:
        """The folder under ``runs`` that belongs to ``config`` (made by training), wherever its data were then."""
        family = runs / folder_name(Path(config.data.name).name) / folder_name(config.name)
        run = cls(family / f"seed{config.seed}-{config.digest}")
        if not run.folder.exists():
            for path in sorted(family.glob(f"seed{config.seed}-*/config.json")):
                with suppress(RunError):  # damaged
                    if cls(path.parent).config.identity == config.identity:
                        return cls(path.parent)
        return run

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
            raise RunError(f"{path} is damaged ({error}); delete its folder to start over") from error
        if not self.folder.name.endswith(config.digest):
            raise RunError(f"{path} was changed after it was written; delete its folder to start over")
        return config

    @property
    def status(self) -> dict[str, Any]:
        """The last status that was written; ``{"status": "new"}`` before the first.

        Raises:
            RunError: ``status.json`` is damaged.
        """
        path = self.folder / "status.json"
        if not path.exists():
            return {"status": "new"}
        status = read_json(path)
        if status.get("status") not in STATES:
            raise RunError(f"{path} is damaged (it has no known status); delete its folder to start over")
        return status

    @property
    def history(self) -> list[dict[str, float]]:
        """A row for each checkpoint: step, train, validation, discrepancy, lr.

        Raises:
            RunError: ``history.csv`` is damaged, missing after the end, or was changed after it was written.
        """
        path, digest = self.folder / "history.csv", self.status.get("history_digest")
        try:
            if digest and (not path.is_file() or digest != digest_of(path.read_text(errors="replace"))):
                raise RunError(f"{path} is gone or was changed after it was written; delete its folder to start over")
            rows = pd.read_csv(path, dtype=str).to_dict("records")  # float() is exact
            return [{name: float(row[name]) for name in HISTORY} for row in rows]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, OSError) as error:
            raise RunError(f"{path} is damaged ({str(error).strip()}); delete its folder to start over") from error

    def require_finished(self) -> None:
        """Refuse a run whose weights are of no use.

        Raises:
            RunError: it diverged, or was not trained to its end.
        """
        status = self.status
        if status["status"] != "finished":
            reason = status.get("reason") or "train it to its end by zoo train"
            raise RunError(f"{self.folder} is no trained model ({status['status']}: {reason})")

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.status["status"] in ("finished", "diverged")

    def pair(self) -> Pair:
        """The trained pair, in evaluation mode.

        Raises:
            RunError: no weights, or damaged ones.
        """
        config, path = self.config, self.folder / "weights.safetensors"
        weights, digest = read_tensors(path)
        if digest != config.digest:
            raise RunError(f"{path} belongs to other settings ({digest}); delete its folder to start over")
        load_families([Path(file) for file in config.files])
        pair = _built_for(config, weights)
        pair.load(weights)
        return pair.train(False)

    def train(
        self,
        config: RunConfig,
        data: Dataset,
        device: str = "auto",
        callbacks: Sequence[Callback] = (),
        runs: int = 1,
        patience: float = LOCK_SECONDS,
    ) -> None:
        """Train from where an unfinished run stopped; a finished run is left alone.

        Args:
            config: the settings that this folder belongs to.
            data: the data set that ``config.data`` loads.
            device, callbacks, runs: see `zoo.training.loop.fit`.
            patience: how long to wait for another process that is training this run, in seconds, or `FOREVER`.

        Raises:
            LockedError: another process is working on this run.
            RunError: files are damaged, or the family's own code failed.
            ZooError: the pair breaks the contract.
        """
        with self.lock(patience):
            self._train(config, data, device, callbacks, runs)

    def fail(self, reason: str) -> None:
        """Note that training ended without a result, and why; the next call tries again.

        A run that another process is training is left alone.
        """
        with suppress(LockedError), self.lock(0.0):
            self._fail(reason)

    @contextmanager
    def lock(self, patience: float = LOCK_SECONDS) -> Iterator[None]:
        """Inside, no other process trains this run; a process that holds the lock may take it again.

        Args:
            patience: how long to wait for another process, in seconds, or `FOREVER`.

        Raises:
            LockedError: another process is working on this run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / ".lock", is_singleton=True)
        try:
            lock.acquire(timeout=patience)
        except filelock.Timeout as error:
            raise LockedError(f"another process is training {self.folder}; wait for it or stop it") from error
        try:
            yield
        finally:
            lock.release()

    @property
    def locked(self) -> bool:
        """Whether another process is working on this run."""
        if not (self.folder / ".lock").exists():
            return False
        try:
            with self.lock(0.0):
                return False
        except LockedError:
            return True

    def _fail(self, reason: str) -> None:
        write_json(self.folder / "status.json", {"status": "failed", "reason": reason})

    def _train(self, config: RunConfig, data: Dataset, device: str, callbacks: Sequence[Callback], runs: int) -> None:
        if self.done or (self.folder / "config.json").exists():  # else it was killed before it wrote its settings
            if self.config.identity != config.identity:
                raise RunError(f"{self.folder} holds other settings; delete it to start over")
            config = self.config
        if self.done:
            read_tensors(self.folder / "weights.safetensors")  # complains of damage
            if self.status["status"] == "finished" and not config.unchecked:
                require_laws(self.pair, data.given_to(_built(config)).validation, self.folder)
            return
        settings = {"config": config.model_dump(mode="json"), "provenance": provenance(pick_device(device))}
        write_json(self.folder / "config.json", settings)
        writer = RunWriter(self.folder, config)
        try:
            pair = _built(config)
            progress = fit(
                pair,
                data,
                config.recipe,
                seed=config.seed,
                device=device,
                start=writer.resume(),
                callbacks=[writer, *callbacks],
                runs=runs,
                unchecked=config.unchecked,
            )
        except ZooError as error:
            self._fail(str(error))
            raise
        except Exception as error:  # a family's own code may raise anything: it is this run's result, with its reason
            write_text(self.folder / "error.log", traceback.format_exc())
            first_line = str(error).strip().partition("\n")[0]  # Pyro appends the trace's shapes
            reason = f"{type(error).__name__}: {first_line}"
            self._fail(reason)
            raise RunError(f"{config.name} failed: {reason} (see {self.folder}/error.log)") from error
        write_tensors(self.folder / "weights.safetensors", pair.state(), config.digest)
        if not (config.unchecked or config.files):  # a person's own programs are checked with the trained weights too
            note_laws(self.folder)
        writer.write_status(progress)
        (self.folder / "resume.safetensors").unlink(missing_ok=True)


def _built_for(config: RunConfig, weights: Mapping[str, Tensor]) -> Pair:
    """The pair of these weights: runs from before networks could be chosen have the first of each."""
    pair, parsed = _built(config), read_name(config.name)
    named = {**parsed.hyper, **config.hyper}
    makers = {"net": parsed.family.make} | ({"guide.net": guides[parsed.guide].make} if parsed.guide else {})
    first = {name: networks_of(make)[0] for name, make in makers.items() if networks_of(make) and name not in named}
    if "net" in named or not first or pair.state().keys() == weights.keys():
        return pair
    return _built(config.model_copy(update={"hyper": config.hyper | first}))


def _built(config: RunConfig) -> Pair:
    """The untrained pair, which takes data in the units that the run was given."""
    pair = build(config.name, Event.parse(config.event), config.hyper, config.seed)
    pair.in_own_units = config.in_own_units
    return pair


def find_runs(runs: Path, name: str = "*", data: str = "*") -> list[Run]:
    """The run folders under ``runs``, optionally of one family (and guide) on one data set.

    Raises:
        ZooError: ``name`` is not the name of a family.
    """
    if not re.fullmatch(r"[\w.+*:=,-]+", name):
        raise ZooError(f"a run is looked up by the name of its family, got {name!r}")
    return [Run(path.parent) for path in sorted(runs.glob(f"{data}/{folder_name(name)}/seed*/config.json"))]
