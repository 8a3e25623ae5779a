"""What an evaluation is given, and what becomes of its failures.

An evaluation is ``ask(runs, settings) -> list[Score]``, registered with `zoo.pairs.registry.evaluation`; `evaluate`
asks it by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.metrics.bounds import MEMORY
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluations, load_shelves
from zoo.scores import Kind, Score
from zoo.seeding import seeded


@dataclass(frozen=True)
class TrainedRun:
    """A run as an evaluation sees it.

    ``pair`` has the run's best weights and is in evaluation mode; ``data`` have the pair's event. ``history`` holds a
    row for each checkpoint with ``step``, ``train``, ``validation``, ``discrepancy`` and ``lr`` (`zoo.training.loop`).
    ``status`` is ``finished``, ``diverged`` or ``failed``, and ``reason`` says why. What is worth keeping goes to
    `file`: in ``folder`` if it is the run's own, in ``shared`` if it hangs on the data alone.
    """

    pair: Pair
    data: Dataset
    seed: int
    history: Sequence[Mapping[str, float]]
    status: str = "finished"
    reason: str = ""
    folder: Path | None = None
    shared: Path | None = None

    def file(self, name: str, shared: bool = False) -> Path | None:
        """Where tensors of that name are kept (`zoo.files.cached_tensors`), if there is a folder for them."""
        folder = self.shared if shared else self.folder
        return folder and folder / f"{name}.safetensors"


@dataclass(frozen=True)
class Settings:
    """How runs are evaluated.

    Args:
        particles: draws of the guide per datum for a bound.
        memory: bytes that a chunk of data or particles may take at most; below `zoo.metrics.bounds.CHUNK` a bound's
            noise depends on it.
        seed: of every random number that an evaluation draws.
        samples: the most samples, and the most test data, that sample quality is measured on.
    """

    particles: int = 512
    memory: int = MEMORY
    seed: int = 0
    samples: int = 1000


def evaluate(name: str, runs: Sequence[TrainedRun], settings: Settings | None = None) -> list[Score]:
    """Ask the evaluation called ``name`` of one run, or of all the seeds of a family, as it wants them.

    It draws from ``settings.seed``; whatever it raises becomes a failed score under its own name.

    Raises:
        ZooError: an unknown name, no run, or more than one for an evaluation that takes each alone.
    """
    load_shelves()
    entry = evaluations[name]
    if not runs or (entry.over == "run" and len(runs) > 1):
        wanted = "exactly one run" if entry.over == "run" else "at least one run"
        raise ZooError(f"evaluation {name!r} takes {wanted}, got {len(runs)}")
    settings = settings or Settings()
    with seeded(settings.seed):
        return attempt((name,), entry.ask, runs, settings)


def attempt(metrics: Sequence[str], ask: Callable[..., list[Score]], *args: Any) -> list[Score]:
    """``ask(*args)``, or a failed score for each of ``metrics`` that says what it raised."""
    try:
        return ask(*args)
    except Exception as error:  # a stranger's programs may raise anything here: it is that row's failure and no other's
        return [Score.failed(metric, f"{type(error).__name__}: {error}") for metric in metrics]


def unmeasurable(run: TrainedRun, metrics: Sequence[str]) -> list[Score]:
    """A failed score for each of ``metrics`` if the run ended without weights worth measuring, else none."""
    if run.status == "finished":
        return []
    reason = f"the run {run.status}: {run.reason}" if run.reason else f"the run {run.status}"
    return [Score.failed(metric, reason) for metric in metrics]


def mean_score(metric: str, values: Tensor, unit: str, kind: Kind) -> Score:
    """The mean of one value per datum, shape ``(n,)``, with its standard error; failed if any value is not finite."""
    n, bad = len(values), int((~values.isfinite()).sum())
    if bad:
        return Score.failed(metric, f"{bad} of {n} data have no finite value")
    stderr = float(values.std()) / math.sqrt(n) if n > 1 else None
    return Score(metric, float(values.mean()), unit, stderr, kind, n)
