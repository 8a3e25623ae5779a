"""The progress of training, and the callbacks that follow it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

State = Literal["running", "finished", "diverged"]


@dataclass
class Progress:
    """How far training has come: all that a resumed run needs, and the numbers that a display shows."""

    step: int = 0
    """Steps taken."""
    status: State = "running"
    loss: float = math.nan
    """The mean of the last few training losses."""
    speed: float = 0.0
    """Steps per second."""
    best_score: float = math.inf
    """The lowest validation score so far, at ``best_step``; at the end, that of all validation data."""
    best_step: int = 0
    stale: int = 0
    """Checkpoints since the best one."""
    reason: str = ""
    """Why training diverged or stopped early."""
    engine: Literal["", "eager", "traced", "compiled"] = ""
    """How steps are computed, once it is chosen; a resumed run keeps it."""
    products: Literal["", "torch", "onednn"] = ""
    """The library of large matrix products, where the engine chose one; a resumed run keeps it."""
    scored: str = ""
    """How many validation data the checkpoints scored, if not all, and how many samples they drew."""
    drawn: int = 0
    """The samples that each checkpoint drew, where it did not score all validation data."""
    remark: str = ""
    """Why steps ran on a plainer engine, if they did."""
    recipe: str = ""
    """Whose settings it was trained by, and those that were given."""
    history: list[dict[str, float]] = field(default_factory=list)
    """A row for each checkpoint: step, train, validation, discrepancy, lr."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Weights, their moving average, the best so far and the optimisers' state, under ``KIND/NAME``."""

    def add_row(self, train: float, validation: float, discrepancy: float, lr: float) -> None:
        """Add a row to the history, at the current step."""
        row = {"step": self.step, "train": train, "validation": validation, "discrepancy": discrepancy, "lr": lr}
        self.history.append(row)


class Callback(Protocol):
    """Follows the progress of training: a run's folder, a display."""

    def on_progress(self, progress: Progress) -> None:
        """Called every few steps; should be cheap."""

    def on_checkpoint(self, progress: Progress) -> None:
        """Called at each checkpoint, with the tensors to resume from."""


class StopTraining(BaseException):
    """Raised by a callback to stop training where it is, as an interrupt does: the same run can be resumed."""
