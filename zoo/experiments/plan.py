"""The runs of a suite: each with its settings, or the reason why it cannot be trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data import Dataset
from zoo.errors import UnfitError, ZooError
from zoo.experiments.suite import Suite
from zoo.metrics.memory import MEMORY
from zoo.pairs.build import read_name
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import evaluations, load_shelves
from zoo.runs.config import DataSpec, RunConfig, configure
from zoo.runs.run import Run
from zoo.scores import label


@dataclass(frozen=True)
class Options:
    """How a suite is run: where files go, on which device, with how many workers of how many threads."""

    runs: Path = Path("runs")
    device: str = "auto"
    workers: int = 0
    """Runs at a time; as many as there are processors if 0."""
    threads: int = 1
    data_dir: Path | None = None
    files: tuple[Path, ...] = ()
    """Python files outside the zoo that define families."""
    data: DataSpec = field(default_factory=DataSpec)
    """Split, seed and event of a person's own data; the names of the data sets are the suite's."""
    recipe: dict[str, Any] = field(default_factory=dict)
    hyper: dict[str, Any] = field(default_factory=dict)
    memory: int = MEMORY
    """The most bytes that a chunk of an evaluation may take."""
    quick: bool = False
    unchecked: bool = False
    """The ground laws are skipped."""
    command: str = ""
    folder: Path | None = None
    """The suite's folder, in which its jobs are watched and cancelled (see `zoo.experiments.folder`)."""
    executor: str = "local"
    executor_options: dict[str, Any] = field(default_factory=dict)
    """See `zoo.experiments.executors.executor.executor_of`."""


@dataclass(frozen=True)
class Planned:
    """A run that can be trained, one of ``runs`` that differ only in their seed."""

    config: RunConfig
    run: Run
    runs: int = 1


@dataclass(frozen=True)
class Entry:
    """One run of a suite: a family on a data set with a seed.

    ``planned`` is ``None`` if the family does not take the data. ``reason`` says why, or why the run failed; it is
    empty for a run that can be trained or is.
    """

    family: str
    guide: str
    dataset: Dataset
    seed: int
    planned: Planned | None
    reason: str = ""
    waiting: str = ""
    """What the scores that it does not have yet wait for."""

    @property
    def label(self) -> str:
        """See `zoo.scores.label`."""
        return label(self.family, self.guide)

    @property
    def name(self) -> str:
        """A readable name, unique in its suite."""
        return f"{self.label} on {self.dataset.name}, seed {self.seed}"

    @property
    def run(self) -> Run | None:
        """The run, if it has not failed."""
        return self.planned.run if self.planned and not self.reason else None


def plan(suite: Suite, options: Options) -> list[Entry]:
    """The runs of a suite in its order, without duplicates.

    Raises:
        ZooError: an unknown family, guide, data set, evaluation or setting, settings for a family that is not in the
            suite, two data sets of one name, or data that no family of the suite takes.
    """
    load_shelves()
    load_families(options.files)
    for name in [*suite.evaluations, *suite.once]:
        if evaluations[name].over != "run" and name in suite.once:
            raise ZooError(f"{name} is measured over all seeds, so it cannot be asked of one; move it to evaluations")
    entries = [entry for part in (suite, *suite.also) for entry in _entries(part, options)]
    if not any(entry.planned for entry in entries):
        raise ZooError(entries[0].reason)
    return list({entry.name: entry for entry in entries}.values())


def _entries(suite: Suite, options: Options) -> Iterator[Entry]:
    names = suite.names()
    for name in [*suite.hyper, *suite.recipes]:
        if name not in names:
            raise ZooError(f"the suite has settings for {name!r}; its families are {', '.join(names)}")
    for spec, dataset in _datasets(suite, options):
        for name in names:
            for seed in suite.seeds:
                yield _entry(suite, options, name, spec, dataset, seed)


def _datasets(suite: Suite, options: Options) -> Iterator[tuple[DataSpec, Dataset]]:
    known: dict[str, str] = {}
    for name in dict.fromkeys(suite.data):
        spec, dataset = DataSpec(**options.data.model_dump() | {"name": name}).resolved(options.data_dir)
        if dataset.name in known:
            raise ZooError(f"{known[dataset.name]} and {name} are both called {dataset.name!r}; rename one of them")
        known[dataset.name] = name
        yield spec, dataset


def _entry(suite: Suite, options: Options, name: str, spec: DataSpec, dataset: Dataset, seed: int) -> Entry:
    parsed = read_name(name)
    dataset = dataset if parsed.family.event is None else dataset.in_own_units()
    where = parsed.variant, parsed.guide, dataset, seed
    recipe = suite.recipes.get(name, {}) | options.recipe
    hyper = suite.hyper.get(name, {}) | options.hyper
    try:
        config = configure(name, spec, dataset, seed=seed, hyper=hyper, recipe=recipe, unchecked=options.unchecked)
    except UnfitError as error:
        return Entry(*where, None, str(error))
    if "steps" not in options.recipe:
        steps = round(config.recipe.steps * suite.share)
        config = config.model_copy(update={"recipe": config.recipe.updated({"steps": steps})})
    return Entry(*where, Planned(config, Run.of(config, options.runs), len(suite.seeds)))
