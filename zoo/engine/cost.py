"""The decision behind ``engine=auto``: the engine that is expected to finish first.

It depends on the work of one plain step, on the steps to come and on the calibration of the machine, never on timing
during the run, so the same run takes the same engine every time. Without a calibration it is ``eager``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from zoo.engine.private import DispatchMode
from zoo.engine.products import Products, is_large

Result = TypeVar("Result")
Mode = Literal["eager", "traced", "compiled"]
MODES: tuple[Mode, ...] = ("eager", "traced", "compiled")
FEWEST_STEPS = 200
"""With fewer steps to come, over all runs together, recording does not pay."""
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


@dataclass(frozen=True)
class Calibration:
    """What one machine saves and pays, in seconds, with one version of torch and one number of threads.

    Attributes:
        processor: its name.
        torch: the version.
        threads: of torch.
        products: the faster library of large float32 products.
        product: saved per multiplication of large products in a recorded step, by that library.
        handlers: saved per recorded step, in which Pyro's handlers do not run.
        traced: saved per operation of the plain step by tracing; negative where tracing is slower.
        compiled: saved per operation by compiling.
        number: saved by compiling per number that an operation makes, as it need not go through memory.
        recording: paid by every run, per operation.
        compiling: paid once for all runs of one graph, times `compile_growth`; infinite without a C++ compiler.
    """

    processor: str
    torch: str
    threads: int
    products: Products = "torch"
    product: float = 0.0
    handlers: float = 0.0
    traced: float = 0.0
    compiled: float = 0.0
    number: float = 0.0
    recording: float = 0.0
    compiling: float = math.inf


@dataclass(frozen=True)
class Work:
    """What one step does: ``operations``, the ``numbers`` they make, ``multiplications`` of large products."""

    operations: int
    numbers: int
    multiplications: int = 0


def counted(step: Callable[[], Result]) -> tuple[Result, Work]:
    """The result of ``step``, and what it did."""
    with _Counter() as counter:
        result = step()
    return result, Work(counter.operations, counter.numbers, counter.multiplications)


def work_of(step: Callable[[], Any]) -> Work:
    """What ``step`` does."""
    return counted(step)[1]


def compile_growth(operations: int) -> float:
    """The time to compile a graph relative to a tiny one: a fixed part for headers, then more than linear."""
    thousands = operations / 1000
    return 1 + 0.6 * thousands + 0.25 * thousands**2


def fastest_mode(work: Work, steps: int, runs: int, calibration: Calibration | None) -> Mode:
    """The engine that is expected to finish ``runs`` runs of ``steps`` steps, sharing one graph, first."""
    if calibration is None:
        return "eager"
    recording = work.operations * calibration.recording
    by_recording = calibration.handlers + work.multiplications * calibration.product
    by_tracing = by_recording + work.operations * calibration.traced
    by_compiling = by_recording + work.operations * calibration.compiled + work.numbers * calibration.number
    seconds: dict[Mode, float] = {
        "eager": 0.0,
        "traced": runs * (recording - steps * by_tracing),
        "compiled": runs * (recording - steps * by_compiling) + calibration.compiling * compile_growth(work.operations),
    }
    return min(MODES, key=lambda mode: seconds[mode])


class _Counter(DispatchMode):
    """Counts what `Work` holds."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.numbers = self.multiplications = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        self.operations += 1
        if not func.is_view:
            results = out if isinstance(out, (tuple, list)) else (out,)
            self.numbers += sum(each.numel() for each in results if isinstance(each, Tensor))
        if func in PRODUCTS and is_large(a := args[-2], b := args[-1]):
            self.multiplications += a.numel() * b.shape[1]
        return out
