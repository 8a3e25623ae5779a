"""What is read off the traces: per-datum log-weights, sites, capabilities, samples."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from torch import Tensor, nn

from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.pair import Pair, no_guide
from zoo.pairs.sampling import sample
from zoo.pairs.sites import observed_sites, per_datum
from zoo.pairs.traces import capabilities, log_prob, log_weights, tempered, traced
from zoo.seeding import seeded

PLANE = Event(2, "real")


def normal(x: Tensor, size: int = 2) -> Any:
    return dist.Normal(x.new_zeros(size), 1.0).to_event(1)


def gaussian(x: Tensor) -> None:
    """x | z ~ N(z, I), z ~ N(0, I): p(x) = N(0, 2 I), p(z | x) = N(x / 2, I / 2)."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", normal(x))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def posterior(x: Tensor, shift: float = 0.0) -> None:
    """The exact posterior of `gaussian`, moved by ``shift``."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2 + shift, math.sqrt(0.5)).to_event(1))


def linear_gaussian(shift: float = 0.0, extras: object = None) -> Pair:
    return Pair(PLANE, gaussian, partial(posterior, shift=shift), extras=extras)


def evidence(x: Tensor) -> Tensor:
    return dist.Normal(0.0, math.sqrt(2.0)).log_prob(x).sum(-1)


def bits(x: Tensor, size: int = 3) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Bernoulli(x.new_full((size,), 0.25)).to_event(1), obs=x)


def implicit(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", normal(x, 5))
        pyro.deterministic("x", z[..., :2] ** 2, event_dim=1)


def test_under_the_exact_posterior_every_weight_is_the_evidence() -> None:
    x = torch.randn(7, 2)
    assert torch.allclose(log_weights(linear_gaussian(), x), evidence(x), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1.0, 1.0), st.integers(0, 1000))
def test_weights_are_unbiased_and_log_weights_miss_the_divergence(shift: float, seed: int) -> None:
    """E w = p(x), and E log w = log p(x) - KL(q || posterior), which is shift^2 in each of the two dimensions."""
    K = 4000
    with seeded(seed):
        x = torch.randn(1, 2)
        weights = log_weights(linear_gaussian(shift), x.repeat(K, 1)).double()
    ratio = (weights - evidence(x)).exp()
    error = float(ratio.std()) / math.sqrt(K)
    assert abs(float(ratio.mean()) - 1) < 6 * error + 1e-3
    spread = float(weights.std()) / math.sqrt(K)
    assert abs(float((evidence(x) - weights).mean()) - 2 * shift**2) < 6 * spread + 1e-4


def test_gradients_flow_through_the_weights() -> None:
    x = torch.randn(4, 2, requires_grad=True)
    log_weights(linear_gaussian(), x).sum().backward()
    assert torch.allclose(x.grad, -x.detach() / 2, atol=1e-5)


def test_with_an_empty_guide_the_weights_are_exact() -> None:
    pair = Pair(Event(3, "binary"), bits)
    x = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]])
    expected = torch.tensor([3 * math.log(0.75), 3 * math.log(0.25), math.log(0.25) + 2 * math.log(0.75)])
    assert torch.allclose(log_weights(pair, x), expected)
    assert torch.allclose(log_prob(pair, x), expected)
    with pair.evaluating():
        assert log_weights(pair, x.to("meta")).device.type == "meta"


def test_a_site_outside_the_plate_is_refused() -> None:
    def model(x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w + 0 * x, 1.0).to_event(1), obs=x)

    with pytest.raises(ContractError, match=r"site 'w' lies outside the data plate, .*; put it under"):
        log_weights(Pair(PLANE, model), torch.zeros(5, 2))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_plates_within_the_data_plate_are_summed(n: int) -> None:
    """Even one of as many entries as there are data."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("entries", 3, dim=-1):
            pyro.sample("x", dist.Normal(torch.arange(3.0), 1.0), obs=x)

    x = torch.randn(n, 3)
    expected = dist.Normal(torch.arange(3.0), 1.0).log_prob(x).sum(-1)
    assert torch.allclose(log_weights(Pair(Event(3, "real"), model), x), expected)


def test_the_data_plate_may_have_another_name_and_nest() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("rows", len(x), dim=-1), pyro.plate("copies", 2, dim=-2):
            pyro.sample("x", dist.Normal(x.new_zeros(2), 1.0).to_event(1), obs=x.expand(2, -1, -1))

    x = torch.randn(5, 2)
    weights = log_weights(Pair(PLANE, model), x)
    assert torch.allclose(weights, 2 * dist.Normal(0.0, 1.0).log_prob(x).sum(-1))


def test_masks_count_and_scales_do_not() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)), poutine.mask(mask=x[:, 0] > 0), poutine.scale(scale=7.0):
            pyro.sample("x", dist.Normal(x.new_zeros(2), 1.0).to_event(1), obs=x)

    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0]])
    expected = dist.Normal(0.0, 1.0).log_prob(x).sum(-1) * torch.tensor([1.0, 0.0])
    assert torch.allclose(log_weights(Pair(PLANE, model), x), expected)


def test_a_latent_without_batch_shape_counts_for_each_datum() -> None:
    """Its distribution is broadcast over the plate."""
    model_trace, _ = traced(linear_gaussian(), torch.zeros(5, 2))
    assert per_datum(model_trace, 5).shape == (5,)


def test_sites_in_one_program_only_are_named() -> None:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("u", normal(x))

    for other in (guide, no_guide):
        with pytest.raises(ContractError, match="the model's latent 'z' is not sampled by the guide"):
            log_weights(Pair(PLANE, gaussian, other), torch.zeros(5, 2))
    with pytest.raises(ContractError, match=r"the guide samples 'u', which is no latent of the model \(none\)"):
        log_weights(Pair(Event(3, "binary"), bits, guide), torch.zeros(5, 3))


def test_a_latent_without_a_guide_makes_no_exact_likelihood() -> None:
    pair = Pair(PLANE, gaussian)
    can = capabilities(pair)
    assert (can.likelihood, can.latents, can.unguided) == ("bound", {"z": (2,)}, ("z",))
    with pytest.raises(ContractError, match="no exact log-probability"):
        log_prob(pair, torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("pair", "likelihood", "latents", "observed", "lossless"),
    [
        (linear_gaussian(), "bound", {"z": (2,)}, ("x",), False),
        (Pair(Event(3, "binary"), bits), "exact", {}, ("x",), True),
        (Pair(PLANE, implicit), "none", {}, (), False),
    ],
    ids=["latents", "no latents", "implicit"],
)
def test_capabilities_are_read_off_the_traces(
    pair: Pair, likelihood: str, latents: dict[str, tuple[int, ...]], observed: tuple[str, ...], lossless: bool
) -> None:
    can = capabilities(pair)
    assert (can.likelihood, can.analytic, can.latents) == (likelihood, False, latents)
    assert (can.observed, can.output, can.lossless) == (observed, "x", lossless)
    assert can.discrete is (pair.event.levels is not None)
    if likelihood != "exact":
        reason = (
            r"no exact log-probability.*\(z\).*lower bound" if can.observed else "no log-probability: it is implicit"
        )
        with pytest.raises(ContractError, match=reason):
            log_prob(pair, torch.zeros(3, 2))


def test_pairs_with_latents_code_images_with_loss() -> None:
    can = capabilities(linear_gaussian())
    assert [can.lossy(event) for event in (PLANE, Event(3, "real"))] == [False, True]
    assert not capabilities(Pair(Event(3, "binary"), bits)).lossy(Event(3, "binary"))


class Analytic:
    """`evidence`, or its sum, as a family's own log-probability."""

    def __init__(self, summed: bool = False) -> None:
        self.summed = summed

    def log_prob(self, x: Tensor) -> Tensor:
        return evidence(x).sum() if self.summed else evidence(x)


def test_an_analytic_log_prob_makes_a_bound_exact() -> None:
    exact = linear_gaussian(0.5, Analytic())
    can, x = capabilities(exact), torch.randn(4, 2)
    assert (can.likelihood, can.analytic, can.latents) == ("exact", True, {"z": (2,)})
    assert torch.equal(log_prob(exact, x), evidence(x))


def test_a_log_prob_of_another_shape_is_refused() -> None:
    with pytest.raises(ContractError, match=r"log_prob\(x\) should have shape \(4,\), got \(\)"):
        log_prob(linear_gaussian(extras=Analytic(summed=True)), torch.zeros(4, 2))


def test_a_deterministic_site_is_not_the_output_of_observed_data() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", normal(x))
            loc = pyro.deterministic("loc", z * 3, event_dim=1)
            pyro.sample("obs", dist.Normal(loc, 1.0).to_event(1), obs=x)

    pair = Pair(PLANE, model, posterior)
    can = capabilities(pair)
    assert (can.output, can.observed, can.likelihood) == ("obs", ("obs",), "bound")
    x = torch.randn(5, 2)
    assert log_weights(pair, x).shape == (5,)
    with pair.evaluating():
        assert observed_sites(traced(pair, x)[0]) == {"obs"}


def test_a_model_without_data_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", normal(x))

    pair = Pair(PLANE, model, posterior)
    for ask in (capabilities, lambda pair: sample(pair, 3)):
        with pytest.raises(ContractError, match="the model should observe its data"):
            ask(pair)


def test_data_are_observed_once() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("a", normal(x), obs=x)
            pyro.sample("b", normal(x), obs=x)

    with pytest.raises(ContractError, match="each entry of x should be observed exactly once; 2 of 2 are not"):
        sample(Pair(PLANE, model), 3)


def test_samples_follow_the_model() -> None:
    with seeded(0):
        drawn = sample(linear_gaussian(), 5000)
    assert drawn.shape == (5000, 2)
    assert torch.allclose(drawn.mean(0), torch.zeros(2), atol=0.1)
    assert torch.allclose(torch.cov(drawn.T), 2 * torch.eye(2), atol=0.2)


def test_samples_of_an_implicit_model_are_its_deterministic_site() -> None:
    with seeded(0):
        drawn = sample(Pair(PLANE, implicit), 2000)
    assert drawn.shape == (2000, 2)
    assert (drawn >= 0).all()
    assert torch.allclose(drawn.mean(0), torch.ones(2), atol=0.2)


def test_samples_are_float_data_drawn_in_chunks() -> None:
    sizes = []

    def model(x: Tensor) -> None:
        sizes.append(len(x))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Categorical(x.new_ones(6, 3)).to_event(1), obs=x.reshape(len(x), 6))

    pair = Pair(Event((2, 3), 3), model)
    sample(pair, 1)  # learns the layout
    sizes.clear()
    drawn = sample(pair, 10, chunk=4)
    assert sizes == [4, 4, 2]
    assert (drawn.shape, drawn.dtype) == ((10, 2, 3), torch.float32)
    assert set(drawn.unique().tolist()) == {0.0, 1.0, 2.0}


def test_a_sample_of_another_size_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.deterministic("x", normal(x, 3).sample(), event_dim=1)

    with pytest.raises(ContractError, match=r"should give 4 data of shape \(2,\), got a tensor of shape \(4, 3\)"):
        sample(Pair(PLANE, model), 4)


def test_sampling_uses_evaluation_mode_and_restores_the_mode() -> None:
    class Wobbly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.99)

        def model(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(self.drop(torch.ones_like(x)), 1e-3).to_event(1), obs=x)

    wobbly = Wobbly()
    drawn = sample(Pair(PLANE, wobbly.model), 50)
    assert torch.allclose(drawn, torch.ones(50, 2), atol=0.1)
    assert wobbly.training
    assert not drawn.requires_grad


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_tempering_weights_the_latents_by_beta(beta: float) -> None:
    pair, x = linear_gaussian(), torch.randn(4, 2)
    guide_trace = poutine.trace(pair.guide).get_trace(x)
    with tempered(beta):
        trace = poutine.trace(poutine.replay(pair.model, trace=guide_trace)).get_trace(x)
    z = guide_trace.nodes["z"]["value"]
    prior, data = (dist.Normal(0.0, 1.0).log_prob(value).sum() for value in (z, x - z))
    assert torch.allclose(trace.log_prob_sum(), beta * prior + data)
