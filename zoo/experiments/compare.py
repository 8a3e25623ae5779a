"""A comparison: train and evaluate every run of a suite, and collect the study that its report is drawn from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import replace
from pathlib import Path

from zoo.errors import RunError
from zoo.experiments.calibrate import calibrate
from zoo.experiments.collect import study_of
from zoo.experiments.display import Display
from zoo.experiments.executors.executor import Executor, executor_of
from zoo.experiments.folder import JOBS, cancelled, read_plan, write_plan
from zoo.experiments.plan import Entry, Options, plan
from zoo.experiments.processes import Job
from zoo.experiments.status import state_of
from zoo.experiments.suite import Suite
from zoo.experiments.work import measured, settings_of, settled, work
from zoo.pairs.registry import evaluations
from zoo.report.study import Study
from zoo.runs.evaluation import Settings

WAIT_SECONDS = 1.0
"""Between two looks at runs that other processes work on."""


def compare(suite: Suite, options: Options, display: Display) -> Study:
    """Train and evaluate whatever is not on disk yet, and collect the study.

    Raises:
        ZooError: a name in the suite is unknown (see `zoo.experiments.plan.plan`), the device or the executor is not
            available.
        RunError: the suite was cancelled.
    """
    folder = options.folder or options.runs
    executor = executor_of(
        options.executor,
        options.executor_options,
        workers=options.workers,
        device=options.device,
        folder=folder / JOBS,
    )
    entries = plan(suite, options)
    if options.folder:
        write_plan(options.folder, suite, options, entries)
    settings = settings_of(suite, options)
    calibrate([entry.planned.config for entry in entries if entry.planned], display.console, options.threads)
    entries = _run_stage("train", entries, suite, settings, options, display, executor)
    if any(evaluations[name].alone for name in (*suite.evaluations, *suite.once)):
        entries = _run_stage("measure", entries, suite, settings, options, display, executor)
    return study_of(entries, suite, settings, options)


def gather(folder: Path) -> Study:
    """The study of what there is in a suite's folder; nothing is trained or measured.

    What is missing of a run that has not finished is a row that says what it waits for.

    Args:
        folder: of the suite's report.

    Raises:
        RunError: there is no plan in it, or it is damaged.
    """
    stored = read_plan(folder)
    with chdir(stored.cwd):
        suite, options = stored.suite, stored.options
        settings = settings_of(suite, options)
        entries = [_as_it_is(entry, suite, settings) for entry in plan(suite, options)]
        return study_of(entries, suite, settings, options)


def _as_it_is(entry: Entry, suite: Suite, settings: Settings) -> Entry:
    """The entry with what it waits for, or why it failed."""
    if entry.run is None:
        return entry
    state = state_of(entry.run, suite, entry.seed, settings)
    if state.word == "failed":
        return replace(entry, reason=state.detail)
    if state.word == "finished":
        return entry
    waiting = f"{state.word}: {state.detail}"
    return replace(entry, waiting=waiting, reason="" if entry.run.done else waiting)


def _run_stage(
    word: str,
    entries: Sequence[Entry],
    suite: Suite,
    settings: Settings,
    options: Options,
    display: Display,
    executor: Executor,
) -> list[Entry]:
    """The entries after a job for each that has not failed: it evaluates its run, or with ``measure`` times it."""
    alone = word == "measure"
    # seed by seed: the first run of a family compiles, and the others find the library on disk
    active = sorted((entry for entry in entries if entry.run), key=lambda entry: entry.seed)
    left = [entry for entry in active if entry.run and not settled(entry.run, suite, entry.seed, alone, settings)]
    failures: dict[str, str] = {}

    def watch(running: Sequence[str]) -> None:
        if options.folder and cancelled(options.folder):
            raise RunError(f"{suite.name} was cancelled by zoo cancel; the same command goes on from here")
        display.watch(running)

    with display.stage(word, {entry.name: entry.run for entry in left if entry.run}):
        while left:
            free = [entry for entry in left if entry.run and not entry.run.locked]
            if free:
                jobs = [Job(each.name, work, (each.planned, suite, alone, settings, options)) for each in free]
                failures |= executor.run(jobs, watch, alone)
            else:  # another process works on them
                watch([])
                time.sleep(WAIT_SECONDS)
            left = [
                entry
                for entry in left
                if entry.run and entry.name not in failures
                and not measured(entry.run, suite, entry.seed, alone, settings)
            ]  # fmt: skip
    return _with_failures(entries, failures)


def _with_failures(entries: Sequence[Entry], failures: Mapping[str, str]) -> list[Entry]:
    """The entries, those of failed jobs with the reason, which is noted in the folders of runs that are not trained."""
    for entry in entries:
        if entry.name in failures and entry.run:
            with suppress(RunError):  # a damaged folder is left as it is
                if not entry.run.done:
                    entry.run.fail(failures[entry.name])
    return [replace(entry, reason=failures.get(entry.name, entry.reason)) for entry in entries]
