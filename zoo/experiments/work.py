"""The work of one job of a suite: train a run, evaluate it, draw its samples; and how much of it is done."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from zoo.data import Dataset
from zoo.errors import LockedError, RunError
from zoo.experiments.folder import cancelled
from zoo.experiments.plan import Options, Planned
from zoo.experiments.processes import orphaned
from zoo.experiments.suite import Suite
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import evaluations
from zoo.runs.evaluation import Settings
from zoo.runs.laws import laws_noted
from zoo.runs.lookup import data_of
from zoo.runs.run import Run
from zoo.runs.stored_scores import decision, evaluate_run, read_scores, reconstructions, samples, views
from zoo.training.callbacks import Progress, StopTraining

CHECK_SECONDS = 1.0
"""The shortest time between two looks for a cancellation."""


def work(planned: Planned, suite: Suite, alone: bool, settings: Settings, options: Options) -> None:
    """Train the run if it is not finished, evaluate it by what runs ``alone`` or not, draw its samples and views.

    A run that another process works on is left to it, and work that is cancelled ends where it is; `measured` tells.
    """
    torch.set_num_threads(options.threads)
    load_families(options.files)
    config, run, stop = planned.config, planned.run, Stop(options.folder)
    try:
        with run.lock():
            data = data_of(config, options.data_dir)
            run.train(config, data, options.device, [stop], planned.runs)
            for name, own in _of_stage(suite, config.seed, alone, settings).items():
                stop.look()
                if own.samples == settings.samples or not read_scores(run, name, settings):
                    evaluate_run(run, data, name, own, options.device)
            draw(run, data, suite)
    except (LockedError, StopTraining):
        pass


def settings_of(suite: Suite, options: Options) -> Settings:
    """How the runs of a suite are evaluated."""
    return Settings(
        particles=suite.particles,
        memory=options.memory,
        against=tuple(suite.against),
        background=suite.background,
        data_dir=options.data_dir,
    )


def asked(suite: Suite, seed: int, settings: Settings) -> dict[str, Settings]:
    """Evaluation -> its settings, of the runs with this seed."""
    once = suite.once.items() if seed == suite.seeds[0] else ()
    return dict.fromkeys(suite.evaluations, settings) | {name: replace(settings, samples=n) for name, n in once}


def measured(run: Run, suite: Suite, seed: int, alone: bool, settings: Settings) -> bool:
    """Whether a run is trained and has all scores of a stage, also those that say why there is no number.

    Raises:
        RunError: a file is damaged.
    """
    stage = _of_stage(suite, seed, alone, settings).items()
    return run.done and all(read_scores(run, name, settings) or read_scores(run, name, own) for name, own in stage)


def settled(run: Run, suite: Suite, seed: int, alone: bool, settings: Settings) -> bool:
    """Whether a job would do nothing: the run is `measured`, nothing failed and its laws are noted."""
    try:
        stage = _of_stage(suite, seed, alone, settings).items()
        found = [read_scores(run, name, settings) or read_scores(run, name, own) or [] for name, own in stage]
        good = all(score.status != "failed" for scores in found for score in scores)
        return all(found) and good and run.status["status"] == "finished" and laws_noted(run.folder)
    except RunError:  # a job says what is damaged
        return False


def draw(run: Run, data: Dataset, suite: Suite) -> None:
    """Draw what the report shows of a run that finished, once."""
    if run.status["status"] == "finished":
        samples(run, data)
        views(run, data)
        decision(run, data)
        if "lossy" in suite.evaluations:
            reconstructions(run, data)


def _of_stage(suite: Suite, seed: int, alone: bool, settings: Settings) -> dict[str, Settings]:
    """What `asked` holds of evaluations of one run that measure time (``alone``), or that do not."""
    entries = asked(suite, seed, settings).items()
    return {k: own for k, own in entries if evaluations[k].over == "run" and evaluations[k].alone is alone}


class Stop:
    """A callback that stops training once the suite is cancelled, and this process once its parent is gone."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.looked = folder, 0.0

    def look(self) -> None:
        """Stop if there is a reason to.

        Raises:
            StopTraining: the suite is cancelled.
        """
        if orphaned():
            os._exit(1)
        if self.folder and cancelled(self.folder):
            raise StopTraining

    def on_progress(self, progress: Progress) -> None:
        if time.monotonic() - self.looked >= CHECK_SECONDS:
            self.looked = time.monotonic()
            self.look()

    def on_checkpoint(self, progress: Progress) -> None:
        self.on_progress(progress)
