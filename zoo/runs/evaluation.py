"""What an evaluation takes and returns, and how its failures become scores.

An evaluation is ``ask(runs, settings) -> list[Score]``, registered with `zoo.pairs.registry.evaluation`; `evaluate`
runs it by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.contract.check import require_support
from zoo.data import Dataset
from zoo.data.atoms import require_density
from zoo.errors import ZooError
from zoo.files import write_tensors
from zoo.metrics.memory import MEMORY
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluations, load_shelves
from zoo.runs.laws import UNCHECKED, require_laws
from zoo.scores import Kind, Score
from zoo.seeding import seeded

KEPT = "shown"
"""The folder in that of a run for what figures show."""


@dataclass(frozen=True)
class TrainedRun:
    """A run as an evaluation sees it. Its pair keeps the ground laws, or its scores say that it was not checked.

    Args:
        pair: has the run's best weights; in evaluation mode.
        data: fits the pair's event; kept as the pair is given them.
        seed: of the run.
        history: a row for each checkpoint: ``step``, ``train``, ``validation``, ``discrepancy`` and ``lr``.
        status: ``finished``, ``diverged`` or ``failed``.
        reason: why it diverged or failed.
        scored: how many validation data its checkpoints scored, if not all, and how many samples they drew.
        drawn: these samples; 0 stands for as many as of small data.
        folder: for files of this run, if it is on disk.
        shared: for files that depend only on the data.
        unchecked: take a pair even if it breaks a law without which its numbers are wrong.

    Raises:
        ContractError: the pair of a finished run breaks a ground law (see `zoo.contract.check.ground_laws`).

    Example:
        >>> import zoo
        >>> data = zoo.load_data("digits")
        >>> run = TrainedRun(zoo.build("uniform", data.event), data, seed=0, history=[])
        >>> run.status, run.file("samples")
        ('finished', None)
    """

    pair: Pair
    data: Dataset
    seed: int
    history: Sequence[Mapping[str, float]]
    status: str = "finished"
    reason: str = ""
    scored: str = ""
    drawn: int = 0
    folder: Path | None = None
    shared: Path | None = None
    unchecked: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", self.data.given_to(self.pair))
        if self.status == "finished" and not self.unchecked:
            require_density(self.pair, self.data)
            require_laws(lambda: self.pair, self.data.validation, self.folder)
            require_support(self.pair, self.data)

    def file(self, name: str, shared: bool = False) -> Path | None:
        """Where tensors called ``name`` are cached (`zoo.files.cached_tensors`), if there is a folder for them."""
        folder = self.shared if shared else self.folder
        return folder and folder / f"{name}.safetensors"

    def keep(self, name: str, tensors: Mapping[str, Tensor], settings: Settings) -> None:
        """Keep what figures show of an evaluation with the scores of the same settings, if there is a folder.

        Args:
            name: of the evaluation, and ``-MORE`` for one of several parts.
            tensors: a few small ones. Figures show the mean over seeds of those whose names begin with ``curve``, and
                of others those of the first seed.
            settings: of the evaluation.
        """
        if self.folder:
            note = settings.key | {"run": self.folder.name}
            write_tensors(self.folder / KEPT / f"{name}.safetensors", tensors, note)


@dataclass(frozen=True)
class Settings:
    """How runs are evaluated.

    Args:
        particles: draws of the guide per datum for a bound.
        memory: the most bytes that a chunk of data or particles may take; below `zoo.metrics.memory.CHUNK` a bound's
            noise depends on it.
        seed: of every random number that an evaluation draws.
        samples: the most samples, and the most test data, that sample quality and decisions are measured on.
        against: data sets that a model should find novel, and whose data it should not label.
        background: mutation rate of a background model, which is trained for it; 0 for none.
        data_dir: where files of registered data sets are looked for.

    Example:
        >>> Settings(particles=64).samples
        1000
    """

    particles: int = 512
    memory: int = MEMORY
    seed: int = 0
    samples: int = 1000
    against: Sequence[str] = ()
    background: float = 0.0
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.background < 1:
            raise ZooError(f"the mutation rate of a background model is from 0 to below 1, got {self.background:g}")

    @property
    def key(self) -> dict[str, Any]:
        """What scores depend on, for JSON; settings that earlier scores do not have are left out at their defaults."""
        known = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "data_dir"}
        later = {"against": list(known.pop("against")), "background": known.pop("background")}
        return known | {name: value for name, value in later.items() if value}


def evaluate(name: str, runs: Sequence[TrainedRun], settings: Settings | None = None) -> list[Score]:
    """Run the evaluation called ``name`` on one run, or on all the seeds of a family, as it is declared.

    Args:
        name: of a registered evaluation.
        runs: exactly one, unless the evaluation is over seeds.
        settings: `Settings` by default; every random number depends on its seed.

    Returns:
        The scores; whatever the evaluation raises becomes one failed score under its name. If a run is unchecked,
        the reason of every score says so.

    Raises:
        ZooError: an unknown name, or a wrong number of runs.

    Example:
        >>> import zoo
        >>> data = zoo.load_data("digits")
        >>> run = TrainedRun(zoo.build("uniform", data.event), data, seed=0, history=[])
        >>> nats = evaluate("likelihood", [run])[0]
        >>> nats.metric, round(nats.value, 2), nats.kind
        ('nats', 181.33, 'exact')
    """
    load_shelves()
    entry = evaluations[name]
    if not runs or (entry.over == "run" and len(runs) > 1):
        wanted = "exactly one run" if entry.over == "run" else "at least one run"
        raise ZooError(f"evaluation {name!r} takes {wanted}, got {len(runs)}")
    settings = settings or Settings()
    with seeded(settings.seed):
        scores = [_finite(score) for score in attempt((name,), entry.ask, runs, settings)]
    if any(run.unchecked for run in runs):
        return [replace(score, reason="; ".join(filter(None, (UNCHECKED, score.reason)))) for score in scores]
    return scores


def attempt(metrics: Sequence[str], ask: Callable[..., list[Score]], *args: Any) -> list[Score]:
    """Call ``ask(*args)``; whatever it raises becomes a failed score for each of ``metrics``.

    Example:
        >>> [score] = attempt(("nats",), lambda x: [Score("nats", 1 / x)], 0)
        >>> score.status, score.reason
        ('failed', 'ZeroDivisionError: division by zero')
    """
    try:
        return ask(*args)
    except Exception as error:  # a family's own code may raise anything: it fails these rows and no others
        return [Score.failed(metric, f"{type(error).__name__}: {error}") for metric in metrics]


def _finite(score: Score) -> Score:
    """The score, or a failed one if its value or its standard error is not a finite number."""
    for what, number in (("value", score.value), ("standard error", score.stderr)):
        if number is not None and not math.isfinite(number):
            return Score.failed(score.metric, f"its {what} is {number}")
    return score


def unmeasurable(run: TrainedRun, metrics: Sequence[str]) -> list[Score]:
    """A failed score for each of ``metrics`` if the run ended without usable weights, else an empty list."""
    if run.status == "finished":
        return []
    reason = f"the run {run.status}: {run.reason}" if run.reason else f"the run {run.status}"
    return [Score.failed(metric, reason) for metric in metrics]


def mean_score(metric: str, values: Tensor, unit: str, kind: Kind) -> Score:
    """The mean of one value per datum with its standard error; failed if any value is not finite.

    Args:
        metric: the name of the score.
        values: one for each datum, shape ``(n,)``.
        unit: of the values.
        kind: ``exact``, ``lower bound`` or ``estimate``; see `zoo.scores.Score`.

    Example:
        >>> import torch
        >>> score = mean_score("nats", torch.tensor([1.0, 2.0, 3.0]), "nats", "exact")
        >>> score.value, round(score.stderr, 3), score.n
        (2.0, 0.577, 3)
    """
    n, bad = len(values), int((~values.isfinite()).sum())
    if bad:
        return Score.failed(metric, f"{bad} of {n} data have no finite value")
    stderr = float(values.std()) / math.sqrt(n) if n > 1 else None
    return Score(metric, float(values.mean()), unit, stderr, kind, n)


def ratio_score(metric: str, values: Tensor, sizes: Tensor, unit: str, kind: Kind) -> Score:
    """The sum of one value per datum over the sum of the data's sizes; failed as `mean_score` is.

        r = sum_i v_i / sum_i s_i,  with the standard error of the mean of v_i - r s_i over the mean of s_i

    Args:
        metric: the name of the score.
        values: one for each datum, shape ``(n,)``.
        sizes: positive in all, shape ``(n,)``.
        unit: of a value per size.
        kind: as for `mean_score`.

    Example:
        >>> import torch
        >>> ratio_score("nats_per_step", torch.tensor([2.0, 10.0]), torch.tensor([1, 3]), "nats/step", "exact").value
        3.0
    """
    sizes = sizes.to(values)
    ratio = values.sum() / sizes.sum()
    residuals = mean_score(metric, (values - ratio * sizes) / sizes.mean(), unit, kind)
    return residuals if residuals.value is None else replace(residuals, value=float(ratio))
