"""Jobs on a Ray cluster, which may be this machine (``pip install 'pyro-zoo[ray]'``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.experiments.executors.executor import Watch
from zoo.experiments.executors.remote import POLL_SECONDS, RETRIES, Remote, failed, submissions
from zoo.experiments.processes import Job


class Ray:
    """Jobs as tasks of Ray, each in a process of its own, with one GPU where jobs run on GPUs.

    A task whose worker or node dies is run again. The tasks end with the process that submitted them.

    Args:
        options: ``address`` of a cluster, as ``ray.init`` takes it; by default a running one, else one of this machine.
            Others are those of a task, such as ``num_cpus``, ``num_gpus``, ``memory`` and ``max_retries``.
        workers: the most jobs at a time; as many as the cluster has room for if 0.
        device: with ``cuda``, or ``auto`` on a cluster that has GPUs, a job has one unless ``options`` say otherwise.

    Raises:
        ZooError: Ray is not installed.
    """

    def __init__(self, options: dict[str, Any], workers: int, device: str) -> None:
        self._ray = _ray()
        self._address = options.pop("address", None)
        self._options, self._workers, self._device = options, workers, device

    @classmethod
    def of(cls, options: dict[str, Any], workers: int, device: str, folder: Path) -> Ray:
        """See `zoo.experiments.executors.executor.executor_of`."""
        return cls(options, workers, device)

    def run(self, jobs: Sequence[Job], watch: Watch, alone: bool = False) -> dict[str, str]:
        """See `zoo.experiments.executors.executor.Executor`; alone, the task takes all processors of a node."""
        with self._connected():
            task = self._task(alone)
            waiting, running, failures = submissions(tuple(jobs), alone), dict[Any, Remote](), dict[str, str]()
            try:
                while waiting or running:
                    while waiting and len(running) < (self._workers or len(jobs)):
                        remote = waiting.pop(0)
                        running[task.remote(remote)] = remote
                    watch([name for each in running.values() for name in each.shown])
                    for ended in self._ray.wait(list(running), timeout=POLL_SECONDS)[0]:
                        failures |= self._result(ended, running.pop(ended))
            finally:
                for left in running:
                    self._ray.cancel(left, force=True)
        watch([])
        return failures

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Inside, this process is connected to the cluster; a connection that was there before is left as it is."""
        if self._ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which would be sent over the network
        try:
            dashboard = {} if self._address else {"include_dashboard": False}
            self._ray.init(self._address, log_to_driver=False, **dashboard)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ZooError(f"Ray cannot connect to {self._address or 'a cluster'}: {error}") from error
        try:
            yield
        finally:
            self._ray.shutdown()

    def _task(self, alone: bool) -> Any:
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        asked = {"max_retries": RETRIES} | self._options
        if self._device == "cuda" or (self._device == "auto" and any(node.get("GPU") for node in alive)):
            asked = {"num_gpus": 1} | asked
        if alone:
            asked["num_cpus"] = max(node.get("CPU", 0) for node in alive)
        try:
            return self._ray.remote(max_calls=1, **asked)(_call)  # a process for each task: nothing is left of the last
        except (TypeError, ValueError) as error:
            raise ZooError(f"Ray does not take these options of a task: {error}") from error

    def _result(self, reference: Any, remote: Remote) -> dict[str, str]:
        try:
            found: dict[str, str] = self._ray.get(reference)
            return found
        except self._ray.exceptions.RayError as error:
            return failed(remote, f"Ray: {' '.join(str(error).split())}")


def _call(remote: Remote) -> dict[str, str]:
    return remote()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ZooError("--executor ray needs the extra: pip install 'pyro-zoo[ray]'") from error
    return ray
