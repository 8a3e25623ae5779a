"""Trackers of experiments: TensorBoard, MLflow and Weights & Biases follow a run through one callback.

Each is an extra of its own name: ``pip install 'pyro-zoo[mlflow]'``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from zoo.errors import ZooError
from zoo.files import folder_name
from zoo.runs.config import RunConfig
from zoo.runs.run import Run
from zoo.training.callbacks import Progress

PROJECT = "pyro-zoo"
"""The project of Weights & Biases, and the experiment of MLflow, that runs are part of."""


class Log(Protocol):
    """Where the numbers of one run go; it is continued where an earlier process has left it."""

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Add numbers by name, at a step of training."""

    def close(self, status: str) -> None:
        """The run has ended as ``status``: nothing more is written."""


class Tracker:
    """A callback that sends the numbers of each checkpoint to a tracker: ``train``, ``validation`` and so on.

    Numbers that are not finite are left out. A tracker that fails is left with a warning, and training goes on. Nothing
    is opened before the first checkpoint, so a run that is finished leaves no second record.

    Args:
        name: tensorboard, mlflow or wandb.
        run: whose name identifies it; TensorBoard and Weights & Biases write into its folder.
        config: its settings, which are recorded.

    Raises:
        ZooError: an unknown tracker, or its extra is not installed.
    """

    def __init__(self, name: str, run: Run, config: RunConfig) -> None:
        self.name = name
        if name not in MODULES:
            raise ZooError(f"a tracker is one of {', '.join(MODULES)}; got {name!r}")
        try:
            self._library = import_module(MODULES[name])
        except ImportError as error:
            raise ZooError(f"the tracker {name} needs the extra: pip install 'pyro-zoo[{name}]'") from error
        self._make, self._run, self._config = LOGS[name], run, config
        self._log: Log | None = None
        self._lost = False

    def on_progress(self, progress: Progress) -> None:
        """Nothing between checkpoints."""

    def on_checkpoint(self, progress: Progress) -> None:
        if self._lost:
            return
        try:
            self._send(progress)
        except Exception as error:  # of a server, a disk, a library: the run itself goes on
            self._lost = True
            warnings.warn(f"{self.name} no longer follows this run: {error}; training goes on", stacklevel=1)

    def _send(self, progress: Progress) -> None:
        if self._log is None:
            self._log = self._make(self._library, self._run, self._config)
        if progress.history:
            last = dict(progress.history[-1])
            step = int(last.pop("step"))
            self._log.write({name: value for name, value in last.items() if math.isfinite(value)}, step)
        if progress.status != "running":
            self._log.close(progress.status)


class _TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, library: Any, run: Run, config: RunConfig) -> None:
        self._writer = library.SummaryWriter(str(run.folder / "tensorboard"))

    def write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.close()


class _MLflow:
    """A run of the experiment `PROJECT`, where ``MLFLOW_TRACKING_URI`` says; its tag ``zoo.run`` is the run's place."""

    def __init__(self, library: Any, run: Run, config: RunConfig) -> None:
        self._client = library.MlflowClient()
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        name = _name(run)
        known = self._client.search_runs([experiment], f"tags.`zoo.run` = '{name}'")
        if known:
            self._id = known[0].info.run_id
            return
        self._id = self._client.create_run(experiment, run_name=name, tags={"zoo.run": name}).info.run_id
        for key, value in _settings(config).items():
            self._client.log_param(self._id, key, value)

    def write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self, status: str) -> None:
        self._client.set_terminated(self._id, "FINISHED" if status == "finished" else "FAILED")


class _WandB:
    """A run of the project `PROJECT`, as ``WANDB_MODE`` says; its id is the run's place, so a resumed run goes on."""

    def __init__(self, library: Any, run: Run, config: RunConfig) -> None:
        name = _name(run)
        settings = {"project": PROJECT, "id": folder_name(name), "name": name, "config": _settings(config)}
        self._run = library.init(**settings, dir=str(run.folder), resume="allow", reinit="create_new")

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self, status: str) -> None:
        self._run.finish(exit_code=0 if status == "finished" else 1)


def _name(run: Run) -> str:
    """Data, family, seed and digest: the run's place among others."""
    return "-".join(run.folder.parts[-3:])


def _settings(config: RunConfig) -> dict[str, Any]:
    """All settings of a run by name, those of the family and of training among them."""
    plain = {"family": config.name, "data": config.data.name, "fingerprint": config.fingerprint, "seed": config.seed}
    return plain | config.hyper | {f"train.{name}": value for name, value in config.recipe.model_dump().items()}


MODULES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""Each tracker's name, which is that of its extra, and its module."""
LOGS: dict[str, Callable[[Any, Run, RunConfig], Log]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WandB,
}
