"""Honest pairs, each with its own evidence in closed form, and data for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.contract.check import check
from zoo.data import Dataset
from zoo.event import Event
from zoo.metrics.bounds import bounds
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import families
from zoo.pairs.traces import capabilities, sample
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded
from zoo.training.loop import fit

FOLDER = Path(__file__).parent / "programs" / "honest"
HONEST = sorted(path.stem for path in FOLDER.glob("*.py"))
PARTICLES = 24
SAMPLES = 4000


def data_of(event: Event, name: str) -> Dataset:
    """Data whose entries differ in their means, so that no two of them may be exchanged."""
    with seeded(7):
        rates = torch.linspace(0.15, 0.85, event.size).reshape(event.shape)
        if event.levels is None:
            x = 2 * rates + 0.4 * torch.randn(180, *event.shape) + 0.4 * torch.randn(180, *[1] * len(event.shape))
            x = x.exp() if name == "flow" else x
        else:
            x = torch.binomial(torch.full((180, *event.shape), event.levels - 1.0), rates.expand(180, *event.shape))
    return Dataset("made-up", event, x[:60], x[60:120], x[120:], "made up")
