"""Random numbers that depend on a seed only, not on what ran before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch

from zoo.errors import ZooError

SEEDS = 2**32
"""Seeds are below this: numpy takes no greater ones."""


def require_seed(seed: int) -> None:
    """Refuse a seed that some generator does not take.

    Raises:
        ZooError: it is below 0, or 2**32 or more.
    """
    if not 0 <= seed < SEEDS:
        raise ZooError(f"a seed is a whole number from 0 to {SEEDS - 1}, got {seed}")


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch (on the CPU and on ``device``), numpy and Python with ``seed``.

    Cheap enough for every step: `torch.manual_seed` visits every kind of device, which takes milliseconds.

    Raises:
        ZooError: see `require_seed`.
    """
    require_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the stream that a family's program may draw from)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and Python inside the block; afterwards their states are restored."""
    before = pyro.util.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    reseed(seed, torch.device("mps" if torch.backends.mps.is_available() else "cpu"))
    if devices:
        torch.cuda.manual_seed_all(seed)
    try:
        yield
    finally:
        pyro.util.set_rng_state(before)
        if devices:
            torch.cuda.set_rng_state_all(devices)
