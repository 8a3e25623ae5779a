"""A comparison: train and measure every run of a suite, and gather what its report is drawn from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from zoo.building import find
from zoo.data import Dataset
from zoo.display import Display
from zoo.errors import ZooError
from zoo.evaluating import Settings
from zoo.measure import ask, ask_together, pictures, rows
from zoo.outside import load_families
from zoo.provenance import provenance
from zoo.registry import Evaluation, evaluations, families, load_shelves
from zoo.report.study import Study
from zoo.runs import DataSpec, Run, RunConfig, configure
from zoo.scores import Score
from zoo.suite import Suite
from zoo.training import Progress, pick_device
from zoo.workers import Job, cores, orphaned, run_jobs


@dataclass(frozen=True)
class Options:
    """How a suite is run: where files go, on which device, by how many workers of how many threads."""

    runs: Path = Path("runs")
    device: str = "auto"
    workers: int = 0
    threads: int = 1
    data_dir: Path | None = None
    files: tuple[Path, ...] = ()
    data: DataSpec = field(default_factory=DataSpec)
    """Split, seed and event of a person's own data; the names of the data sets are the suite's."""
    recipe: dict[str, Any] | None = None
    hyper: dict[str, Any] | None = None
    quick: bool = False
    command: str = ""


@dataclass(frozen=True)
class Entry:
    """One planned run, or the reason why there can be none."""

    family: str
    guide: str
    dataset: Dataset
    seed: int
    config: RunConfig | None
    reason: str = ""

    @property
    def name(self) -> str:
        """What a person calls it, unique in its suite."""
        label = f"{self.family}+{self.guide}" if self.guide else self.family
        return f"{label} on {self.dataset.name}, seed {self.seed}"


def plan(suite: Suite, options: Options) -> list[Entry]:
    """Every run of a suite, in its order.

    Raises:
        ZooError: an unknown family, guide, data set, evaluation or setting.
    """
    load_shelves()
    load_families(options.files)
    for name in suite.evaluations:
        evaluations[name]
    return [
        _entry(suite, options, name, spec, dataset, seed)
        for spec, dataset in _datasets(suite, options)
        for name in suite.families
        for seed in suite.seeds
    ]


def compare(suite: Suite, options: Options, display: Display) -> Study:
    """Train and measure what is not yet there, and gather the study. A run's failure is a row with its reason."""
    entries = plan(suite, options)
    settings = Settings(particles=suite.particles)
    asked = [evaluations[name] for name in suite.evaluations]
    together = [e.name for e in asked if e.over == "run" and not e.alone]
    failures = _stage(entries, options, display, "train", _train_and_ask, (together, settings))
    alone = [e.name for e in asked if e.over == "run" and e.alone]
    if alone:
        able = [entry for entry in entries if entry.name not in failures]
        quiet = Options(**(vars(options) | {"workers": 1}))
        failures |= _stage(able, quiet, display, "measure", _ask_all, (alone, settings))
    return Study(
        suite=suite.name,
        quick=options.quick,
        provenance=_provenance(suite, options, entries, settings),
        scores=list(_scores(suite, entries, options, asked, settings, failures)),
        curves=[row for entry in entries for row in _curves(entry, options)],
        pictures=_pictures(entries, options),
    )


def _datasets(suite: Suite, options: Options) -> Iterator[tuple[DataSpec, Dataset]]:
    for name in suite.data:
        spec = options.data.model_copy(update={"name": name})
        yield spec, spec.load(options.data_dir)


def _entry(suite: Suite, options: Options, name: str, spec: DataSpec, dataset: Dataset, seed: int) -> Entry:
    family, guide = find(name)
    recipe = suite.recipes.get(name, {}) | (options.recipe or {})
    hyper = suite.hyper.get(name, {}) | (options.hyper or {})
    try:
        config = configure(name, spec, dataset, seed=seed, hyper=hyper, recipe=recipe)
    except ZooError as error:
        if len(suite.data) == 1:
            raise
        return Entry(family.name, guide, dataset, seed, None, str(error))
    steps = round(config.recipe.steps * suite.share)
    config = config.model_copy(update={"recipe": config.recipe.updated({"steps": steps})})
    return Entry(family.name, guide, dataset, seed, config)


def _stage(
    entries: Sequence[Entry],
    options: Options,
    display: Display,
    word: str,
    call: Callable[..., None],
    args: tuple[Any, ...],
) -> dict[str, str]:
    """Run one job for each entry; the reasons of the failures by name."""
    jobs, runs = [], {}
    for entry in entries:
        if entry.config is not None:
            runs[entry.name] = Run.of(entry.config, options.runs)
            jobs.append(Job(entry.name, call, (entry.config, options, *args)))
    with display.stage(word, runs):
        failures = run_jobs(jobs, options.workers or cores(), display.watch)
    for name, reason in failures.items():
        run = runs[name]
        if not run.done:
            told = run.status
            failures[name] = told["reason"] if told["status"] == "failed" else reason
            run.fail(failures[name])
    return failures


class _Leash:
    """Stops a job whose parent is gone."""

    def watch(self, progress: Progress) -> None:
        if orphaned():
            os._exit(1)

    def keep(self, progress: Progress) -> None:
        self.watch(progress)


def _train_and_ask(config: RunConfig, options: Options, names: Sequence[str], settings: Settings) -> None:
    """The work of one process: train the run, then ask the evaluations that need no quiet."""
    torch.set_num_threads(options.threads)
    data = config.data.load(options.data_dir)
    load_families(options.files)
    run = Run.of(config, options.runs)
    try:
        run.train(config, data, options.device, [_Leash()])
    except ZooError as error:
        raise SystemExit(1 if str(error) else 2) from None
    _ask_all(config, options, names, settings)
    if run.status["status"] == "finished":
        pictures(run)


def _ask_all(config: RunConfig, options: Options, names: Sequence[str], settings: Settings) -> None:
    torch.set_num_threads(options.threads)
    data = config.data.load(options.data_dir)
    load_families(options.files)
    for name in names:
        ask(Run.of(config, options.runs), data, name, settings, options.device)


def _scores(
    suite: Suite,
    entries: Sequence[Entry],
    options: Options,
    asked: Sequence[Evaluation],
    settings: Settings,
    failures: dict[str, str],
) -> Iterator[dict[str, Any]]:
    for _, group in groupby(entries, key=lambda entry: (entry.dataset.name, entry.family, entry.guide)):
        seeds = list(group)
        for evaluation in asked:
            if evaluation.over == "seeds":
                yield from _over_seeds(suite, seeds, options, evaluation.name, settings, failures)
                continue
            for entry in seeds:
                scores = _of_run(entry, options, evaluation.name, settings, failures)
                yield from rows(scores, **_where(suite, entry, options, entry.seed, evaluation.name))


def _of_run(
    entry: Entry, options: Options, name: str, settings: Settings, failures: dict[str, str]
) -> list[Score]:  # fmt: skip
    if entry.config is None:
        return [Score.skipped(name, entry.reason)]
    if entry.name in failures:
        return [Score.failed(name, failures[entry.name])]
    return ask(Run.of(entry.config, options.runs), entry.dataset, name, settings, options.device)


def _over_seeds(
    suite: Suite, seeds: Sequence[Entry], options: Options, name: str, settings: Settings, failures: dict[str, str]
) -> list[dict[str, Any]]:
    where = _where(suite, seeds[0], options, "all", name)
    able = [entry for entry in seeds if entry.config is not None and Run.of(entry.config, options.runs).done]
    told = [
        Score.failed(name, f"seed {e.seed}: {failures[e.name]}") for e in seeds if e.name in failures and e not in able
    ]
    if not able:
        return rows(told or [Score.skipped(name, seeds[0].reason)], **where)
    runs = [Run.of(entry.config, options.runs) for entry in able if entry.config is not None]
    return rows([*ask_together(runs, seeds[0].dataset, name, settings), *told], **where)


def _where(suite: Suite, entry: Entry, options: Options, seed: int | str, evaluation: str) -> dict[str, Any]:
    return {
        "suite": suite.name,
        "family": entry.family,
        "guide": entry.guide,
        "group": _group(entry, options),
        "dataset": entry.dataset.name,
        "seed": seed,
        "evaluation": evaluation,
    }


def _curves(entry: Entry, options: Options) -> Iterator[dict[str, Any]]:
    """The history of a run that took steps; an implicit model's validation score is its discrepancy, told once."""
    if entry.config is None or entry.config.recipe.steps == 0:
        return
    metrics = (
        ["train", "discrepancy"] if _group(entry, options) == "implicit" else ["train", "validation", "discrepancy"]
    )
    for row in Run.of(entry.config, options.runs).history:
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


def _group(entry: Entry, options: Options) -> str:
    """The declared group, else what the traces tell."""
    declared = families[entry.family].group
    if declared or entry.config is None:
        return declared
    run = Run.of(entry.config, options.runs)
    return run.pair().group if run.done else ""


def _pictures(entries: Sequence[Entry], options: Options) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        data = entry.dataset
        page = found.setdefault(
            data.name, {"event": str(data.event), "real": data.test[:24].tolist(), "samples": dict[str, Any]()}
        )
        if entry.config is None or entry.config.name in page["samples"]:
            continue
        run = Run.of(entry.config, options.runs)
        if run.status["status"] == "finished":
            page["samples"][entry.config.name] = pictures(run).reshape(-1, *data.event.shape).tolist()
    return found


def _provenance(suite: Suite, options: Options, entries: Sequence[Entry], settings: Settings) -> dict[str, Any]:
    device = pick_device(options.device)
    return {
        **provenance(device),
        "threads": options.threads,
        "workers": options.workers or cores(),
        "command": options.command,
        "about": suite.about,
        "settings": {"particles": settings.particles, "seeds": suite.seeds, "share of steps": suite.share},
        "datasets": {entry.dataset.name: entry.dataset.source for entry in entries},
    }
