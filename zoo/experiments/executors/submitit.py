"""Jobs on a SLURM cluster through submitit (``pip install 'pyro-zoo[submitit]'``)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.experiments.executors.executor import Watch
from zoo.experiments.executors.remote import POLL_SECONDS, RETRIES, Remote, failed, submissions
from zoo.experiments.processes import Job, cores

TIMEOUT_MINUTES = 60
"""Of a job, if none is given; a job that needs longer is queued again and goes on (see ``slurm_max_num_timeout``)."""
CONSTRUCTOR = ("max_num_timeout", "max_pickle_size_gb", "python")
"""Ends of the names of options that submitit takes when an executor is made."""


class Submitit:
    """Jobs through ``submitit.AutoExecutor``, which go on if the process that submitted them ends.

    Args:
        folder: for the logs and files of submitit; seen by all nodes.
        options: submitit's own, such as ``timeout_min``, ``mem_gb``, ``cpus_per_task``, ``gpus_per_node``,
            ``slurm_partition``; and ``cluster``: slurm where there is one, else local; or debug, in this process.
        workers: the most jobs at a time: on SLURM as many as it lets run if 0, on other clusters one for a processor.
        device: with ``cuda``, a job has one GPU unless ``options`` say otherwise.

    Raises:
        ZooError: an option that submitit does not know, or submitit is not installed.
    """

    def __init__(self, folder: Path, options: dict[str, Any], workers: int, device: str) -> None:
        given = {"timeout_min": TIMEOUT_MINUTES} | ({"gpus_per_node": 1} if device == "cuda" else {}) | options
        self._folder, self._workers = folder, workers
        self._made = {name: given.pop(name) for name in [*given] if name == "cluster" or name.endswith(CONSTRUCTOR)}
        self._options = given
        self.cluster = self._executor({}).cluster
        self._most = math.inf if self.cluster == "slurm" else workers or cores()

    @classmethod
    def of(cls, options: dict[str, Any], workers: int, device: str, folder: Path) -> Submitit:
        """See `zoo.experiments.executors.executor.executor_of`."""
        return cls(folder, options, workers, device)

    def run(self, jobs: Sequence[Job], watch: Watch, alone: bool = False) -> dict[str, str]:
        """See `zoo.experiments.executors.executor.Executor`; with ``alone``, on SLURM, the node is not shared."""
        executor = self._executor({"slurm_exclusive": True} if alone else {})
        waiting, running, failures = submissions(tuple(jobs), alone), dict[Remote, Any](), dict[str, str]()
        kills = dict.fromkeys(waiting, 0)
        while waiting or running:
            free = int(min(len(waiting), self._most - len(running)))
            if free:
                running |= zip(waiting[:free], executor.submit_array(waiting[:free]), strict=True)
                del waiting[:free]
            watch([name for each, job in running.items() if job.paths.stdout.exists() for name in each.shown])
            for remote, job in [(remote, job) for remote, job in running.items() if job.done()]:
                del running[remote]
                found = self._result(remote, job)
                kills[remote] += found is None
                if found is None and kills[remote] <= RETRIES:
                    waiting.append(remote)
                else:
                    killed = f"its process was killed {kills[remote]} times (out of memory?), see {job.paths.stderr}"
                    failures |= failed(remote, killed) if found is None else found
            time.sleep(POLL_SECONDS)
        watch([])
        return failures

    def _executor(self, more: dict[str, Any]) -> Any:
        submitit = _submitit()
        parallel = {"slurm_array_parallelism": self._workers} if self._workers else {}
        try:
            executor = submitit.AutoExecutor(self._folder, **self._made)
            executor.update_parameters(**parallel | self._options | more)
        except (AssertionError, NameError, TypeError, ValueError, RuntimeError) as error:
            raise ZooError(f"submitit does not take these options: {' '.join(str(error).split())}") from error
        return executor

    def _result(self, remote: Remote, job: Any) -> dict[str, str] | None:
        """The failures of an ended job; ``None`` if it was killed."""
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if self.cluster == "local" and not job.paths.result_pickle.exists():
            return None  # where submitit would wait for a slow file system
        try:
            found: dict[str, str] = job.results()[0]
            return found
        except FailedJobError as error:  # submitit's own: what a job raises is in what it returns
            trace = str(error).partition("---\n")[2].partition("\n---")[0]
            return failed(remote, f"{trace.strip().splitlines()[-1]} (see {job.paths.stderr})")
        except UncompletedJobError:
            return None


def cancel_queued(folder: Path) -> int:
    """Cancel the jobs and arrays on SLURM whose files are in this folder; how many of them have not ended."""
    left = [path.name.removesuffix("_submission.sh") for path in sorted(folder.glob("*_submission.sh"))]
    left = [number for number in left if any(_unfinished(folder, number))]
    for number in left:
        _submitit().SlurmJob(folder, number).cancel(check=False)
    return len(left)


def _unfinished(folder: Path, number: str) -> list[str]:
    """The jobs of a number, or of the array of that number, that have no result."""
    names = [path.name.removesuffix("_submitted.pkl") for path in folder.glob(f"{number}*_submitted.pkl")]
    return [name for name in names if not (folder / f"{name}_0_result.pkl").exists()]


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ZooError("--executor submitit needs the extra: pip install 'pyro-zoo[submitit]'") from error
    return submitit
