"""One torch thread for each test process, and no calibration: results do not depend on the machine."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

from zoo.data import Dataset
from zoo.event import Event
from zoo.pairs.registry import families, load_shelves

os.environ["ZOO_CALIBRATION"] = "off"
torch.set_num_threads(1)
gc.set_threshold(700, 10, 100)  # full passes over all that is imported took 7 % of the time
hypothesis.settings.register_profile("zoo", deadline=None)  # no test asserts a time
hypothesis.settings.load_profile("zoo")


@pytest.fixture(autouse=True)
def scoped_registries() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    load_shelves()
    with families.scoped():
        yield


@pytest.fixture
def coins() -> Dataset:
    """Small binary data in which two dimensions always agree: (40, 20, 20) data of 2x2."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(80, 2, 2, generator=generator) < 0.3).float()
    x[:, 1, 1] = x[:, 0, 0]
    return Dataset("coins", Event((2, 2), "binary"), x[:40], x[40:60], x[60:], "made up")
