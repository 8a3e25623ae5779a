"""How many sequential network passes one sample needs, counted on programs that make them in different ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from zoo.event import Event
from zoo.metrics.passes import sequential_passes
from zoo.pairs import registry
from zoo.pairs.build import build
from zoo.pairs.pair import Pair

PLANE = Event(2, "real")


class Implicit(nn.Module):
    """x = Wz, nothing observed."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            return pyro.deterministic("x", self.net(z), event_dim=1)


class Sequential(nn.Module):
    """D steps: passes through a masked weight, or a slice of the weight each; the first is drawn from a bias alone."""

    mask: Tensor

    def __init__(self, size: int, in_place: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, size) / size)
        self.bias = nn.Parameter(torch.zeros(size))
        self.register_buffer("mask", torch.ones(size, size).tril(-1))
        self.in_place = in_place

    def model(self, x: Tensor) -> Any:
        return pyro.deterministic("x", self.slices(len(x)) if self.in_place else self.passes(len(x)), event_dim=1)

    def passes(self, n: int) -> Tensor:
        x = torch.zeros(n, len(self.bias))
        for d in range(len(self.bias)):
            logits = nn.functional.linear(x, self.weight * self.mask, self.bias)
            x[:, d] = torch.bernoulli(logits[:, d].sigmoid())
        return x

    def slices(self, n: int) -> Tensor:
        logits = self.bias.expand(n, -1).clone()
        drawn = []
        for d in range(len(self.bias)):
            drawn.append(torch.bernoulli(logits[:, d].sigmoid()))
            logits += drawn[-1][:, None] * self.weight[:, d]
        return torch.stack(drawn, 1)


@pytest.mark.parametrize("in_place", [True, False])
def test_passes_of_a_sequential_sampler(in_place: bool) -> None:
    assert sequential_passes(Pair(Event(7, "binary"), Sequential(7, in_place).model)) == 7


class Noisy(Implicit):
    """x ~ N(net(z), scale²): the scale meets data as often as the network does."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.net(z), self.scale).to_event(1), obs=x)


class Walk(Implicit):
    """Five steps of a walk that starts from a parameter; noise is added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(2))

    def model(self, x: Tensor) -> Any:
        state = self.start.expand(len(x), 2).clone()
        state += torch.randn(len(x), 2)
        for _ in range(5):
            state = self.net(state)
        return pyro.deterministic("x", state, event_dim=1)


@pytest.mark.parametrize(("module", "passes"), [(Implicit, 1), (Noisy, 1), (Walk, 5)])
def test_passes_count_a_network_once_a_step(module: Callable[[], nn.Module], passes: int) -> None:
    assert sequential_passes(Pair(PLANE, module().model)) == passes


@pytest.mark.parametrize(
    ("group", "least", "most"), [("floor", 0, 0), ("flow", 1, 15), ("implicit", 1, 1), ("autoregressive", 16, 16)]
)
def test_passes_of_the_groups(group: str, least: int, most: int) -> None:
    """Of the sixteen dimensions of a masked flow the first depends on nothing."""
    registry.load_shelves()
    names = [family.name for family in registry.families if family.group == group and "levels" in family.supports]
    assert names
    found = {name: sequential_passes(build(name, Event((4, 4), 3))) for name in names}
    # The two LSTMs of a diagonal layer are one parameter; tied embeddings meet an entry and the one after it.
    known = {"pixelrnn": 34, "rnnlm": 31}
    assert {name: passes for name, passes in found.items() if not least <= passes <= known.get(name, most)} == {}
    known |= {"nice": 1, "realnvp": 1, "iaf": 1, "maf": 15}
    assert {name: passes for name, passes in found.items() if passes != known.get(name, passes)} == {}
