"""Calibrate the machine before the first runs on it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from zoo import engine
from zoo.runs.config import RunConfig


def calibrate(configs: Iterable[RunConfig], console: Console, threads: int | None = None) -> None:
    """Measure and store the calibration of this machine if one of the runs uses it and there is none.

    Args:
        configs: the runs to come.
        console: where the person who waits is informed.
        threads: of torch in these runs; those of this process by default.
    """
    if any(config.uses_calibration for config in configs) and engine.needs_calibration(threads):
        console.print("measuring this machine, once: about 20 s (see docs/speed.md)", highlight=False)
        engine.calibration(threads)
