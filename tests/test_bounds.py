"""Bounds against the evidence of a linear-Gaussian pair, which has a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo import Event, Pair
from zoo.metrics.bounds import bounds, log_probs, pareto_shapes, particle_weights, summarise
from zoo.metrics.memory import CHUNK, MEMORY, PROBED, in_chunks, rows_within
from zoo.pairs.traces import log_weights
from zoo.seeding import seeded

EVENT = Event(3, "real")
LOADING = torch.tensor([1.0, -0.5, 2.0])
NOISE = 0.7
PRECISION = 1 + float(LOADING @ LOADING) / NOISE**2
"""Of the posterior of the one latent."""


def gaussian(width: float = 1.0, shift: float = 0.0, seen: Callable[[int], None] = lambda n: None) -> Pair:
    """x = LOADING z + NOISE e; the guide is the exact posterior, made ``width`` times as wide and moved."""

    def model(x: Tensor) -> None:
        seen(len(x))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z[:, None] * LOADING, NOISE).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ LOADING / NOISE**2 / PRECISION + shift, width / math.sqrt(PRECISION)))

    return Pair(EVENT, model, guide)


def evidence(x: Tensor) -> Tensor:
    covariance = torch.outer(LOADING, LOADING) + NOISE**2 * torch.eye(3)
    value: Tensor = torch.distributions.MultivariateNormal(torch.zeros(3), covariance).log_prob(x)
    return value.double()


@pytest.fixture
def x() -> Tensor:
    with seeded(0):
        return torch.randn(60, 1) * LOADING + NOISE * torch.randn(60, 3)


def test_an_exact_posterior_gives_the_evidence_of_each_datum(x: Tensor) -> None:
    found = bounds(gaussian(), x, 30)
    for value in (found.elbo, found.importance):
        torch.testing.assert_close(value, evidence(x), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.ess, torch.full((60,), 30.0).double(), atol=1e-3, rtol=0)
    assert (found.khat < 0.7).all(), "even weights have no heavy tail"


def test_the_bound_is_per_datum(x: Tensor) -> None:
    # a joint bound over the batch would be one number, or off by hundreds of nats spread over the data
    found = bounds(gaussian(1.4, 0.2), x, 1000)
    assert found.importance.shape == (60,)
    assert (found.importance - evidence(x)).abs().max() < 0.25


def test_the_bound_is_below_the_evidence_and_rises_with_the_particles(x: Tensor) -> None:
    pair = gaussian(2.0, 0.4)
    gaps = [evidence(x) - bounds(pair, x, particles).importance for particles in (1, 3, 15, 1000)]
    means = [float(gap.mean()) for gap in gaps]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.5
    assert abs(means[-1]) < 0.02
    assert means[-1] > -4 * float(gaps[-1].std()) / math.sqrt(60)


def test_a_bad_guide_is_flagged_and_a_good_one_is_not(x: Tensor) -> None:
    good, narrow = (bounds(gaussian(width), x, 512) for width in (1.2, 0.25))
    assert (good.khat > 0.7).double().mean() < 0.05
    assert (narrow.khat > 0.7).double().mean() > 0.6
    assert good.ess.mean() > 5 * narrow.ess.mean()


def test_khat_is_one_number_a_datum() -> None:
    with seeded(1):
        light = torch.rand(400, dtype=torch.float64)  # bounded weights
        heavy = -3 * torch.rand(400, dtype=torch.float64).log()  # w = u^-3, whose shape is 3
    light_k, heavy_k = pareto_shapes(torch.stack([light, heavy])).tolist()
    assert light_k < 0.5
    assert heavy_k == pytest.approx(3, abs=0.8)


def test_khat_of_hopeless_rows() -> None:
    rows = torch.stack([torch.full((100,), -torch.inf), torch.full((100,), 2.0)]).double()
    assert pareto_shapes(rows).tolist() == [math.inf, -math.inf]
    assert pareto_shapes(torch.zeros(4, 10)).isnan().all(), "too few particles to fit a tail"


def test_chunks_change_nothing(x: Tensor) -> None:
    def certain(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(x.sum(1)))

    pair = Pair(EVENT, gaussian().model, certain)
    whole = particle_weights(pair, x, 7)
    assert whole.shape == (60, 7)
    for memory in (1, 20_000, 100_000):
        assert torch.equal(particle_weights(pair, x, 7, memory=memory), whole)


def test_chunks_stay_within_the_memory(x: Tensor) -> None:
    sizes: list[int] = []
    pair = gaussian(seen=sizes.append)
    with pair.evaluating():
        rows = rows_within(30_000, x, lambda part: log_weights(pair, part))
    sizes.clear()
    particle_weights(pair, x, 25, memory=30_000)
    assert 1 < max(sizes) <= rows < 60 * 25


def test_same_seed_same_bound_and_nothing_outside_moves(x: Tensor) -> None:
    pair, before = gaussian(2.0), torch.get_rng_state()
    first, again, other = (bounds(pair, x, 30, seed=seed).importance for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_exact_values_in_chunks(x: Tensor) -> None:
    class Standard:
        def model(self, x: Tensor) -> Any:
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=x)

    pair = Pair(EVENT, Standard().model)
    expected = dist.Normal(0.0, 1.0).log_prob(x).sum(1).double()
    for memory in (1, 2**28):
        torch.testing.assert_close(log_probs(pair, x, memory=memory), expected)


@pytest.mark.parametrize("n", [0, 1, 6, 7, 40])
def test_few_rows_are_computed_once_and_many_in_chunks(n: int) -> None:
    sizes: list[int] = []

    def twice(part: Tensor) -> Tensor:
        sizes.append(len(part))
        return 2 * part

    x = torch.arange(float(n))
    assert torch.equal(in_chunks(x, twice, memory=64), 2 * x)  # 16 rows of 4 bytes
    assert sizes == ([n] if n <= max(PROBED) else [*PROBED, *(len(part) for part in x.split(16))])


def test_scores_do_not_depend_on_the_memory(x: Tensor) -> None:
    """Above `CHUNK` to the bit, as chunks are no larger; below it within the noise of the particles."""
    pair = gaussian(1.4)
    default, least, more = (bounds(pair, x, 1500, memory=memory).importance for memory in (MEMORY, CHUNK, 2**40))
    assert torch.equal(default, least)
    assert torch.equal(default, more)
    little = bounds(pair, x, 1500, memory=2**18).importance
    assert not torch.equal(default, little)
    torch.testing.assert_close(little, default, atol=0.1, rtol=0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-500, 500), min_size=1, max_size=20))
def test_bounds_are_in_order(weights: list[float]) -> None:
    found = summarise(torch.tensor([weights], dtype=torch.float64), torch.zeros(1))
    elbo, bound, ess = float(found.elbo), float(found.importance), float(found.ess)
    assert elbo - 1e-6 <= bound <= max(weights) + 1e-6
    assert 1 - 1e-6 <= ess <= len(weights) + 1e-6
    assert bound == pytest.approx(float(np.logaddexp.reduce(weights)) - math.log(len(weights)), abs=1e-6)
