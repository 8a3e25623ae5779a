"""Jobs in processes of their own: one job's crash is that job's failure and no other's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

Context = ForkServerContext | SpawnContext
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Job:
    """``call(*args)`` in a process of its own; both must be importable and picklable."""

    name: str
    call: Callable[..., None]
    args: tuple[Any, ...]


def run_jobs(jobs: Sequence[Job], workers: int, watch: Callable[[Sequence[str]], None]) -> dict[str, str]:
    """Run all jobs, ``workers`` at a time; the reason of each failure by the job's name.

    ``watch`` is called several times a second with the names of the jobs now running. An interrupt (Ctrl-C) stops all
    of them before it goes on.
    """
    context = _context()
    waiting, running, failures = list(jobs), dict[str, BaseProcess](), dict[str, str]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                running[job.name] = _start(context, job)
            watch(list(running))
            for name, process in _ended(running):
                del running[name]
                if process.exitcode:
                    failures[name] = _reason(process.exitcode)
            time.sleep(POLL_SECONDS)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()
    watch([])
    return failures


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def orphaned() -> bool:
    """Whether the process that started this job is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _context() -> Context:
    """A server that has imported torch and Pyro once and forks a worker in milliseconds, where the system has fork."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.preloaded"])
    return context


def _start(context: Context, job: Job) -> BaseProcess:
    process: BaseProcess = context.Process(target=_work, args=(job.call, job.args), name=job.name)
    process.start()
    return process


def _work(call: Callable[..., None], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its jobs itself
    call(*args)


def _ended(running: dict[str, BaseProcess]) -> Iterator[tuple[str, BaseProcess]]:
    for name, process in list(running.items()):
        if not process.is_alive():
            process.join()
            yield name, process


def _reason(exitcode: int) -> str:
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"its process ended with exit code {exitcode}"
