"""From the runs of a suite to the study that its report is drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from torch import Tensor

from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.event import Event
from zoo.experiments.plan import Entry, Options
from zoo.experiments.processes import cores
from zoo.experiments.suite import Suite
from zoo.metrics.plane import DENSITY, POINTS, POSTERIOR, PRIOR, SIDE, frame, grid
from zoo.pairs.build import find
from zoo.pairs.registry import datasets, evaluations
from zoo.provenance import provenance
from zoo.report.study import TRUTH, Study
from zoo.runs.evaluation import Settings
from zoo.runs.stored_scores import ask_together, pictures, reconstructions, rows, shown, stored, views
from zoo.scores import Score

Rows = Iterator[dict[str, Any]]


def gather(suite: Suite, options: Options, entries: Sequence[Entry], settings: Settings) -> Study:
    """The study of a suite whose runs have ended: nothing is trained, and what failed is a row with its reason."""
    return Study(
        suite=suite.name,
        quick=options.quick,
        provenance=_provenance(suite, options, entries, settings),
        scores=list(_scores(suite, entries, settings)),
        curves=[row for entry in entries for row in _curves(entry)],
        pictures=_pictures(suite, entries),
    )


def _scores(suite: Suite, entries: Sequence[Entry], settings: Settings) -> Rows:
    for _, group in groupby(entries, key=lambda entry: (entry.dataset.name, entry.label)):
        seeds = list(group)
        for name in suite.evaluations:
            if evaluations[name].over == "seeds":
                yield from rows(_over_seeds(seeds, name, settings), **_where(suite, seeds[0], name, "all"))
                continue
            for entry in seeds:
                yield from rows(_of_run(entry, name, settings), **_where(suite, entry, name, entry.seed))


def _of_run(entry: Entry, name: str, settings: Settings) -> list[Score]:
    if entry.run is None:
        return [_reason(entry, name)]
    found = stored(entry.run, name, settings)
    return found if found is not None else [Score.failed(name, "its process ended before it was measured")]


def _over_seeds(seeds: Sequence[Entry], name: str, settings: Settings) -> list[Score]:
    runs = [entry.run for entry in seeds if entry.run]
    if not runs:
        return [_reason(seeds[0], name)]
    lost = [Score.failed(name, f"seed {entry.seed}: {entry.reason}") for entry in seeds if not entry.run]
    return [*ask_together(runs, seeds[0].dataset, name, settings), *lost]


def _reason(entry: Entry, name: str) -> Score:
    return Score.failed(name, entry.reason) if entry.planned else Score.skipped(name, entry.reason)


def _where(suite: Suite, entry: Entry, evaluation: str, seed: int | str) -> dict[str, Any]:
    return {
        "suite": suite.name,
        "family": entry.family,
        "guide": entry.guide,
        "group": _group(entry),
        "dataset": entry.dataset.name,
        "seed": seed,
        "evaluation": evaluation,
    }


def _group(entry: Entry) -> str:
    """The declared group, else what the traces tell."""
    declared = find(entry.family)[0].group
    return entry.run.pair().group if entry.run and not declared else declared


def _curves(entry: Entry) -> Rows:
    """The history of a run that took steps; an implicit model's validation score is its discrepancy, told once."""
    if entry.run is None or entry.planned is None or entry.planned.config.recipe.steps == 0:
        return
    implicit = _group(entry) == "implicit"
    for row in entry.run.history:
        for metric in ("train", "discrepancy") if implicit else ("train", "validation", "discrepancy"):
            yield {
                "family": entry.family,
                "guide": entry.guide,
                "dataset": entry.dataset.name,
                "seed": entry.seed,
                "step": int(row["step"]),
                "metric": metric,
                "value": row[metric],
            }


def _pictures(suite: Suite, entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Real data and, of each family, what the first seed that finished samples, what its lossy code gives back, and
    what of it can be seen in the plane.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        data = entry.dataset
        here = found.setdefault(data.name, _nothing_yet(data))
        if entry.run is None or entry.label in here["samples"] or entry.run.status["status"] != "finished":
            continue
        here["samples"][entry.label] = _as(data.event, pictures(entry.run))
        if "lossy" in suite.evaluations and (coded := reconstructions(entry.run, data)):
            here["coded"][entry.label] = {grid: _as(data.event, batch) for grid, batch in coded.items()}
        seen = {name: _rounded(value) for name, value in views(entry.run, data).items()}
        if DENSITY in seen:
            here["densities"][entry.label] = seen[DENSITY]
        if POSTERIOR in seen:
            here["latents"][entry.label] = {name: seen[name] for name in (POSTERIOR, PRIOR)}
    return found


def _nothing_yet(data: Dataset) -> dict[str, Any]:
    """The real data, and among the densities the true one where it is known."""
    densities = {}
    source = datasets.get(data.name)
    if source and source.log_density and data.event.shape == (2,):
        around = grid(frame(data.test[:POINTS].cpu().numpy()))
        densities[TRUTH] = _rounded(source.log_density(around).reshape(SIDE, SIDE))
    real = data.test[: shown(data.event)].tolist()
    return {
        "event": str(data.event),
        "real": real,
        "samples": {},
        "coded": {},
        "densities": densities,
        "latents": {},
    }


def _rounded(values: Tensor) -> list[Any]:
    """To a hundredth, which no picture shows."""
    return [[round(value, 2) for value in row] for row in values.double().tolist()]


def _as(event: Event, batch: Tensor) -> list[Any]:
    return batch.reshape(-1, *event.shape).tolist()


def _provenance(suite: Suite, options: Options, entries: Sequence[Entry], settings: Settings) -> dict[str, Any]:
    return {
        **provenance(pick_device(options.device)),
        "threads": options.threads,
        "workers": options.workers or cores(),
        "command": options.command,
        "about": suite.about,
        "settings": {"particles": settings.particles, "seeds": suite.seeds, "share of steps": suite.share},
        "datasets": {entry.dataset.name: entry.dataset.source for entry in entries},
    }
