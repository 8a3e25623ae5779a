"""Which device to use, its name, and when its work is done."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from zoo.errors import ZooError


def pick_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``auto`` is cuda, else mps, else cpu.

    Raises:
        ZooError: a device that torch does not know or that is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ZooError(f"device {name!r} is not available here; use auto, cpu, cuda or mps") from error


def synchronise(device: torch.device) -> None:
    """Wait until all work on ``device`` is done, as is needed before a clock is read; on the CPU it is."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.machine()
