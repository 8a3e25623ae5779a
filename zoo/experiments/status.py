"""How far the runs of a suite have come, read from their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.errors import RunError
from zoo.experiments.folder import read_plan
from zoo.experiments.suite import Suite
from zoo.experiments.work import measured, settings_of
from zoo.pairs.plugins import load_families
from zoo.runs.evaluation import Settings
from zoo.runs.run import Run

WORDS = ("finished", "running", "waiting", "failed")


@dataclass(frozen=True)
class State:
    """How far one run has come, with a few words on it.

    ``finished``: trained and measured. ``running``: some process works on it. ``waiting``: for a job to begin, to go on
    or to measure. ``failed``: with the reason; the next `zoo compare` tries again.
    """

    word: Literal["finished", "running", "waiting", "failed"]
    detail: str = ""


def state_of(run: Run, suite: Suite, seed: int, settings: Settings) -> State:
    """The state of a run; one whose files are damaged has failed."""
    try:
        status = run.status
        if run.locked:
            return State("running", _step(status) or "starts")
        if status["status"] == "failed":
            return State("failed", status["reason"])
        if not run.done:
            return State("waiting", f"stopped at {step}" if (step := _step(status)) else "not started")
        if all(measured(run, suite, seed, alone, settings) for alone in (False, True)):
            return State("finished", "diverged: " + status["reason"] if status["status"] == "diverged" else "")
        return State("waiting", "trained, not measured")
    except RunError as error:
        return State("failed", str(error))


def states(folder: Path) -> dict[str, State]:
    """The state of every run of a suite, by its name.

    Args:
        folder: of the suite's report.

    Raises:
        RunError: there is no plan in it, or it is damaged.
    """
    stored = read_plan(folder)
    load_families(stored.cwd / file for file in stored.options.files)
    settings = settings_of(stored.suite, stored.options)
    return {name: state_of(run, stored.suite, seed, settings) for name, (run, seed) in stored.runs.items()}


def _step(status: dict[str, Any]) -> str:
    return f"step {status['step']} of {status['steps']}" if "steps" in status else ""
