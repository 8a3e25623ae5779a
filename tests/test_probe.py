"""Linear readability of labels from latents."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from zoo.data import load_data
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.runs.evaluation import Settings, TrainedRun, evaluate

SETTINGS = Settings(samples=400)


def model(x: Tensor) -> Tensor:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 5.0).to_event(1))
        w = pyro.sample("w", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        return pyro.sample("x", dist.Normal(torch.cat([z, w], -1), 1.0).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    """The cloud of a point is the sign of its first coordinate."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, :1], 0.1).to_event(1))
        pyro.sample("w", dist.Normal(x[:, 1:], 0.1).to_event(1))


def test_a_label_is_read_from_the_latent_that_has_it() -> None:
    data = load_data("blobs:labels=0")
    run = TrainedRun(Pair(Event(2, "real"), model, guide), data, seed=0, history=[])
    found = {score.metric: score for score in evaluate("probe", [run], SETTINGS)}
    values = {metric: score.value for metric, score in found.items()}
    assert set(values) == {"probe", "probe_x", "probe_z", "probe_w"}
    assert values["probe_w"] == pytest.approx(0.5, abs=4 * (found["probe_w"].stderr or 0.0))
    for metric in ("probe", "probe_x", "probe_z"):
        assert (values[metric] or 0.0) > 0.99
    assert found["probe"].n == 400


def test_data_without_labels_are_skipped() -> None:
    run = TrainedRun(Pair(Event(2, "real"), model, guide), load_data("moons"), seed=0, history=[])
    [score, _] = evaluate("probe", [run], SETTINGS)
    assert (score.status, score.reason) == ("skipped", "moons has no label of finitely many classes")
