"""Which engine has a run done choose_engine: the decision behind ``engine=auto``.

It hangs on what one plain step does and on the steps to come, never on a clock of the moment, so the same run takes the
same engine every time and a resumed run goes on with it. The times below were measured (2 cores, one thread, the
default suite's families on digits, the cautious end of what came out): what steps save against plain ones, and what
recording and compiling cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.engine.products import is_large

Mode = Literal["eager", "traced", "compiled"]

SAVED_PER_MULTIPLICATION = 12e-12
"""Seconds that a graph saves in large products, which go to the faster library (`zoo.engine.products`)."""
SAVED_PER_CONVOLUTION = 3e-12
"""Seconds that compiling saves for each multiplication of convolutions, whose numbers it lays out better."""
SAVED_PER_OPERATION = 3.5e-6
"""Seconds of Python and of torch's own book-keeping, which compiling saves for each operation of the plain step."""
SAVED_PER_NUMBER = 0.13e-9
"""Seconds of memory traffic, which compiling saves for each number that the operations make."""
RECORDING = (0.1, 1.2e-3)
"""Seconds, and seconds an operation: paid by every run."""
COMPILING = (7.0, 5e-3, 6e-6)
"""Seconds, an operation, and a pair of operations: paid once by all runs of one graph, whose library stays on disk."""
CALL = 0.5e-6
"""Seconds that Python takes to call a recorded operation; of a plain step half are called by autograd, in C++."""


PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
CONVOLUTION = torch.ops.aten.convolution.default
CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Work:
    """What one step does: ``operations``, the ``numbers`` they make, ``multiplications`` in large products and those in
    ``convolutions``.
    """

    operations: int
    numbers: int
    multiplications: int = 0
    convolutions: int = 0


def work_of(step: Callable[[], Any]) -> Work:
    """Count what ``step`` does."""
    with _Counter() as counter:
        step()
    return Work(counter.operations, counter.numbers, counter.multiplications, counter.convolutions)


def choose_engine(work: Work, steps: int, runs: int = 1) -> Mode:
    """The engine by which ``runs`` runs of ``steps`` steps, sharing one graph, are sooner done than by any other."""
    recording, compiling = (_polynomial(costs, work.operations) for costs in (RECORDING, COMPILING))
    by_products = work.multiplications * SAVED_PER_MULTIPLICATION
    by_tracing = by_products - work.operations * CALL
    by_code = by_products + work.convolutions * SAVED_PER_CONVOLUTION
    by_code += work.operations * SAVED_PER_OPERATION + work.numbers * SAVED_PER_NUMBER
    seconds: dict[Mode, float] = {
        "eager": 0.0,
        "traced": runs * (recording - steps * by_tracing),
        "compiled": runs * (recording - steps * by_code) + compiling,
    }
    return min(seconds, key=lambda engine: seconds[engine])


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    return sum(each * x**power for power, each in enumerate(coefficients))


class _Counter(TorchDispatchMode):
    """Counts what `Work` tells."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.numbers = self.multiplications = self.convolutions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        self.operations += 1
        results = out if isinstance(out, (tuple, list)) else (out,)
        if not func.is_view:
            self.numbers += sum(each.numel() for each in results if isinstance(each, Tensor))
        if func in PRODUCTS and is_large(a := args[-2], b := args[-1]):
            self.multiplications += a.numel() * b.shape[1]
        if func is CONVOLUTION:
            self.convolutions += out.numel() * args[1][0].numel()
        if func is CONVOLUTION_BACKWARD:
            self.convolutions += 2 * args[0].numel() * args[2][0].numel()
        return out
