"""Objectives of importance weights: what they equal, where their gradient vanishes, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import AffineTransform
from test_training import Deadly, Tape
from torch import Tensor, nn

import zoo
from zoo import Dataset, Event, Pair, ZooError, engine
from zoo.engine.objectives import Objective, doubly_reparameterised, elbo, importance_weighted
from zoo.training.loop import fit

L, NOISE = 2, 0.7
WEIGHTS = torch.tensor([[1.0, 0.2], [-0.4, 0.8], [0.3, -0.9]])
PLANE = Event(3, "real")
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Linear(nn.Module):
    """A linear Gaussian whose guide draws the second latent given the first; the exact posterior at no ``shift``."""

    def __init__(self, shift: float = 0.0, flow: bool = False) -> None:
        super().__init__()
        covariance = torch.linalg.inv(torch.eye(L) + WEIGHTS.T @ WEIGHTS / NOISE**2)
        self.weights = nn.Parameter(WEIGHTS.clone())
        self.mean = nn.Parameter(covariance @ WEIGHTS.T / NOISE**2 + shift)
        self.slope = nn.Parameter(covariance[1, 0] / covariance[0, 0] + shift)
        deviations = torch.stack([covariance[0, 0], covariance[1, 1] - covariance[1, 0] ** 2 / covariance[0, 0]]).sqrt()
        self.log_scale = nn.Parameter(deviations.log() + shift)
        self.flow = flow

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x.new_zeros(()), 1.0))
            b = pyro.sample("b", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(torch.stack([a, b], -1) @ self.weights.T, NOISE).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        (first, second), scale = (x @ self.mean.T).T, self.log_scale.exp()
        with pyro.plate("data", len(x)):
            base: Any = dist.Normal(first, scale[0])
            if self.flow:
                step = AffineTransform(first, scale[0], cache_size=1)
                base = dist.TransformedDistribution(dist.Normal(torch.zeros_like(first), 1.0), [step])
            a = pyro.sample("a", base)
            pyro.sample("b", dist.Normal(second + self.slope * (a - first), scale[1]))


GUIDE = ("mean", "slope", "log_scale")


def gradients(made: Linear, objective: Objective, x: Tensor = X) -> dict[str, Tensor]:
    pair = Pair(PLANE, made.model, made.guide)
    engine.compile(pair, objective, mode="eager")(x)
    return {name: parameter.grad.clone() for name, parameter in made.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("flow", [False, True])
def test_one_particle_is_the_elbo(flow: bool) -> None:
    found = []
    for objective in (elbo(), importance_weighted(1)):
        with zoo.seeding.seeded(1):
            found.append(gradients(Linear(0.3, flow), objective))
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


@pytest.mark.parametrize("flow", [False, True])
def test_the_doubly_reparameterised_gradient_has_the_same_mean(flow: bool) -> None:
    """Each row is a draw: the same datum many times, of which the gradient is the mean."""
    made, means = Linear(0.5, flow), []
    rows = X[:1].expand(100_000, -1)
    for objective in (importance_weighted(4), doubly_reparameterised(4)):
        with zoo.seeding.seeded(2):
            runs = [gradients(made, objective, part) for part in rows.split(5000)]
        means.append({name: torch.stack([run[name] for run in runs]) for name in runs[0]})
    for name in GUIDE:
        one, other = means[0][name], means[1][name]
        error = (one.var(0) / len(one) + other.var(0) / len(other)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4.5 * error).all(), name
        assert one.mean(0).abs().max() > 10 * error.max(), "a gradient of zero would prove nothing"
        assert (other.var(0) < one.var(0)).all(), "its noise is less"
    assert torch.allclose(means[0]["weights"], means[1]["weights"], atol=1e-5), "the model's is the same"


@pytest.mark.parametrize("particles", [1, 5])
def test_it_vanishes_where_the_guide_is_the_posterior(particles: int) -> None:
    found = {name: gradients(Linear(), each(particles)) for name, each in OBJECTIVES.items()}
    assert all(found["dreg"][name].abs().max() < 1e-5 for name in GUIDE)
    assert all(found["iwae"][name].abs().max() > 1e-2 for name in GUIDE), "the noise of the score function"


OBJECTIVES: dict[str, Callable[[int], Objective]] = {"iwae": importance_weighted, "dreg": doubly_reparameterised}
