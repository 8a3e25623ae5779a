"""What an executor does, and which there are."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from zoo.errors import ZooError
from zoo.experiments.processes import Job
from zoo.pairs.build import parse_value

Watch = Callable[[Sequence[str]], None]
KINDS = {"local": "Local", "submitit": "Submitit", "ray": "Ray"}
"""The name of an executor, which is that of its module, and its class."""


class Executor(Protocol):
    """Runs independent, resumable jobs somewhere."""

    def run(self, jobs: Sequence[Job], watch: Watch, alone: bool = False) -> dict[str, str]:
        """Run all jobs, and wait for them.

        Args:
            jobs: with unique names; their folders are seen by every machine that runs one.
            watch: called about once a second with the names of the jobs now running, and with none at the end; what it
                raises ends the call.
            alone: one job after another on one machine, on which no other job of this executor runs meanwhile.

        Returns:
            The reason of each failure by the job's name.
        """


def executor_of(name: str, options: Mapping[str, Any], *, workers: int, device: str, folder: Path) -> Executor:
    """The executor called ``name``.

    Args:
        name: a key of `KINDS`.
        options: its own settings by name, see its class.
        workers: the most jobs at a time; as many as there are processors, GPUs or nodes if 0.
        device: that jobs run on; with ``cuda``, each has one GPU.
        folder: for logs and files of its own.

    Raises:
        ZooError: an unknown name or setting, the device is not available, or the extra is not installed.

    Example:
        >>> executor_of("local", {}, workers=2, device="cpu", folder=Path("jobs"))
        Local(workers=2, gpus=())
    """
    if name not in KINDS:
        raise ZooError(f"an executor is one of {', '.join(KINDS)}; got {name!r}")
    kind = getattr(import_module(f"zoo.experiments.executors.{name}"), KINDS[name])
    executor: Executor = kind.of(dict(options), workers, device, folder)
    return executor


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """The settings of an executor: each text is written ``key=value``, or is the name of a TOML file of such keys.

    Raises:
        ZooError: a text is neither, or a key is given twice.

    Example:
        >>> read_options(["timeout_min=240", "slurm_partition=gpu"])
        {'timeout_min': 240, 'slurm_partition': 'gpu'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        given = {key: parse_value(value)} if equals else _table(Path(text))
        if twice := found.keys() & given.keys():
            raise ZooError(f"{', '.join(sorted(twice))} of the executor is given twice; leave one out")
        found |= given
    return found


def _table(path: Path) -> dict[str, Any]:
    if path.suffix != ".toml":
        raise ZooError(f"an executor's option is key=value, or a TOML file of such keys; got {str(path)!r}")
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ZooError(f"{path} cannot be read as TOML: {error}") from error
