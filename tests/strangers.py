"""Programs of strangers through the command line: trained, evaluated and sampled, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typer.testing import CliRunner

from zoo.cli import app
from zoo.data import Dataset
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import families
from zoo.runs.run import find_runs
from zoo.seeding import seeded

PROGRAMS = Path(__file__).parent / "programs"
PARTICLES = 24
"""Few, so that no Pareto shapes are fitted."""
TRAINING = ("steps=6", "batch=30", "lr=0.01", "checkpoints=1")


@dataclass(frozen=True)
class Outcome:
    """What came out: a number with the trained pair, or the words of a refusal."""

    refusal: str = ""
    nats: float = np.nan
    kind: str = ""
    pair: Pair | None = None
    data: Dataset | None = None

    def namespace(self) -> Mapping[str, Any]:
        """The variables of the program's file."""
        assert self.pair
        found: Mapping[str, Any] = self.pair._model.__globals__  # type: ignore[attr-defined]
        return found


def come_out(path: Path, folder: Path, positive: bool = False) -> Outcome:
    """Train and evaluate a program by ``zoo evaluate``.

    A program that goes wrong in any other way than by a refusal of one sentence fails the test.
    """
    load_families([path])
    event = families[path.stem].event
    assert event
    data = made_up(event, positive)
    file = folder / "made-up.npz"
    np.savez(file, train=data.train.numpy(), validation=data.validation.numpy(), test=data.test.numpy())
    words = ["evaluate", path, "--data", file, "--event", event, "--runs", folder / "runs", "--device", "cpu", "--json"]
    words += ["-e", "likelihood", "--particles", PARTICLES, *(each for s in TRAINING for each in ("--train", s))]
    result = CliRunner().invoke(app, list(map(str, words)))
    if not result.stdout.startswith("["):
        assert result.exit_code in (1, 2), result.output
        assert result.stderr.startswith("zoo: "), result.output
        return Outcome(result.stderr.removeprefix("zoo: ").strip())
    nats = next(row for row in json.loads(result.stdout) if row["metric"] == "nats")
    if nats["status"] != "ok":
        return Outcome(nats["reason"])
    [run] = find_runs(folder / "runs", path.stem)
    return Outcome("", nats["value"], nats["kind"], run.pair(), data)


def made_up(event: Event, positive: bool = False) -> Dataset:
    """60 data in each split; entries differ in their means, so that no two of them may be exchanged."""
    with seeded(7):
        rates = torch.linspace(0.15, 0.85, event.size).reshape(event.shape)
        if event.levels is None:
            x = 2 * rates + 0.4 * (torch.randn(180, *event.shape) + torch.randn(180, *[1] * len(event.shape)))
            x = x.exp() if positive else x
        else:
            x = torch.binomial(torch.full((180, *event.shape), event.levels - 1.0), rates.expand(180, *event.shape))
    return Dataset("made-up", event, x[:60], x[60:120], x[120:], "made up")


def standard_error(values: Tensor) -> float:
    """Of the mean over the first dimension, the largest of all entries."""
    return float((values.double().std(0) / len(values) ** 0.5).max())
