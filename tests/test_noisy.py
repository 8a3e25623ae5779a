"""The density of a decoder with noise: exact for a linear one, and nothing of the decoder changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.data import Dataset
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded


class Generator(nn.Module):
    """x = W z + b: an implicit model, with dropout in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.dropout = nn.Linear(2, 4), nn.Dropout(0.5)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.deterministic("x", self.dropout(self.net(z)), event_dim=1)

    def players(self) -> list[zoo.Player]:
        return [zoo.Player("scale", list(self.parameters()), lambda x: (self.net(0 * x[:, :2]) - x).square().mean())]


def scores(pair: Pair, data: Dataset) -> dict[str, Score]:
    found = evaluate("noisy", [TrainedRun(pair, data, 0, [], "finished")], Settings(particles=50))
    return {score.metric: score for score in found}


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> tuple[Pair, Dataset]:
    """A linear generator, and data of it with noise of deviation 0.4."""
    monkeypatch.setattr("zoo.evaluations.noisy.RECIPE", {"steps": 120, "lr": 1e-2, "batch": 100, "checkpoints": 2})
    for name, value in {"TEMPERATURES": 10, "MOST_DATA": 40, "OF_ITS_OWN": 30}.items():
        monkeypatch.setattr(f"zoo.evaluations.noisy.{name}", value)
    with seeded(0), torch.no_grad():
        generator = Generator()
        generator.net.weight.mul_(2)
        x = generator.net(torch.randn(600, 2)) + 0.4 * torch.randn(600, 4)
    pair = Pair(Event(4, "real"), generator.model, extras=generator)
    return pair, Dataset("lines", Event(4, "real"), x[:400], x[400:500], x[500:], "drawn")


@pytest.mark.thorough
def test_the_density_of_a_linear_decoder_is_the_normal_one(linear: tuple[Pair, Dataset]) -> None:
    pair, data = linear
    before = {name: tensor.clone() for name, tensor in pair.state().items()}
    found = scores(pair, data)
    s = found["noise"].value
    assert s is not None, found["noise"].reason
    assert abs(math.log(s / 0.4)) < 0.3
    net = pair.extras.net
    covariance = (net.weight @ net.weight.T + s**2 * torch.eye(4)).detach()
    exact = -dist.MultivariateNormal(net.bias.detach(), covariance).log_prob(data.test[:40]).mean()
    assert abs(found["noisy_nats"].value - float(exact)) < 0.1
    within = found["within"]
    assert -3 * within.stderr < within.value < 0.1 + 3 * within.stderr
    assert "not the family's own" in found["noisy_nats"].reason
    assert all(torch.equal(tensor, before[name]) for name, tensor in pair.state().items())
    blind = scores(pair, replace(data, test=torch.full_like(data.test, 5.0)))
    assert blind["noise"].value == s  # tuned on validation data only


@pytest.mark.parametrize("name", ["realnvp", "independent", "ssvae"])
def test_families_without_a_decoder_are_skipped(name: str) -> None:
    event = zoo.Event.parse("x=4:real,y=:3@label") if name == "ssvae" else Event(4, "real")
    x = torch.randn(60, event.size) if name != "ssvae" else torch.cat([torch.randn(60, 4), torch.ones(60, 1)], 1)
    found = scores(zoo.build(name, event), Dataset("made", event, x, x, x, "Drawn."))
    assert {score.status for score in found.values()} == {"skipped"}
