"""Progress on the screen: a live table on a terminal, plain lines otherwise, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from zoo.errors import RunError
from zoo.runs.run import Run
from zoo.training.callbacks import Progress

LINE_SECONDS = 15.0
"""Time between two plain lines of the same run."""


class Display:
    """Shows the progress of a stage of runs, read from their status files."""

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)
        self._runs: Mapping[str, Run] = {}
        self._word = ""
        self._ended = 0
        self._running: Sequence[str] = ()
        self._began: dict[str, float] = {}
        self._printed: dict[str, float] = {}
        self._live: Live | None = None

    @contextmanager
    def stage(self, word: str, runs: Mapping[str, Run]) -> Iterator[None]:
        """Inside, show the jobs of the stage called ``word``, such as ``train``."""
        self._word, self._runs, self._ended, self._began, self._running = word, runs, 0, {}, ()
        if not self.console.is_terminal or self.console.quiet:
            yield
            return
        with Live(console=self.console, refresh_per_second=4, transient=True) as self._live:
            yield
        self._live = None

    def watch(self, running: Sequence[str]) -> None:
        """Update the display, given the names of the jobs now running."""
        now = time.monotonic()
        for name in self._running:
            if name not in running:
                self._ended += 1
                _print(self.console, self._end_line(name, now - self._began[name]))
        for name in running:
            self._began.setdefault(name, now)
        self._running = list(running)
        if self._live is not None:
            self._live.update(self._table())
        elif not self.console.quiet and self._word == "train":
            for name in running:
                if now - self._printed.setdefault(name, now) >= LINE_SECONDS:
                    self._printed[name] = now
                    _print(self.console, f"  {name}: {_line(_status(self._runs[name]))}")

    def _end_line(self, name: str, seconds: float) -> str:
        count = f"\\[{self._ended}/{len(self._runs)}]"
        if self._word != "train":
            return f"{count} {self._word} {name}: {seconds:.1f} s"
        status = _status(self._runs[name])
        reason = f" ({status['reason']})" if status.get("reason") else ""
        score = f", best validation {status['best_score']:.2f}" if isinstance(status.get("best_score"), float) else ""
        return f"{count} {name}: {status['status']}{reason}{score}, {seconds:.1f} s"

    def _table(self) -> Table:
        title = f"{self._word}: {self._ended} of {len(self._runs)} done"
        table = Table(title=title, title_justify="left", box=None)
        for column in ("run", "step", "loss", "steps/s", "left"):
            table.add_column(column, justify="left" if column == "run" else "right")
        for name in self._running:
            table.add_row(name, *_columns(_status(self._runs[name])))
        return table


class Watcher:
    """A callback that shows the training of one run in this process."""

    def __init__(self, steps: int, quiet: bool = False, console: Console | None = None) -> None:
        self.steps = steps
        self.console = console or Console(stderr=True, quiet=quiet)
        self._pause, self._end = (0.2, "\r") if self.console.is_terminal else (5.0, "\n")
        self._printed = time.monotonic()

    def on_progress(self, progress: Progress) -> None:
        if time.monotonic() - self._printed >= self._pause and progress.status == "running":
            self._printed = time.monotonic()
            status = {"step": progress.step, "steps": self.steps, "loss": progress.loss, "speed": progress.speed}
            _print(self.console, _line(status), self._end)

    def on_checkpoint(self, progress: Progress) -> None:
        if progress.status == "running" and progress.history:
            score = progress.history[-1]["validation"]
            line = f"step {progress.step}/{self.steps}  loss {progress.loss:.3f}  validation {score:.3f}"
            _print(self.console, f"{line}  {progress.speed:.0f} steps/s   ")


def _print(console: Console, line: str, end: str = "\n") -> None:
    console.print(line, end=end, highlight=False, soft_wrap=True)


def _status(run: Run) -> dict[str, Any]:
    try:
        return run.status
    except RunError as error:
        return {"status": "damaged", "reason": str(error)}


def _columns(status: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Step, loss, speed and seconds left, as text; empty before training writes its first status."""
    if "steps" not in status:
        return ("", "", "", "")
    step, steps, loss, speed = (status.get(key, 0) for key in ("step", "steps", "loss", "speed"))
    left = f"{(steps - step) / speed:.0f} s" if speed else ""
    return f"{step}/{steps}", f"{loss:.2f}" if isinstance(loss, float) else str(loss), f"{speed:.0f}", left


def _line(status: Mapping[str, Any]) -> str:
    step, loss, speed, left = _columns(status)
    return f"step {step}, loss {loss}, {speed} steps/s, {left} left" if step else str(status.get("status", ""))
