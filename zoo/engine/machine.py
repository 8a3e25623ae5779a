"""The calibration of a machine: measured once, and then read by every run on it.

It is a small JSON file next to the compiled libraries, one for each processor, version of torch and number of threads;
``ZOO_CALIBRATION`` may name another file, or be ``off``: then nothing is loaded, and everything is torch's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.devices import device_name
from zoo.engine.aot import CompilationError, compiled, has_compiler
from zoo.engine.cost import Calibration, compile_growth, work_of
from zoo.engine.objectives import elbo
from zoo.engine.private import cache_folder
from zoo.engine.products import linear
from zoo.engine.tracing import record
from zoo.event import Event
from zoo.files import write_text
from zoo.pairs.pair import Pair
from zoo.seeding import seeded

VARIABLE = "ZOO_CALIBRATION"
SHAPES = ((128, 784, 400), (128, 400, 784), (400, 128, 784), (784, 128, 400))
"""Rows, inner dimension and columns of the products that are timed: two layers, and the gradients of their weights."""
CLEARLY = 0.9
"""oneDNN is used where it takes less than this share of torch's time."""
ROUNDS = 15


def load_calibration(threads: int | None = None) -> Calibration | None:
    """The calibration of this machine, if it has been measured.

    Args:
        threads: of torch; those of this process by default.
    """
    path = _path(threads or torch.get_num_threads())
    if path is None:
        return None
    try:
        return Calibration(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # not there, or of another version of the project
        return None


def needs_calibration(threads: int | None = None) -> bool:
    """Whether `calibration` would measure: nothing is stored for this machine, and it is not switched off."""
    threads = threads or torch.get_num_threads()
    return _path(threads) is not None and load_calibration(threads) is None


def calibration(threads: int | None = None) -> Calibration | None:
    """The calibration of this machine, measured and stored if it has not been: some 20 s, once.

    Whoever starts runs calls it; runs themselves only load what is there, so a run's engine never depends on timing.

    Args:
        threads: of torch; those of this process by default.
    """
    threads = threads or torch.get_num_threads()
    path = _path(threads)
    known = load_calibration(threads)
    if known or path is None:
        return known
    with _threads(threads), seeded(0):
        measured = measure()
    write_text(path, json.dumps(asdict(measured), indent=1) + "\n")
    return measured


def measure() -> Calibration:
    """Measure this machine with the threads of this process: products, and the steps of two reference pairs."""
    torch_product, onednn_product, ratio = _time_products()
    wins = torch.backends.mkldnn.is_available() and ratio < CLEARLY
    return Calibration(
        processor=device_name(torch.device("cpu")),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        products="onednn" if wins else "torch",
        product=max(0.0, torch_product - onednn_product) if wins else 0.0,
        **_time_references(),
    )


def _path(threads: int) -> Path | None:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return None if chosen == "off" else Path(chosen)
    key = repr((device_name(torch.device("cpu")), torch.__version__, threads))
    return cache_folder() / "zoo" / f"calibration-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _time_products() -> tuple[float, float, float]:
    """Seconds per multiplication by torch and by oneDNN, and the ratio of the second to the first.

    The ratio is the larger of two: the median over all rounds, and that of the least times, which other work on the
    machine disturbs least.
    """
    seconds, ratios, multiplications = {"torch": 0.0, "onednn": 0.0}, [], 0
    for rows, inner, columns in SHAPES:
        a, weight = torch.randn(rows, inner), torch.randn(columns, inner)
        times = _interleaved(
            {"torch": partial(_torch_linear, a, weight), "onednn": partial(linear, a, weight, None)}, 5
        )
        ratios += [two / one for one, two in zip(times["torch"], times["onednn"], strict=True)]
        seconds = {name: total + min(times[name]) for name, total in seconds.items()}
        multiplications += rows * inner * columns
    ratio = max(statistics.median(ratios), seconds["onednn"] / seconds["torch"])
    return seconds["torch"] / multiplications, seconds["onednn"] / multiplications, ratio


def _torch_linear(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.t()


class _Reference(nn.Module):
    """Affine couplings of two halves of ``size`` dimensions by small networks, as a Pyro program."""

    LAYERS = 6

    def __init__(self, size: int) -> None:
        super().__init__()
        half = size // 2
        nets = (nn.Sequential(nn.Linear(half, 16), nn.SiLU(), nn.Linear(16, size)) for _ in range(self.LAYERS))
        self.nets = nn.ModuleList(nets)

    def log_prob(self, x: Tensor) -> Tensor:
        """The density up to a constant, shape ``(n,)``."""
        fixed, moved = x.chunk(2, -1)
        total = x.new_zeros(len(x))
        for net in self.nets:
            shift, scale = net(fixed).chunk(2, -1)
            fixed, moved = moved * scale.tanh().exp() + shift, fixed
            total = total + scale.tanh().sum(-1)
        return total - 0.5 * torch.cat([fixed, moved], -1).square().sum(-1)

    def model(self, x: Tensor) -> None:
        """The density as a Pyro program."""
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Delta(x, self.log_prob(x), event_dim=1), obs=x)


def _time_references() -> dict[str, float]:
    """The fields of `Calibration` that the steps of two references give: of few numbers, and of many."""
    few, many = _Steps(size=8, rows=32), _Steps(size=128, rows=1024)
    operations = few.work.operations
    began = _cpu_seconds()
    few.steps["traced"] = few.traced()
    recording = (_cpu_seconds() - began) / operations
    small = few.seconds(repeats=5)
    found = {
        "handlers": max(0.0, small["eager"] - small["bare"]),
        "traced": (small["bare"] - small["traced"]) / operations,
        "compiled": small["bare"] / operations,
        "recording": recording,
    }
    if has_compiler():
        with suppress(CompilationError), tempfile.TemporaryDirectory() as folder:
            many.traced()
            began = _cpu_seconds()
            many.steps["compiled"] = many.compiled(Path(folder))
            compiling = (_cpu_seconds() - began) / compile_growth(many.work.operations)
            large = many.seconds(repeats=1)
            by_numbers = large["bare"] - large["compiled"] - many.work.operations * found["compiled"]
            found |= {"compiling": compiling, "number": max(0.0, by_numbers / many.work.numbers)}
    return found


class _Steps:
    """One step of a `_Reference` on a batch of ``rows``: ``eager``, ``bare`` (without Pyro), recorded, compiled."""

    def __init__(self, size: int, rows: int) -> None:
        reference, x = _Reference(size), torch.randn(rows, size)
        self.pair, self.x, self.objective = Pair(Event(size, "real"), reference.model).train(True), x, elbo()
        parameters = self.pair.parameters()

        def bare() -> None:
            (-reference.log_prob(x).mean()).backward(inputs=parameters)

        def eager() -> None:
            with pyro.validation_enabled(False):
                self.objective(self.pair, x, 1.0)[0].backward(inputs=parameters)

        self.steps: dict[str, Callable[[], Any]] = {"eager": eager, "bare": bare}
        self.work = work_of(bare)

    def traced(self) -> Callable[[], Any]:
        """Record the step."""
        recording, state = record(self.pair, self.objective, self.x), self.pair.state()
        self.graph = recording.graph
        names = (*recording.parameters, *recording.buffers)
        self.inputs = [*[state[name] for name in names], self.x, self.x.new_tensor(1.0)]
        return torch.no_grad()(partial(self.graph, *self.inputs))

    def compiled(self, folder: Path) -> Callable[[], Any]:
        """Compile the recorded step to a library in ``folder``."""
        return partial(compiled(self.graph, self.inputs, folder), *self.inputs)

    def seconds(self, repeats: int) -> dict[str, float]:
        """The least seconds of each kind of step."""
        return {name: min(each) for name, each in _interleaved(self.steps, repeats).items()}


def _interleaved(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call in each of `ROUNDS` rounds of all of them.

    With one thread they are seconds of the processor, which other work on the machine disturbs less.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 2):
        for name, call in calls.items():
            began = clock()
            for _ in range(repeats):
                call()
            if number >= 2:  # the first rounds warm up
                times[name].append((clock() - began) / repeats)
    return times


def _cpu_seconds() -> float:
    """Of this process and its finished children: other work on the machine counts little."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system
