"""The calibration of a machine: measured once, and then read by every run on it.

It is a small JSON file next to the compiled libraries, one for each processor, version of torch and number of threads;
``ZOO_CALIBRATION`` may name another file, or be ``off``: then nothing is loaded, and everything is torch's own.
"""

from __future__ import annotations

import hashlib
import json
import math
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
    """Measure this machine with the threads of this process: products, and one step of a small reference pair."""
    torch_product, onednn_product, ratio = _time_products()
    wins = torch.backends.mkldnn.is_available() and ratio < CLEARLY
    return Calibration(
        processor=device_name(torch.device("cpu")),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        products="onednn" if wins else "torch",
        product=max(0.0, torch_product - onednn_product) if wins else 0.0,
        number=_seconds_per_number(),
        **_time_reference(),
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


def _seconds_per_number() -> float:
    """Seconds that an elementwise operation takes for each number, without the cost of its call."""
    few, many = torch.randn(2**4), torch.randn(2**17)
    times = _interleaved({"few": partial(torch.add, few, 1.0), "many": partial(torch.add, many, 1.0)}, 50)
    return max(0.0, min(times["many"]) - min(times["few"])) / many.numel()


class _Reference(nn.Module):
    """Affine couplings of two halves by small networks: a step of many small operations."""

    SIZE, LAYERS = 8, 6

    def __init__(self) -> None:
        super().__init__()
        half = self.SIZE // 2
        nets = (nn.Sequential(nn.Linear(half, 16), nn.SiLU(), nn.Linear(16, self.SIZE)) for _ in range(self.LAYERS))
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


def _time_reference() -> dict[str, float]:
    """The fields of `Calibration` that a step of `_Reference` gives."""
    reference, x = _Reference(), torch.randn(32, _Reference.SIZE)
    pair = Pair(Event(_Reference.SIZE, "real"), reference.model).train(True)
    parameters, objective = pair.parameters(), elbo()

    def bare() -> None:
        (-reference.log_prob(x).mean()).backward(inputs=parameters)

    def eager() -> None:
        with pyro.validation_enabled(False):
            objective(pair, x, 1.0)[0].backward(inputs=parameters)

    operations = work_of(bare).operations
    began = _cpu_seconds()
    recording = record(pair, objective, x)
    seconds_recording, seconds_compiling = _cpu_seconds() - began, math.inf
    state = pair.state()
    inputs = [*[state[name] for name in (*recording.parameters, *recording.buffers)], x, x.new_tensor(1.0)]
    steps: dict[str, Callable[[], Any]] = {
        "eager": eager,
        "bare": bare,
        "traced": torch.no_grad()(partial(recording.graph, *inputs)),
    }
    if has_compiler():
        with suppress(CompilationError), tempfile.TemporaryDirectory() as folder:
            began = _cpu_seconds()
            steps["compiled"] = partial(compiled(recording.graph, inputs, Path(folder)), *inputs)
            seconds_compiling = (_cpu_seconds() - began) / compile_growth(operations)
    times = {name: min(each) for name, each in _interleaved(steps, 5).items()}
    return {
        "handlers": max(0.0, times["eager"] - times["bare"]),
        "traced": (times["bare"] - times["traced"]) / operations,
        "compiled": (times["bare"] - times.get("compiled", times["bare"])) / operations,
        "recording": seconds_recording / operations,
        "compiling": seconds_compiling,
    }


def _interleaved(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call in each of `ROUNDS` rounds, in which all of them take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(repeats):
                call()
            if number >= 2:  # the first rounds warm up
                times[name].append((time.perf_counter() - began) / repeats)
    return times


def _cpu_seconds() -> float:
    """Of this process and its finished children: other work on the machine counts little."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system
