"""Which engine pays: the decision behind ``engine=auto``.

It hangs on what one plain step does and on the steps to come, never on a clock of the moment, so the same run takes the
same engine every time and a resumed run goes on with it. The times below were measured (2 cores, one thread, the
default suite's families on digits, the cautious end of what came out): what a compiled step saves, for each operation
of the plain one and each number of their results, and what recording and compiling cost, for each operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

SAVED_PER_OPERATION = 4e-6
"""Seconds of Python and of torch's own book-keeping."""
SAVED_PER_NUMBER = 0.05e-9
"""Seconds of memory traffic and of slower arithmetic."""
RECORDING = (0.1, 2.5e-3)
"""Seconds, and seconds an operation: paid by every run."""
COMPILING = (3.0, 20e-3)
"""Seconds, and seconds an operation: paid once by all runs of one graph, thanks to the compiler's cache on disk."""


@dataclass(frozen=True)
class Work:
    """What one step does: ``operations``, and the ``numbers`` of their results."""

    operations: int
    numbers: int


def work_of(step: Callable[[], Any]) -> Work:
    """Count what ``step`` does."""
    with _Counter() as counter:
        step()
    return Work(counter.operations, counter.numbers)


def pays(work: Work, steps: int, runs: int = 1) -> bool:
    """Whether ``runs`` runs of ``steps`` steps, sharing one graph, are sooner done when it is compiled."""
    saved = steps * (work.operations * SAVED_PER_OPERATION + work.numbers * SAVED_PER_NUMBER)
    recording, compiling = (base + each * work.operations for base, each in (RECORDING, COMPILING))
    return runs * (saved - recording) > compiling


class _Counter(TorchDispatchMode):
    """Counts operations and the numbers of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        self.operations += 1
        results = out if isinstance(out, (tuple, list)) else (out,)
        self.numbers += sum(each.numel() for each in results if isinstance(each, Tensor))
        return out
