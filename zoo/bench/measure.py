"""Timings of contenders that alternate round by round, so that a slowdown of the machine affects all of them."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import pyro
import torch

from zoo.bench.contenders import CPU, REFERENCE, WHOLE_SECONDS, contenders
from zoo.bench.memory import peak_of
from zoo.bench.rows import Row
from zoo.bench.task import Entrant, SkippedError, Task
from zoo.devices import synchronise
from zoo.errors import ZooError
from zoo.provenance import provenance

WARM_STEPS = 5
LIBRARIES = ("numpyro", "jax", "zuko", "normflows", "nflows")
"""Listed among the versions where they are installed."""


@dataclass(frozen=True)
class Timing:
    """A row of the CSV: ms or MiB per unit of work (median, least and most over the rounds), or why there are none.

    ``ratio`` is that of the medians, against the row's reference; ``first_s`` are the seconds until the first unit
    was done, compiling included.
    """

    row: str
    work: str
    contender: str
    value: float | None = None
    least: float | None = None
    most: float | None = None
    unit: str = "ms"
    rounds: int = 0
    ratio: float | None = None
    first_s: float | None = None
    status: str = "ok"
    reason: str = ""
    machine: str = ""
    versions: str = ""
    threads: int = 0


@dataclass
class Racer:
    """A running entrant: its steps per turn, its number of rounds, and the seconds per unit measured so far."""

    entrant: Entrant
    first: float = 0.0
    repeats: int = 1
    rounds: int = 1
    seconds: list[float] = field(default_factory=list)
    trouble: str = ""


def bench(
    rows: Sequence[Row],
    rounds: int = 7,
    threads: int = 2,
    turn: float = 0.5,
    watch: Callable[[str], object] = str,
    device: torch.device = CPU,
) -> list[Timing]:
    """Measure ``rows``: ``rounds`` rounds in which each contender has a turn of about ``turn`` seconds.

    Contenders with long turns have fewer rounds. ``watch`` is called with a line on each stage. A contender that
    fails is a timing with status ``failed`` and its reason, one that cannot take part here is ``skipped``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        timings = [timing for row in rows for timing in _row(row, rounds, turn, threads, watch, device)]
        machine, versions = _where(device)
    finally:
        torch.set_num_threads(before)
    return [replace(timing, machine=machine, versions=versions, threads=threads) for timing in timings]


def _row(
    row: Row, rounds: int, turn: float, threads: int, watch: Callable[[str], object], device: torch.device
) -> list[Timing]:
    if row.work == "memory":
        found = _weighed(row, threads, watch) if device.type == "cpu" else _unweighed(row, device)
    else:
        found = _timed(Task(row, device=device), rounds, turn, watch)
    reference = found[REFERENCE[row.work]].value
    timings = [found[name] for name in contenders(row, device)]
    return [replace(each, ratio=each.value / reference if each.value and reference else None) for each in timings]


def _weighed(row: Row, threads: int, watch: Callable[[str], object]) -> dict[str, Timing]:
    """The peak memory of each contender."""
    found = {}
    for name in contenders(row):
        watch(f"{row.name}: {name} in a process of its own")
        try:
            mib, note = peak_of(row, name, threads)
            found[name] = Timing(row.name, row.work, name, mib, mib, mib, unit_of(row.work), 1, reason=note)
        except Exception as error:  # as below
            found[name] = _refused(row, name, error)
    return found


def _unweighed(row: Row, device: torch.device) -> dict[str, Timing]:
    reason = SkippedError("what is measured is resident memory of the CPU; leave out --device")
    return {name: _refused(row, name, reason) for name in contenders(row, device)}


def _timed(task: Task, rounds: int, turn: float, watch: Callable[[str], object]) -> dict[str, Timing]:
    row = task.row
    racers: dict[str, Racer] = {}
    refused: dict[str, Timing] = {}
    torch.compiler.reset()  # another row's shapes would make this one's dynamic
    with pyro.get_param_store().scope(), _hushed():
        for name, prepare in contenders(row, task.device).items():
            watch(f"{row.name}: {name} gets ready")
            try:
                racers[name] = _ready(partial(prepare, task), rounds, turn, task.device)
            except Exception as error:  # whatever a contender dies of is its result and stops no other's
                refused[name] = _refused(row, name, error)
        for number in range(rounds):
            watch(f"{row.name}: round {number + 1} of {rounds}")
            _round(racers, number, turn, task.device)
    return refused | {name: _timing(row, name, racer) for name, racer in racers.items()}


def _refused(row: Row, name: str, error: Exception) -> Timing:
    skipped = isinstance(error, SkippedError)
    status, reason = ("skipped", str(error)) if skipped else ("failed", _sentence(error))
    return Timing(row.name, row.work, name, unit=unit_of(row.work), status=status, reason=reason)


def _ready(prepare: Callable[[], Entrant], rounds: int, turn: float, device: torch.device) -> Racer:
    """Prepare the contender, warm up, and choose the number of steps per turn."""
    began = time.perf_counter()
    racer = Racer(prepare())
    entrant, cost = racer.entrant, racer.entrant.cost
    if cost is None:
        _turn(entrant, 1, turn, device)
        racer.first = time.perf_counter() - began
        warm = WARM_STEPS if racer.first < WHOLE_SECONDS / 10 else 2
        cost = min(_turn(entrant, 1, turn, device) for _ in range(warm))
    racer.repeats = max(1, round(turn / cost))
    racer.rounds = max(1, min(rounds, int(WHOLE_SECONDS / (cost * racer.repeats))))
    return racer


def _round(racers: Mapping[str, Racer], number: int, turn: float, device: torch.device) -> None:
    for racer in racers.values():
        if number >= racer.rounds or racer.trouble:
            continue
        try:
            racer.seconds.append(_turn(racer.entrant, racer.repeats, turn, device) / racer.entrant.share)
        except Exception as error:  # as above
            racer.trouble = _sentence(error)


def _turn(entrant: Entrant, repeats: int, turn: float, device: torch.device) -> float:
    """Seconds per step over ``repeats`` steps or, on a busy machine, as many as start within twice ``turn``.

    The last one's number is read and the device is waited for, so that all work is done.

    Raises:
        ZooError: it is not finite.
    """
    synchronise(device)
    began, steps = time.perf_counter(), 0
    while steps == 0 or (steps < repeats and time.perf_counter() - began < 2 * turn):
        number = entrant.step()
        steps += 1
    value = float(number)
    synchronise(device)
    seconds = (time.perf_counter() - began) / steps
    if not math.isfinite(value):
        raise ZooError(f"its loss became {value}")
    return seconds


def _timing(row: Row, name: str, racer: Racer) -> Timing:
    if racer.trouble:
        return Timing(row.name, row.work, name, status="failed", reason=racer.trouble)
    ms = [1000 * seconds for seconds in racer.seconds]
    return Timing(
        row.name,
        row.work,
        name,
        value=statistics.median(ms),
        least=min(ms),
        most=max(ms),
        rounds=len(ms),
        first_s=racer.first or None,
        reason=racer.entrant.note(),
    )


def unit_of(work: str) -> str:
    """The unit in which a kind of work is measured."""
    return "MiB" if work == "memory" else "ms"


def _where(device: torch.device) -> tuple[str, str]:
    """The machine, and the versions of what ran."""
    facts = provenance(device)
    own = [f"{name} {facts[name]}" for name in ("python", "pyro-zoo", "torch", "pyro-ppl")]
    return facts["processor"], "; ".join([*own, *_others()])


def _others() -> Iterator[str]:
    for name in LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


@contextmanager
def _hushed() -> Iterator[None]:
    """Inside, torch does not warn that its JIT, which one contender uses, is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        yield


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
