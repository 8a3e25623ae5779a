"""Contenders in turn, round by round, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import csv
import io
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyro
import torch

from zoo.bench.contenders import REFERENCE, WHOLE_SECONDS, Entrant, SkippedError, Task
from zoo.bench.rows import Row
from zoo.errors import ZooError
from zoo.files import write_text
from zoo.provenance import provenance

WARM_STEPS = 5
LIBRARIES = ("numpyro", "jax")
"""Told among the versions where they are installed."""


@dataclass(frozen=True)
class Timing:
    """A row of the CSV: milliseconds of one unit of work (median, least and most over the rounds), or why not.

    ``ratio`` is that of the medians, against the row's reference; ``first_s`` are the seconds until the first unit
    was done, compiling included.
    """

    row: str
    contender: str
    ms: float | None = None
    ms_min: float | None = None
    ms_max: float | None = None
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
    """An entrant under way: how many steps make its turn, in how many rounds, and its seconds a unit so far."""

    entrant: Entrant
    first: float = 0.0
    repeats: int = 1
    rounds: int = 1
    seconds: list[float] = field(default_factory=list)
    trouble: str = ""


def bench(
    rows: Sequence[Row], rounds: int = 7, threads: int = 2, turn: float = 0.5, watch: Callable[[str], object] = str
) -> list[Timing]:
    """Measure ``rows``: ``rounds`` rounds in which each contender has a turn of about ``turn`` seconds.

    Contenders whose turn is long have fewer rounds. ``watch`` is told what goes on. A contender that fails is a timing
    with status ``failed`` and its reason, one that cannot take part here is ``skipped``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        timings = [timing for row in rows for timing in _row(row, rounds, turn, watch)]
        machine, versions = _where()
    finally:
        torch.set_num_threads(before)
    told = {"machine": machine, "versions": versions, "threads": threads}
    return [Timing(**(asdict(timing) | told)) for timing in timings]


def _row(row: Row, rounds: int, turn: float, watch: Callable[[str], object]) -> list[Timing]:
    task = Task(row)
    racers: dict[str, Racer] = {}
    refused: dict[str, Timing] = {}
    torch.compiler.reset()  # another row's shapes would make this one's dynamic
    with pyro.get_param_store().scope(), _hushed():
        for name, prepare in task.contenders().items():
            watch(f"{row.name}: {name} gets ready")
            try:
                racers[name] = _ready(partial(prepare, task), rounds, turn)
            except SkippedError as error:
                refused[name] = Timing(row.name, name, status="skipped", reason=str(error))
            except Exception as error:  # whatever a contender dies of is its result and stops no other's
                refused[name] = Timing(row.name, name, status="failed", reason=_sentence(error))
        for number in range(rounds):
            watch(f"{row.name}: round {number + 1} of {rounds}")
            _round(racers, number, turn)
    found = refused | {name: _timing(row, name, racer) for name, racer in racers.items()}
    reference = found[REFERENCE[row.work]].ms
    return [_with_ratio(found[name], reference) for name in task.contenders()]


def _ready(prepare: Callable[[], Entrant], rounds: int, turn: float) -> Racer:
    """Get ready, warm up, and see how many steps make a turn."""
    begun = time.perf_counter()
    racer = Racer(prepare())
    entrant, cost = racer.entrant, racer.entrant.cost
    if cost is None:
        _turn(entrant, 1, turn)
        racer.first = time.perf_counter() - begun
        cost = min(_turn(entrant, 1, turn) for _ in range(WARM_STEPS if racer.first < WHOLE_SECONDS / 10 else 2))
    racer.repeats = max(1, round(turn / cost))
    racer.rounds = max(1, min(rounds, int(WHOLE_SECONDS / (cost * racer.repeats))))
    return racer


def _round(racers: Mapping[str, Racer], number: int, turn: float) -> None:
    for racer in racers.values():
        if number >= racer.rounds or racer.trouble:
            continue
        try:
            racer.seconds.append(_turn(racer.entrant, racer.repeats, turn) / racer.entrant.share)
        except Exception as error:  # as above
            racer.trouble = _sentence(error)


def _turn(entrant: Entrant, repeats: int, turn: float) -> float:
    """Seconds a step, of ``repeats`` steps or of those begun within twice the ``turn``, should the machine be busy.

    The last one's number is read, so that all work is done.

    Raises:
        ZooError: it is not finite.
    """
    begun, steps = time.perf_counter(), 0
    while steps == 0 or (steps < repeats and time.perf_counter() - begun < 2 * turn):
        number = entrant.step()
        steps += 1
    value = float(number)
    seconds = (time.perf_counter() - begun) / steps
    if not math.isfinite(value):
        raise ZooError(f"its loss became {value}")
    return seconds


def _timing(row: Row, name: str, racer: Racer) -> Timing:
    if racer.trouble:
        return Timing(row.name, name, status="failed", reason=racer.trouble)
    ms = [1000 * seconds for seconds in racer.seconds]
    return Timing(
        row.name,
        name,
        ms=statistics.median(ms),
        ms_min=min(ms),
        ms_max=max(ms),
        rounds=len(ms),
        first_s=racer.first or None,
        reason=racer.entrant.note(),
    )


def _with_ratio(timing: Timing, reference: float | None) -> Timing:
    ratio = timing.ms / reference if timing.ms and reference else None
    return Timing(**(asdict(timing) | {"ratio": ratio}))


def write_csv(timings: Sequence[Timing], path: Path) -> None:
    """Write ``timings`` as tidy data."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Timing.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(timing) for timing in timings)
    write_text(path, text.getvalue())


def table(timings: Sequence[Timing]) -> str:
    """The ratios against each row's reference, one block a kind of work; below, what a reader must know."""
    blocks = [_block([timing for timing in timings if _kind(timing, timings) == word]) for word in REFERENCE.values()]
    notes = [
        f"{timing.row}, {timing.contender}: {timing.status}{': ' * bool(timing.reason)}{timing.reason}"
        for timing in timings
        if timing.reason or timing.status != "ok"
    ]
    return "\n".join([*filter(None, blocks), *notes])


def _kind(timing: Timing, timings: Sequence[Timing]) -> str:
    """The reference of a timing's row."""
    names = {other.contender for other in timings if other.row == timing.row}
    return next(word for word in REFERENCE.values() if word in names)


def _block(timings: Sequence[Timing]) -> str:
    if not timings:
        return ""
    contenders = list(dict.fromkeys(timing.contender for timing in timings))
    reference = _kind(timings[0], timings)
    cells = {(timing.row, timing.contender): timing for timing in timings}
    widths = [max(8, len(name) + 2) for name in contenders]
    lines = [
        f"{'ratio to ' + reference:<20}{reference + ' ms':>11}"
        + "".join(f"{n:>{w}}" for n, w in zip(contenders, widths, strict=True))
    ]
    for row in dict.fromkeys(timing.row for timing in timings):
        base = cells[row, reference].ms
        told = [_cell(cells.get((row, name))) for name in contenders]
        line = "".join(f"{text:>{width}}" for text, width in zip(told, widths, strict=True))
        lines.append(f"{row:<20}{f'{base:.2f}' if base else '-':>11}{line}")
    return "\n".join(lines)


def _cell(timing: Timing | None) -> str:
    if timing is None:
        return "-"
    if timing.status != "ok":
        return timing.status
    return f"{timing.ratio:.3f}" if timing.ratio else "?"


def _where() -> tuple[str, str]:
    """The machine, and the versions of what ran."""
    told = provenance(torch.device("cpu"))
    own = [f"{name} {told[name]}" for name in ("python", "pyro-zoo", "torch", "pyro-ppl")]
    return told["processor"], "; ".join([*own, *_others()])


def _others() -> Iterator[str]:
    for name in LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


@contextmanager
def _hushed() -> Iterator[None]:
    """Inside, torch does not say that its JIT, which one contender is made of, is deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        yield


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
