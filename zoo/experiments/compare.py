"""A comparison: train and evaluate every run of a suite, and collect the study that its report is drawn from.

A run's failure is a row with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import Dataset
from zoo.data.words import words_of
from zoo.devices import pick_device
from zoo.errors import RunError, ZooError
from zoo.experiments.calibrate import calibrate
from zoo.experiments.display import Display
from zoo.experiments.neighbours import held_out, neighbours
from zoo.experiments.pairing import paired_rows
from zoo.experiments.plan import Entry, Options, Planned, plan
from zoo.experiments.processes import Job, cores, orphaned, run_jobs
from zoo.experiments.suite import Suite
from zoo.metrics.plane import DENSITY, POINTS, POSTERIOR, PRIOR, SIDE, frame, grid
from zoo.pairs.build import find
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import datasets, evaluations
from zoo.provenance import provenance
from zoo.report.study import TRUTH, Study
from zoo.report.verdicts import columns
from zoo.runs.evaluation import Settings
from zoo.runs.laws import UNCHECKED
from zoo.runs.run import FOREVER, Run
from zoo.runs.stored_scores import (
    decision,
    evaluate_run,
    evaluate_seeds,
    read_kept,
    read_scores,
    reconstructions,
    sample_count,
    samples,
    views,
)
from zoo.scores import Score
from zoo.training.callbacks import Progress

Rows = Iterator[dict[str, Any]]
MANY = 100


def compare(suite: Suite, options: Options, display: Display) -> Study:
    """Train and evaluate whatever is not on disk yet, and collect the study.

    Raises:
        ZooError: a name in the suite is unknown (see `zoo.experiments.plan.plan`), or the device is not available.
    """
    pick_device(options.device)
    entries = plan(suite, options)
    settings = Settings(
        particles=suite.particles,
        memory=options.memory,
        against=tuple(suite.against),
        background=suite.background,
        data_dir=options.data_dir,
    )
    calibrate([entry.planned.config for entry in entries if entry.planned], display.console, options.threads)
    entries = _run_stage("train", entries, suite, False, settings, options, display)
    if any(evaluations[name].alone for name in (*suite.evaluations, *suite.once)):
        entries = _run_stage("measure", entries, suite, True, settings, replace(options, workers=1), display)
    entries = [_checked(entry, suite, settings) for entry in entries]
    return Study(
        suite=suite.name,
        quick=options.quick,
        provenance=_provenance(suite, options, entries, settings),
        scores=list(_scores(suite, entries, settings)),
        curves=[row for entry in entries for row in _curves(entry)],
        pictures=_pictures(suite, entries, settings),
        paired=list(paired_rows(entries, settings)),
        uses=_uses(suite, entries, settings),
    )


def _run_stage(
    word: str,
    entries: Sequence[Entry],
    suite: Suite,
    alone: bool,
    settings: Settings,
    options: Options,
    display: Display,
) -> list[Entry]:
    """The entries after a process for each that has not failed: it evaluates its run by what runs ``alone``, or not."""
    # seed by seed: the first run of a family compiles, and the others find the library on disk
    active = sorted((entry for entry in entries if entry.run), key=lambda entry: entry.seed)
    jobs = [Job(entry.name, _work, (entry.planned, suite, alone, settings, options)) for entry in active]
    with display.stage(word, {entry.name: entry.run for entry in active if entry.run}):
        failures = run_jobs(jobs, options.workers or cores(), display.watch)
    for entry in active:
        if entry.name in failures and entry.run:
            with suppress(RunError):  # a damaged folder is left as it is
                if not entry.run.done:
                    entry.run.fail(failures[entry.name])
    return [replace(entry, reason=failures.get(entry.name, entry.reason)) for entry in entries]


def _work(planned: Planned, suite: Suite, alone: bool, settings: Settings, options: Options) -> None:
    """The work of one process: train the run if it is not finished, evaluate it, draw its samples and views."""
    torch.set_num_threads(options.threads)
    load_families(options.files)
    data = planned.config.data.load(options.data_dir)
    planned.run.train(planned.config, data, options.device, [StopWhenOrphaned()], planned.runs, FOREVER)
    for name, own in _asked(suite, planned.config.seed, settings).items():
        known = own.samples < settings.samples and read_scores(planned.run, name, settings)
        if evaluations[name].over == "run" and evaluations[name].alone is alone and not known:
            evaluate_run(planned.run, data, name, own, options.device)
    _draw(planned.run, data, suite)


def _asked(suite: Suite, seed: int, settings: Settings) -> dict[str, Settings]:
    """Evaluation -> its settings, of the runs with this seed."""
    once = suite.once.items() if seed == suite.seeds[0] else ()
    return dict.fromkeys(suite.evaluations, settings) | {name: replace(settings, samples=n) for name, n in once}


def _draw(run: Run, data: Dataset, suite: Suite) -> None:
    if run.status["status"] == "finished":
        samples(run, data)
        views(run, data)
        decision(run, data)
        if "lossy" in suite.evaluations:
            reconstructions(run, data)


class StopWhenOrphaned:
    """A callback that stops this process once its parent is gone."""

    def on_progress(self, progress: Progress) -> None:
        if orphaned():
            os._exit(1)

    def on_checkpoint(self, progress: Progress) -> None:
        self.on_progress(progress)


def _checked(entry: Entry, suite: Suite, settings: Settings) -> Entry:
    """The entry, failed if a file of its run is damaged."""
    if entry.run is None:
        return entry
    try:
        entry.run.pair()
        for name in _asked(suite, entry.seed, settings):
            read_scores(entry.run, name, settings)
        read_kept(entry.run, suite.evaluations, settings)
        if entry.run.history:
            _draw(entry.run, entry.dataset, suite)
    except ZooError as error:
        return replace(entry, reason=str(error))
    return entry


def _scores(suite: Suite, entries: Sequence[Entry], settings: Settings) -> Rows:
    """Of what the suite asks; and, for the optional columns, of what a run has stored without."""
    optional = dict.fromkeys(column.evaluation for column in columns(optional=True) if column.evaluation in evaluations)
    for _, group in groupby(entries, key=lambda entry: (entry.dataset.name, entry.label)):
        seeds = list(group)
        for name in dict.fromkeys([*suite.evaluations, *suite.once, *optional]):
            if evaluations[name].over == "seeds":
                if name in suite.evaluations:
                    yield from _rows(suite, seeds[0], name, "all", _of_seeds(seeds, name, settings))
                continue
            for entry in seeds:
                own = _asked(suite, entry.seed, settings).get(name)
                yield from _rows(suite, entry, name, entry.seed, _of_run(entry, name, settings, own))


def _rows(suite: Suite, entry: Entry, evaluation: str, seed: int | str, scores: Sequence[Score]) -> Rows:
    where: dict[str, Any] = {"suite": suite.name, "family": entry.family, "guide": entry.guide, "group": _group(entry)}
    where |= {"dataset": entry.dataset.name, "seed": seed, "evaluation": evaluation}
    return (score.row(**where) for score in scores)


def _of_run(entry: Entry, name: str, settings: Settings, own: Settings | None) -> list[Score]:
    """What is stored for ``settings``, else for its ``own`` that were asked for; without them there may be nothing."""
    if entry.run is None:
        return [_missing(entry, name)] if own else []
    found = read_scores(entry.run, name, settings) or (own and read_scores(entry.run, name, own))
    return found or [Score.failed(name, "its process ended before it was measured")] * bool(own)


def _of_seeds(seeds: Sequence[Entry], name: str, settings: Settings) -> list[Score]:
    runs = [entry.run for entry in seeds if entry.run]
    if not runs:
        return [_missing(seeds[0], name)]
    failed = [Score.failed(name, f"seed {entry.seed}: {entry.reason}") for entry in seeds if not entry.run]
    return [*evaluate_seeds(runs, seeds[0].dataset, name, settings), *failed]


def _missing(entry: Entry, name: str) -> Score:
    return Score.failed(name, entry.reason) if entry.planned else Score.skipped(name, entry.reason)


def _group(entry: Entry) -> str:
    """The declared group, else the one that the traces show."""
    declared = find(entry.family)[0].group
    return entry.run.pair().group if entry.run and not declared else declared


def _curves(entry: Entry) -> Rows:
    """The history of a run that took steps; an implicit model's validation score is its discrepancy, shown once."""
    if entry.run is None or not any(row["step"] for row in entry.run.history):
        return
    metrics = ("train", "discrepancy") if _group(entry) == "implicit" else ("train", "validation", "discrepancy")
    for row in entry.run.history:
        for metric in metrics:
            yield {
                "family": entry.family,
                "guide": entry.guide,
                "dataset": entry.dataset.name,
                "seed": entry.seed,
                "step": int(row["step"]),
                "metric": metric,
                "value": row[metric],
            }


def _pictures(suite: Suite, entries: Sequence[Entry], settings: Settings) -> dict[str, dict[str, Any]]:
    """By data set: real data and, from each family's first seed that finished, its samples, lossy codes and views."""
    found: dict[str, dict[str, Any]] = {}
    of_test: dict[str, Tensor] = {}
    for entry in entries:
        data, run = entry.dataset, entry.run
        shown = found.setdefault(data.name, _real(data))
        if run is None or entry.label in shown["samples"] or run.status["status"] != "finished":
            continue
        drawn = samples(run, data)
        shown["samples"][entry.label] = _nested(data, drawn)
        if data.fingerprint not in of_test:
            of_test[data.fingerprint] = held_out(data, settings.samples)
        if near := neighbours(data, drawn, of_test[data.fingerprint]):
            in_the_plane = data.event.shape == (2,) and data.event.levels is None
            shown["neighbours"][entry.label] = {"nearest": [] if in_the_plane else _nested(data, near[0])} | near[1]
        if "lossy" in suite.evaluations and (coded := reconstructions(run, data)):
            shown["coded"][entry.label] = {width: _nested(data, batch) for width, batch in coded.items()}
        seen = {name: _rounded(value) for name, value in views(run, data).items()}
        if DENSITY in seen:
            shown["densities"][entry.label] = seen[DENSITY]
        if POSTERIOR in seen:
            shown["latents"][entry.label] = {name: seen[name] for name in (POSTERIOR, PRIOR)}
    return found


def _uses(suite: Suite, entries: Sequence[Entry], settings: Settings) -> dict[str, dict[str, dict[str, Any]]]:
    """By data set and family what its evaluations have kept for figures, and what it says of points with a label.

    Curves are means over the seeds that finished; all else is of the first of them.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (name, family), group in groupby(entries, key=lambda entry: (entry.dataset.name, entry.label)):
        finished = [(e.run, e) for e in group if e.run and e.run.status["status"] == "finished"]
        kept = [read_kept(run, suite.evaluations, settings) for run, _ in finished]
        parts = {part: _over_seeds([each[part] for each in kept if part in each]) for each in kept[:1] for part in each}
        if finished and (seen := decision(finished[0][0], finished[0][1].dataset)):
            parts["decision"] = {key: _numbers(value) for key, value in seen.items()}
        if parts:
            found.setdefault(name, {})[family] = parts
    return found


def _over_seeds(kept: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """One part of what each seed keeps: curves as means over the seeds that have them, else that of the first."""
    curves = {key: [each[key] for each in kept if key in each] for key in kept[0] if key.startswith("curve")}
    return {key: _numbers(torch.stack(curves[key]).mean(0) if key in curves else kept[0][key]) for key in kept[0]} | {
        "seeds": len(kept)
    }


def _numbers(values: Tensor) -> Any:
    """As nested lists; of many numbers to four digits, as figures show no more."""
    return np.round(values.double().numpy(), 4 if values.numel() > MANY else 12).tolist()


def _real(data: Dataset) -> dict[str, Any]:
    """The real data, with the true density where it is known."""
    densities = {}
    source = datasets.get(data.name) if data.registered else None
    if source and source.log_density and data.event.shape == (2,):
        around = grid(frame(data.restore(data.test[:POINTS]).cpu().numpy()))
        densities[TRUTH] = _rounded(source.log_density(around).reshape(SIDE, SIDE))
    real = _nested(data, data.test[: sample_count(data.event)])
    shown: dict[str, Any] = {"event": str(data.event.array), "real": real, "samples": {}, "coded": {}}
    if words := words_of(data.event, data.names):
        shown["words"] = list(words)
    shown |= {"rate": data.rate} if data.rate else {}
    return shown | {"densities": densities, "latents": {}, "neighbours": {}}


def _rounded(values: Tensor) -> list[Any]:
    """To a hundredth: a picture shows no more."""
    return [[round(value, 2) for value in row] for row in values.double().tolist()]


def _nested(data: Dataset, batch: Tensor) -> list[Any]:
    """The main field of a batch as a pair is given it, in the data's own units."""
    return data.event.main_of(data.restore(batch.reshape(-1, *data.event.shape))).tolist()


def _provenance(suite: Suite, options: Options, entries: Sequence[Entry], settings: Settings) -> dict[str, Any]:
    once = {"first seed only, with data": suite.once} if suite.once else {}
    return {
        **provenance(pick_device(options.device)),
        "threads": options.threads,
        "workers": options.workers or cores(),
        "command": options.command,
        "about": suite.about,
        "settings": {"particles": settings.particles, "seeds": suite.seeds, "share of steps": suite.share} | once,
        "ground laws": UNCHECKED if options.unchecked else "checked",
        "datasets": {entry.dataset.name: entry.dataset.description for entry in entries},
    }
