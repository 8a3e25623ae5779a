"""Distributions of our own: proper, finite at the edges, and of the right shapes."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine

from zoo.distributions import (
    ClosedUniform,
    DiscretisedLogistic,
    DiscretisedNormal,
    Floor,
    Levels,
    LogisticMixture,
    dequantise,
    level_counts,
    likelihood,
    observe,
    parameters_per_entry,
)
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_weights, sample

BELOW_ONE = 1 - 2**-24
"""The largest float32 that a uniform draw gives; added to 8 or more it rounds up to the next integer."""


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 300), st.floats(-50, 350), st.floats(1e-3, 1e3))
def test_discretised_logistic_sums_to_one(levels: int, loc: float, scale: float) -> None:
    fn = DiscretisedLogistic(torch.tensor(loc).double(), torch.tensor(scale).double(), levels)
    mass = fn.log_prob(torch.arange(levels).double())
    assert mass.isfinite().all()
    assert mass.logsumexp(0).item() == pytest.approx(0, abs=1e-9)


def test_discretised_logistic_is_the_difference_of_two_sigmoids() -> None:
    fn = DiscretisedLogistic(torch.tensor(3.3).double(), torch.tensor(1.7).double(), 17)
    expected = torch.sigmoid(torch.tensor((5.5 - 3.3) / 1.7)) - torch.sigmoid(torch.tensor((4.5 - 3.3) / 1.7))
    assert fn.log_prob(torch.tensor(5.0).double()).exp().item() == pytest.approx(expected.item(), rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 300), st.floats(-50, 350), st.floats(1e-3, 1e3))
def test_the_mean_of_a_discretised_normal_is_that_of_its_mass(levels: int, loc: float, scale: float) -> None:
    fn = DiscretisedNormal(torch.tensor(loc).double(), torch.tensor(scale).double(), levels)
    level = torch.arange(levels).double()
    assert fn.mean.item() == pytest.approx((fn.log_prob(level).exp() @ level).item(), abs=1e-9 * levels)


def test_discretised_logistic_draws_follow_its_mass() -> None:
    fn = DiscretisedLogistic(torch.tensor(4.2), torch.tensor(1.5), 8)
    torch.manual_seed(0)
    draws = fn.sample((20_000,))
    mass = fn.log_prob(torch.arange(8.0)).exp()
    shares = torch.bincount(draws.long(), minlength=8) / len(draws)
    assert ((shares - mass).abs() < 5 * (mass * (1 - mass) / len(draws)).sqrt() + 1e-4).all()


def test_discretised_logistic_has_gradients_everywhere() -> None:
    loc, raw = torch.tensor([-1e3, 0.0, 8.0, 1e3], requires_grad=True), torch.tensor(-3.0, requires_grad=True)
    values = torch.arange(17.0)[:, None].expand(17, 4)
    DiscretisedLogistic(loc, raw.exp(), 17).log_prob(values).sum().backward()
    assert loc.grad is not None
    assert raw.grad is not None
    assert loc.grad.isfinite().all()
    assert raw.grad.isfinite()


def mixture(levels: int) -> LogisticMixture:
    logits, loc = torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([-2.0, 3.3, 9.0]).double()
    return LogisticMixture(logits, loc, torch.tensor([0.1, 1.5, 4.0]).double(), levels)


@pytest.mark.parametrize("levels", [2, 8, 300])
def test_a_mixture_of_logistics_is_the_weighted_sum_of_its_components(levels: int) -> None:
    fn, x = mixture(levels), torch.arange(levels).double()
    parts = [DiscretisedLogistic(loc, scale, levels) for loc, scale in zip(fn.loc, fn.scale, strict=True)]
    weights = fn.logits.softmax(0)
    expected = sum(weight * part.log_prob(x).exp() for weight, part in zip(weights, parts, strict=True))
    torch.testing.assert_close(fn.log_prob(x).exp(), expected)
    assert float(fn.log_prob(x).exp().sum()) == pytest.approx(1, abs=1e-12)


def test_a_mixtures_draws_follow_its_mass() -> None:
    fn = mixture(8)
    torch.manual_seed(0)
    draws = fn.expand((20_000,)).sample()
    mass = fn.log_prob(torch.arange(8).double()).exp()
    shares = torch.bincount(draws.long(), minlength=8) / len(draws)
    assert ((shares - mass).abs() < 5 * (mass * (1 - mass) / len(draws)).sqrt() + 1e-4).all()
    assert fn.sample((3, 2)).shape == (3, 2)


@settings(deadline=None, max_examples=50)
@given(st.floats(-5, 25, width=32), st.integers(2, 20))
def test_all_mass_of_a_floor_lies_on_its_sample(y: float, levels: int) -> None:
    fn = Floor(torch.tensor(y), levels)
    assert fn.log_prob(fn.sample()) == 0
    if not float(y).is_integer():
        assert fn.log_prob(torch.arange(float(levels))).exp().sum() == 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 255), st.sampled_from([0.0, 2**-24, 0.5, BELOW_ONE]))
def test_dequantisation_is_finite_at_the_edges_of_a_cell(level: int, u: float) -> None:
    x = torch.tensor(float(level))
    y = x + u
    assert Floor(y, 256).log_prob(x) == 0
    assert ClosedUniform(x, x + 1).log_prob(y) == 0


def test_a_sum_that_rounds_up_is_among_the_edge_cases() -> None:
    assert torch.tensor(16.0) + BELOW_ONE == 17


def test_closed_uniform_is_a_density_on_its_interval_only() -> None:
    fn = ClosedUniform(torch.tensor(1.0), torch.tensor(5.0))
    outside = fn.log_prob(torch.tensor([0.99, 5.01]))
    assert (outside == -torch.inf).all()
    assert fn.log_prob(torch.tensor(2.0)).exp().item() == pytest.approx(0.25)


def flat_pair(event: Event) -> Pair:
    """A uniform density over the whole range of the levels: its dequantisation bound is exact."""

    def model(x: torch.Tensor) -> None:
        low = torch.zeros(event.shape)
        with pyro.plate("data", len(x)):
            observe(event, ClosedUniform(low, low + float(event.levels or 1)).to_event(len(event.shape)), x)

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            dequantise(event, x)

    return Pair(event, model, guide)


def test_the_dequantisation_bound_of_a_flat_density_is_the_uniform_pmf() -> None:
    event = Event((2, 3), 17)
    pair = flat_pair(event)
    x = torch.randint(0, 17, (50, 2, 3)).float()
    assert capabilities(pair).likelihood == "bound"
    assert torch.allclose(log_weights(pair, x), torch.full((50,), -6 * math.log(17)))
    drawn = sample(pair, 40)
    assert set(drawn.unique().tolist()) <= set(range(17))


def test_a_far_level_has_no_mass() -> None:
    assert Floor(torch.tensor(3.4), 17).log_prob(torch.tensor([2.0, 4.0])).eq(-torch.inf).all()


def test_real_data_are_observed_directly() -> None:
    event = Event(2, "real")
    x = torch.randn(5, 2)
    with pyro.plate("data", 5):
        trace = poutine.trace(observe).get_trace(event, dist.Normal(torch.zeros(2), 1.0).to_event(1), x)
        assert dequantise(event, x) is x
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample"] == ["x"]


@pytest.mark.parametrize("support", ["binary", 17, "real"])
def test_likelihood_factorises_over_the_event(support: str | int) -> None:
    event = Event((2, 3), support)
    fn = likelihood(event, torch.randn(5, 2, 3, parameters_per_entry(event)))
    assert (fn.batch_shape, fn.event_shape) == ((5,), (2, 3))
    x = fn.sample()
    assert x.dtype == torch.float32
    assert fn.log_prob(x).isfinite().all()
    if event.levels:
        assert set(x.unique().tolist()) <= set(range(event.levels))


def test_level_draws_are_floats_and_score_like_categorical_ones() -> None:
    logits = torch.randn(4, 5)
    x = Levels(logits=logits).expand((3, 4)).sample()
    assert x.dtype == torch.float32
    assert torch.equal(Levels(logits=logits).log_prob(x), dist.Categorical(logits=logits).log_prob(x))


def test_level_counts_add_up_to_the_data() -> None:
    x = torch.tensor([[0.0, 2.0], [1.0, 2.0], [0.25, 0.0]])
    assert torch.equal(level_counts(3, x), torch.tensor([[1.75, 1.25, 0.0], [1.0, 0.0, 2.0]]))
