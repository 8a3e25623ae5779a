"""One run trained by an executor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.errors import RunError
from zoo.experiments.display import Display
from zoo.experiments.executors.executor import Executor
from zoo.experiments.processes import Job
from zoo.pairs.plugins import load_families
from zoo.runs.config import RunConfig
from zoo.runs.lookup import data_of
from zoo.runs.run import Run
from zoo.runs.trackers import Tracker


def train_elsewhere(
    executor: Executor,
    run: Run,
    config: RunConfig,
    *,
    device: str = "auto",
    data_dir: Path | None = None,
    trackers: Sequence[str] = (),
    display: Display,
) -> None:
    """Train a run as the one job of an executor, and wait for it.

    Args:
        executor: where it is trained.
        run, config: its folder, and the settings that belong to it.
        device, data_dir: as its machine has them.
        trackers: see `zoo.runs.trackers.Tracker`.
        display: shows how far it is.

    Raises:
        RunError: it failed, with the reason.
    """
    name = f"{config.name} on {Path(config.data.name).name}, seed {config.seed}"
    with display.stage("train", {name: run}):
        job = Job(name, _train, (run, config, device, data_dir, tuple(trackers)))
        for reason in executor.run([job], display.watch).values():
            raise RunError(f"{name}: {reason}")


def _train(run: Run, config: RunConfig, device: str, data_dir: Path | None, trackers: Sequence[str]) -> None:
    load_families(map(Path, config.files))
    callbacks = [Tracker(each, run, config) for each in trackers]
    run.train(config, data_of(config, data_dir), device, callbacks)
