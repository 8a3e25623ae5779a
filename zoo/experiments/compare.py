"""A comparison: train and measure every run of a suite, and gather what its report is drawn from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from zoo.devices import pick_device
from zoo.errors import RunError, ZooError
from zoo.experiments.display import Display
from zoo.experiments.gather import gather
from zoo.experiments.plan import Entry, Options, Planned, plan
from zoo.experiments.processes import Job, cores, orphaned, run_jobs
from zoo.experiments.suite import Suite
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import evaluations
from zoo.report.study import Study
from zoo.runs.evaluation import Settings
from zoo.runs.run import Run
from zoo.runs.stored_scores import ask, pictures, reconstructions, stored, views
from zoo.training.callbacks import Progress


def compare(suite: Suite, options: Options, display: Display) -> Study:
    """Train and measure what is not yet there, and gather the study. A run's failure is a row with its reason.

    Raises:
        ZooError: the suite asks for what there is not (see `zoo.experiments.plan.plan`), or the device is not there.
    """
    pick_device(options.device)
    entries = plan(suite, options)
    settings = Settings(particles=suite.particles, memory=options.memory)
    asked = [evaluations[name] for name in suite.evaluations if evaluations[name].over == "run"]
    together, alone = ([e.name for e in asked if e.alone is quiet] for quiet in (False, True))
    entries = _stage(entries, options, display, "train", _train_and_ask, (together, settings))
    if alone:
        entries = _stage(entries, replace(options, workers=1), display, "measure", _ask_all, (alone, settings))
    return gather(suite, options, [_legible(entry, suite, settings) for entry in entries], settings)


def _stage(
    entries: Sequence[Entry],
    options: Options,
    display: Display,
    word: str,
    call: Callable[..., None],
    args: tuple[Any, ...],
) -> list[Entry]:
    """The entries after one job for each that has not failed."""
    # seed by seed: what the first run of a family has compiled, the next ones find on disk
    able = sorted((entry for entry in entries if entry.run), key=lambda entry: entry.seed)
    jobs = [Job(entry.name, call, (entry.planned, options, *args)) for entry in able]
    with display.stage(word, {entry.name: entry.run for entry in able if entry.run}):
        failures = run_jobs(jobs, options.workers or cores(), display.watch)
    for entry in able:
        if entry.name in failures and entry.run:
            _note_failure(entry.run, failures[entry.name])
    return [replace(entry, reason=failures.get(entry.name, entry.reason)) for entry in entries]


def _legible(entry: Entry, suite: Suite, settings: Settings) -> Entry:
    """The entry, failed if a file of its run is damaged."""
    if entry.run is None:
        return entry
    try:
        entry.run.pair()
        [stored(entry.run, name, settings) for name in suite.evaluations]
        if entry.run.history and entry.run.status["status"] == "finished":
            pictures(entry.run)
            views(entry.run, entry.dataset)
            if "lossy" in suite.evaluations:
                reconstructions(entry.run, entry.dataset)
    except ZooError as error:
        return replace(entry, reason=str(error))
    return entry


def _note_failure(run: Run, reason: str) -> None:
    """Write the reason into the folder of a run that has not ended (a damaged folder is left as it is)."""
    try:
        if not run.done:
            run.fail(reason)
    except RunError:
        return


class _Leash:
    """Stops a job whose parent is gone."""

    def on_progress(self, progress: Progress) -> None:
        if orphaned():
            os._exit(1)

    def on_checkpoint(self, progress: Progress) -> None:
        self.on_progress(progress)


def _train_and_ask(planned: Planned, options: Options, names: Sequence[str], settings: Settings) -> None:
    """The work of one process: train the run, then ask the evaluations that need no quiet."""
    torch.set_num_threads(options.threads)
    load_families(options.files)
    data = planned.config.data.load(options.data_dir)
    planned.run.train(planned.config, data, options.device, [_Leash()], planned.runs)
    _ask_all(planned, options, names, settings)
    if planned.run.status["status"] == "finished":
        pictures(planned.run)
        views(planned.run, data)
        if "lossy" in names:
            reconstructions(planned.run, data)


def _ask_all(planned: Planned, options: Options, names: Sequence[str], settings: Settings) -> None:
    torch.set_num_threads(options.threads)
    load_families(options.files)
    data = planned.config.data.load(options.data_dir)
    for name in names:
        ask(planned.run, data, name, settings, options.device)
