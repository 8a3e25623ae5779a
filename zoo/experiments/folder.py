"""A suite's folder: what was asked for, and whether it is cancelled.

All of it is in files, so every machine that sees the folder knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from zoo.errors import RunError
from zoo.experiments.plan import Entry, Options
from zoo.experiments.suite import Suite
from zoo.files import read_json, write_json, write_text
from zoo.runs.run import Run

JOBS = "jobs"
"""The folder of all this in that of a suite's report; executors keep their logs in it."""
MARK = "cancelled"
OPTIONS = TypeAdapter(Options)


@dataclass(frozen=True)
class Stored:
    """What was asked for."""

    suite: Suite
    options: Options
    cwd: Path
    """The folder that relative paths start from."""
    runs: Mapping[str, tuple[Run, int]]
    """Each run that can be trained, and its seed, by its name in the suite."""


def write_plan(folder: Path, suite: Suite, options: Options, entries: Sequence[Entry]) -> None:
    """Write to a suite's folder what is asked for; an earlier cancellation is over."""
    runs = {entry.name: (str(entry.run.folder.resolve()), entry.seed) for entry in entries if entry.run}
    plan = {"suite": suite.model_dump(mode="json"), "options": OPTIONS.dump_python(options, mode="json")}
    write_json(folder / JOBS / "plan.json", plan | {"cwd": str(Path.cwd()), "runs": runs})
    (folder / JOBS / MARK).unlink(missing_ok=True)


def read_plan(folder: Path) -> Stored:
    """What `write_plan` wrote.

    Raises:
        RunError: there is no plan, or it is damaged.
    """
    path = folder / JOBS / "plan.json"
    if not path.exists():
        raise RunError(f"{folder} is no suite's folder ({path} is not there); zoo compare makes one")
    plan = read_json(path)
    try:
        runs = {name: (Run(Path(place)), seed) for name, (place, seed) in plan["runs"].items()}
        return Stored(Suite(**plan["suite"]), OPTIONS.validate_python(plan["options"]), Path(plan["cwd"]), runs)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise RunError(f"{path} is of another version of the zoo ({error}); run zoo compare again") from error


def cancel(folder: Path) -> None:
    """Ask the jobs of a suite, and the command that waits for them, to stop where they are."""
    write_text(folder / JOBS / MARK, "")


def cancelled(folder: Path) -> bool:
    """Whether a suite has been cancelled since it was last run."""
    return (folder / JOBS / MARK).exists()
