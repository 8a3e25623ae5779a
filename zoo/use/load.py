"""The way back from a run to its trained model."""

from __future__ import annotations

from pathlib import Path

from zoo.devices import pick_device
from zoo.runs.laws import laws_noted, require_laws
from zoo.runs.lookup import dataset_of, find_run
from zoo.runs.published import example_of
from zoo.use.model import TrainedModel


def load(
    model: str | Path, *, runs: str | Path = "runs", device: str = "auto", data_dir: Path | None = None
) -> TrainedModel:
    """The trained model of a run.

    Args:
        model: a run's folder, a file in it, or the name of a family that has one run under ``runs``; or a published
            model: ``pixelcnn-digits``, or with the address of its registry, ``hf://OWNER/REPOSITORY/NAME``.
        runs: the folder of the runs.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        data_dir: where to look for the files of MNIST.

    Raises:
        ZooError: an unknown name.
        RunError: no such run or several, one that has not finished or diverged, or damaged files.
        ContractError: its pair breaks a ground law.

    Example:
        >>> import zoo
        >>> zoo.load("runs/nothing-here/vae")
        Traceback (most recent call last):
            ...
        zoo.errors.RunError: there is no run 'runs/nothing-here/vae'; train one by zoo train, or see zoo runs
    """
    run = find_run(model, Path(runs))
    run.require_finished()
    pair = run.pair()
    if not (run.config.unchecked or laws_noted(run.folder)):
        data = example_of(run) or dataset_of(run, data_dir).given_to(pair)  # a published model needs no data to load
        require_laws(lambda: pair, data.validation, run.folder)
    return TrainedModel(pair.to(pick_device(device)), run=run, data_dir=data_dir)
