"""Where training stands, and whoever wants to know."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

State = Literal["running", "finished", "diverged"]


@dataclass
class Progress:
    """Where training stands: everything that a resumed run needs, and what a person watches."""

    step: int = 0
    status: State = "running"
    loss: float = math.nan
    speed: float = 0.0
    best_score: float = math.inf
    best_step: int = 0
    stale: int = 0
    reason: str = ""
    engine: Literal["", "eager", "traced", "compiled"] = ""
    """What computes the steps, once it is chosen; a resumed run goes on with it."""
    remark: str = ""
    """Why steps ran on a plainer engine, if they did."""
    history: list[dict[str, float]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Weights, their average, the best so far and the optimisers' memory, under ``KIND/NAME``."""


class Callback(Protocol):
    """Whoever wants to know of progress: a run folder, a display."""

    def watch(self, progress: Progress) -> None:
        """Called now and then, cheap."""

    def keep(self, progress: Progress) -> None:
        """Called at each checkpoint, with the tensors to resume from."""
