"""What a machine of a cluster is given to do."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.experiments.processes import Job, run_jobs

RETRIES = 3
"""How often a job that was killed is run again before it counts as failed."""
POLL_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Remote:
    """Jobs for one process of some machine, in the folder from which they were submitted.

    One job runs in that process itself; several run one after another, each in a process of its own.
    """

    jobs: tuple[Job, ...]
    folder: Path

    def __call__(self) -> dict[str, str]:
        """The reason of each failure by the job's name."""
        try:
            os.chdir(self.folder)
        except OSError:
            where = f"{self.folder} is not on {platform.node()}: all machines of a cluster have to see this folder"
            return dict.fromkeys((job.name for job in self.jobs), where)
        if len(self.jobs) > 1:
            return run_jobs(self.jobs, 1, lambda running: None)
        [job] = self.jobs
        reason = job.failure()
        return {job.name: reason} if reason else {}

    @property
    def shown(self) -> list[str]:
        """The name of its job; of several it is not known which one runs."""
        return [job.name for job in self.jobs] if len(self.jobs) == 1 else []

    def checkpoint(self) -> Any:
        """What submitit queues after a preemption or a timeout: the same jobs, which go on from their files."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submissions(jobs: tuple[Job, ...], alone: bool) -> list[Remote]:
    """One submission a job, or one with all jobs, one after another, if they run ``alone``."""
    here = Path.cwd()
    return [Remote(jobs, here)] * bool(jobs) if alone else [Remote((job,), here) for job in jobs]


def failed(remote: Remote, reason: str) -> dict[str, str]:
    """The same reason for each job of a submission."""
    return dict.fromkeys((job.name for job in remote.jobs), reason)
