"""Jobs in processes of their own: one job's crash is that job's failure and no other's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from zoo.errors import ZooError

Context = ForkServerContext | SpawnContext
POLL_SECONDS = 0.1
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Told to the C library of Linux: freed memory is kept for the next tensor. Given back and asked for anew each time, it
took up to a third of the seconds of a bound in a fresh process; other systems ignore it."""


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
    waiting, running, failures = list(jobs), dict[str, _Running](), dict[str, str]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                running[job.name] = _start(context, job)
            watch(list(running))
            for name, ended in [(name, each) for name, each in running.items() if not each.process.is_alive()]:
                del running[name]
                if reason := ended.reason():
                    failures[name] = reason
            time.sleep(POLL_SECONDS)
    finally:
        for left in running.values():
            left.process.terminate()
        for left in running.values():
            left.process.join()
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
    for name, value in KEEPING.items():  # before the server starts: they are read once
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.experiments.preloaded"])
    return context


@dataclass(frozen=True)
class _Running:
    process: BaseProcess
    told: Connection

    def reason(self) -> str:
        """Why an ended process failed, in its own words if it left any; empty if it did not."""
        self.process.join()
        code = self.process.exitcode or 0
        with self.told:
            try:
                return self.told.recv()
            except EOFError:  # it said nothing
                return _reason(code)


def _start(context: Context, job: Job) -> _Running:
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job.call, job.args, tell), name=job.name)
    process.start()
    tell.close()
    return _Running(process, told)


def _work(call: Callable[..., None], args: tuple[Any, ...], told: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its jobs itself
    try:
        call(*args)
    except ZooError as error:
        told.send(str(error))
        raise SystemExit(1) from None


def _reason(exitcode: int) -> str:
    if exitcode == 0:
        return ""
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"its process ended with exit code {exitcode}"
