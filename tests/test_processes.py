from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.experiments.processes import Job, run_jobs


def write(path: Path) -> None:
    path.write_text("done")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    raise SystemExit(3)


def explain() -> None:
    raise ZooError("expected this, got that")


def stumble() -> None:
    raise ValueError("of its own")


def sleep(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.rename(path)  # whoever sees the file can read it
    time.sleep(60)


@pytest.mark.thorough
def test_a_crash_fails_that_job_and_no_other(tmp_path: Path) -> None:
    jobs = [
        Job("one", write, (tmp_path / "one",)),
        Job("crash", crash, ()),
        Job("leave", leave, ()),
        Job("explain", explain, ()),
        Job("stumble", stumble, ()),
        Job("two", write, (tmp_path / "two",)),
    ]
    failures = run_jobs(jobs, 2, lambda running: None)
    assert failures == {
        "crash": "its process was killed by SIGKILL (out of memory?)",
        "leave": "its process ended with exit code 3",
        "explain": "expected this, got that",
        "stumble": "ValueError: of its own",
    }
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "done"


def test_an_interrupt_stops_every_job(tmp_path: Path) -> None:
    def interrupt(running: object) -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs([Job("long", sleep, (tmp_path / "pid",))], 1, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
