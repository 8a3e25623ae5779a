"""Jobs in processes of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.experiments.executors.executor import Watch
from zoo.experiments.processes import Job, cores, gpus_of, run_jobs


@dataclass(frozen=True)
class Local:
    """``workers`` processes at a time, spread over ``gpus``; they end with the process that started them."""

    workers: int
    gpus: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: dict[str, Any], workers: int, device: str, folder: Path) -> Local:
        """See `zoo.experiments.executors.executor.executor_of`; it takes no options."""
        if options:
            raise ZooError(f"the local executor takes no options, got {', '.join(options)}; see --workers and --device")
        gpus = gpus_of(device)
        return cls(workers or len(gpus) or cores(), gpus)

    def run(self, jobs: Sequence[Job], watch: Watch, alone: bool = False) -> dict[str, str]:
        """See `zoo.experiments.executors.executor.Executor`."""
        return run_jobs(jobs, 1 if alone else self.workers, watch, self.gpus)
