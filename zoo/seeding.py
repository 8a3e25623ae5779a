"""Random numbers that depend on a seed and on nothing that ran before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch, numpy and Python draw from ``seed``; outside, their streams go on as if nothing had happened."""
    before = pyro.util.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    pyro.set_rng_seed(seed)
    try:
        yield
    finally:
        pyro.util.set_rng_state(before)
        if devices:
            torch.cuda.set_rng_state_all(devices)
