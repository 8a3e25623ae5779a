"""The ELBO's terms by step, as numbers and a drawing in the run's folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from zoo.data import Dataset
from zoo.errors import UnfitError
from zoo.files import write_text
from zoo.metrics.bounds import bounds, elbo_steps
from zoo.pairs.pair import HasSteps
from zoo.report.export import standalone
from zoo.report.figures.steps import steps
from zoo.runs.evaluation import Settings, TrainedRun
from zoo.runs.run import Run
from zoo.runs.stored_scores import trained_run

FILES = ("steps.csv", "steps.svg")


@dataclass(frozen=True)
class ElboSteps:
    """Minus the ELBO of the test data and its parts, in nats.

    Attributes:
        nats: of steps 1 ... T of each datum, shape ``(n, T)``.
        others: the terms of no step by name, each of shape ``(n,)``; of real data also ``units``, the nats by which a
            density in their own units differs.
    """

    nats: Tensor
    others: Mapping[str, Tensor]


def by_steps(run: TrainedRun, settings: Settings) -> ElboSteps:
    """The terms of a pair that has them by step (`zoo.pairs.pair.HasSteps`), of the test data.

    About ``particles`` passes of each datum are spread over all steps, at least one of each.

    Raises:
        UnfitError: a run that did not finish, or a pair without steps.
    """
    pair, x, memory, seed = run.pair, run.data.test, settings.memory, settings.seed
    if run.status != "finished":
        raise UnfitError(f"{pair.label} has no terms to show: the run {run.status}")
    if not isinstance(pair.extras, HasSteps):
        raise UnfitError(f"{pair.label} has no terms by step")
    draws = max(1, settings.particles // pair.extras.timesteps)
    nats = -elbo_steps(pair, x, draws, memory=memory, seed=seed)
    terms = bounds(pair, x, settings.particles, memory=memory, seed=seed).terms
    others = {name: -term for name, term in terms.items() if name != "diffusion"}
    shift = run.data.log_scale(pair, x)
    return ElboSteps(nats, {**others, "units": shift} if bool(shift.any()) else others)


def write_steps(run: Run, data: Dataset, settings: Settings, device: str = "auto") -> list[Path]:
    """Write `FILES` to the run's folder and return their paths: a line for each step and term, with means over data."""
    found = by_steps(trained_run(run, data, device), settings)
    nats, others = found.nats.mean(0).tolist(), {name: float(term.mean()) for name, term in found.others.items()}
    lines = io.StringIO()
    named = [*((f"step {t}", value) for t, value in enumerate(nats, 1)), *others.items()]
    csv.writer(lines, lineterminator="\n").writerows([("term", "nats"), *named])
    for name, text in zip(FILES, (lines.getvalue(), standalone(steps(nats, others))), strict=True):
        write_text(run.folder / name, text)
    return [run.folder / name for name in FILES]
