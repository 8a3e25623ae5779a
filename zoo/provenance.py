"""What a number was computed with: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from zoo.devices import device_name

PACKAGES = ("pyro-zoo", "torch", "pyro-ppl", "numpy", "scikit-learn", "arviz")


def provenance(device: torch.device) -> dict[str, str]:
    """Versions of Python and the packages, the commit if there is one, the device and its name, the time (UTC)."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "commit": commit(),
        "device": str(device),
        "processor": device_name(device),
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """The commit of the checkout that this code runs from, with ``+`` if it has changes; empty for a wheel."""
    home = Path(__file__).resolve().parent.parent
    if not (home / ".git").exists():
        return ""
    try:
        described = subprocess.run(
            ["git", "-C", str(home), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return described.stdout.strip()
