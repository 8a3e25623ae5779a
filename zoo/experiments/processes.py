"""Jobs in processes of their own: a crash fails that job and no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from zoo.devices import pick_device
from zoo.errors import ZooError

Context = ForkServerContext | SpawnContext
POLL_SECONDS = 0.1
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Lets glibc keep freed memory for the next tensor: returning it to the system took up to a third of the seconds of a
bound in a fresh process. Other C libraries ignore it."""
GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Job:
    """``call(*args)`` in a process of its own; both must be importable and picklable.

    Jobs are independent of each other, and a job that was killed goes on from its files when it is run again.
    """

    name: str
    call: Callable[..., None]
    args: tuple[Any, ...]

    def failure(self) -> str:
        """Do it in this process: why it failed, empty if it did not. Only a mistake of the user's has no traceback."""
        try:
            self.call(*self.args)
        except ZooError as error:
            return str(error)
        except Exception as error:  # a job may raise anything: it fails with its reason, and no other job
            traceback.print_exc()
            return f"{type(error).__name__}: {error}"
        return ""


def run_jobs(
    jobs: Sequence[Job], workers: int, watch: Callable[[Sequence[str]], None], gpus: Sequence[str] = ()
) -> dict[str, str]:
    """Run all jobs, ``workers`` at a time. An interrupt (Ctrl-C) stops all of them first.

    Args:
        jobs: with unique names.
        workers: the number of processes at a time.
        watch: called several times a second with the names of the jobs now running.
        gpus: the GPUs that workers are spread over, one for each (see `gpus_of`).

    Returns:
        The reason of each failure by the job's name.
    """
    context = _context()
    waiting, running, failures = list(jobs), dict[str, _Running](), dict[str, str]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                place = min({*range(workers)} - {each.place for each in running.values()})
                running[job.name] = _start(context, job, place, gpus[place % len(gpus)] if gpus else None)
            watch(list(running))
            for name, ended in [(name, each) for name, each in running.items() if not each.process.is_alive()]:
                del running[name]
                if reason := ended.failure():
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


def gpus_of(device: str) -> tuple[str, ...]:
    """The GPUs of this machine that jobs on ``device`` may be spread over; none for a device with a number, or a CPU.

    Raises:
        ZooError: the device is not available.
    """
    if pick_device(device).type != "cuda" or ":" in device:
        return ()
    named = os.environ.get(GPUS)
    return tuple(named.split(",")) if named else tuple(map(str, range(torch.cuda.device_count())))


def orphaned() -> bool:
    """Whether the process that started this job is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _context() -> Context:
    """A server that has imported torch and Pyro once and forks a worker in milliseconds, where the system has fork."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    for name, value in MALLOC.items():
        os.environ.setdefault(name, value)  # read when the server starts
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.experiments.preloaded"])
    return context


@dataclass(frozen=True)
class _Running:
    process: BaseProcess
    errors: Connection
    place: int

    def failure(self) -> str:
        """Why an ended process failed: its own error message, else its exit code; empty if it did not fail."""
        self.process.join()
        code = self.process.exitcode or 0
        with self.errors:
            try:
                return self.errors.recv()
            except EOFError:
                pass  # it sent no message
        if code < 0:
            name = signal.Signals(-code).name
            return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return f"its process ended with exit code {code}" if code else ""


def _start(context: Context, job: Job, place: int, gpu: str | None) -> _Running:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender, gpu), name=job.name)
    process.start()
    sender.close()
    return _Running(process, receiver, place)


def _work(job: Job, errors: Connection, gpu: str | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its jobs itself
    if gpu is not None:
        os.environ[GPUS] = gpu  # read when this process first uses CUDA
    if reason := job.failure():
        errors.send(reason)
        raise SystemExit(1)
