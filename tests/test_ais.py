"""Annealed importance sampling: bounds from both sides of evidence that is known in closed form or by quadrature."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from members import small
from torch import Tensor

import zoo
from zoo.errors import ZooError
from zoo.metrics.ais import PILOTS, WARM, Annealer, anneal, simulated, why_not
from zoo.metrics.closed_forms import closed_forms
from zoo.pairs.pair import HasInitialise, Pair

D, L = 8, 3
NOISE = 0.5


def linear(shift: float, wide: float) -> tuple[Pair, Any]:
    """A linear Gaussian pair whose guide is ``shift`` deviations off and ``wide`` times too wide, and its evidence."""
    torch.manual_seed(0)
    weights = torch.randn(D, L)
    covariance = torch.linalg.inv(torch.eye(L) + weights.T @ weights / NOISE**2)
    deviation = (
        covariance.diagonal().sqrt()
        if wide != 1 or shift
        else torch.linalg.inv(torch.linalg.inv(covariance).diagonal().diag()).diagonal().sqrt()
    )

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(L), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weights.T, NOISE).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean = x @ weights @ covariance.T / NOISE**2
            pyro.sample("z", dist.Normal(mean + shift * deviation, wide * deviation).to_event(1))

    evidence = dist.MultivariateNormal(torch.zeros(D), weights @ weights.T + NOISE**2 * torch.eye(D))
    return Pair(zoo.Event(D, "real"), model, guide), evidence.log_prob


def positive() -> tuple[Pair, Any]:
    """A gamma rate of Poisson counts, whose guide is log-normal; a negative binomial in all."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(x.new_tensor(3.0), 0.5))
            pyro.sample("x", dist.Poisson(rate), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.LogNormal((2 * (x[:, 0] + 1)).log() - 1.0, 0.8))

    return Pair(zoo.Event(1, 200), model, guide), lambda x: dist.NegativeBinomial(3.0, probs=1 / 1.5).log_prob(x[:, 0])


def stacked() -> tuple[Pair, Any]:
    """A chain of two latents whose guide goes from the last to the first, inside a plate of its own."""

    def model(x: Tensor) -> None:
        with pyro.plate("rows", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x.new_zeros(()), 1.0))
            b = pyro.sample("b", dist.Normal(a, 0.7))
            pyro.sample("x", dist.Normal(b, 0.5), obs=x.T)

    def guide(x: Tensor) -> None:
        with pyro.plate("rows", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            b = pyro.sample("b", dist.Normal(0.8 * x.T, 0.6))
            pyro.sample("a", dist.Normal(0.5 * b, 0.7))

    return Pair(zoo.Event(2, "real"), model, guide), dist.Normal(torch.zeros(2), math.sqrt(1.74)).to_event(1).log_prob


CASES = {"shifted": linear(0.7, 1.5), "too narrow": linear(0.5, 0.7), "positive": positive(), "stacked": stacked()}


@pytest.mark.parametrize("name", CASES)
def test_bounds_enclose_the_evidence(name: str) -> None:
    pair, evidence = CASES[name]
    x, z = simulated(pair, 40, seed=0)
    annealer = Annealer(pair, x, chains=8, temperatures=12, leapfrogs=5, seed=3)
    below, above = annealer.forward(seed=1), annealer.backward(z, seed=2)
    truth = evidence(x).double()
    low, high = below.bound - truth, above.bound - truth
    assert float(low.mean()) < 3 * float(low.std()) / math.sqrt(40)
    assert float(high.mean()) > -3 * float(high.std()) / math.sqrt(40)
    assert float((high - low).mean()) < 0.5
    assert abs(float(low.mean())) < 0.2
    assert float(below.acceptance.mean()) > 0.5
    assert below.gradients == 8 * (1 + 5 * 11) + PILOTS * (1 + 5 * (11 + WARM))


def test_mean_weights_are_unbiased() -> None:
    """E w = p(x), and backwards 1 / p(x), however short the path."""
    pair, evidence = CASES["shifted"]
    x, _ = simulated(pair, 3, seed=5)
    annealer = Annealer(pair, x, chains=3000, temperatures=3, leapfrogs=3)
    forward, truth = annealer.forward(seed=1), evidence(x).double()
    ratio = (forward.log_weights - truth[:, None]).exp()
    assert ((ratio.mean(1) - 1).abs() < 4 * ratio.std(1) / math.sqrt(3000)).all()
    many = simulated(pair, 3000, seed=6)
    backward = Annealer(pair, many[0], chains=1, temperatures=4, leapfrogs=4).backward(many[1], seed=2)
    inverse = (backward.log_weights[:, 0] + evidence(many[0]).double()).exp()
    assert abs(float(inverse.mean()) - 1) < 4 * float(inverse.std()) / math.sqrt(3000)


def test_one_temperature_is_the_bound_of_particles() -> None:
    pair, _ = CASES["shifted"]
    x, _ = simulated(pair, 5, seed=0)
    annealer = Annealer(pair, x, chains=6, temperatures=1)
    found = annealer.forward(seed=0, start=(e := torch.randn(30, L)))
    rows = x.repeat_interleave(6, 0)
    fn = pyro.poutine.trace(pair.guide).get_trace(rows).nodes["z"]["fn"]
    z = fn.base_dist.loc + fn.base_dist.scale * e
    trace = pyro.poutine.trace(pyro.poutine.condition(pair.model, {"z": z})).get_trace(rows)
    trace.compute_log_prob()
    weights = trace.nodes["z"]["log_prob"] + trace.nodes["x"]["log_prob"] - fn.log_prob(z)
    assert torch.allclose(found.log_weights.flatten(), weights.double(), atol=1e-4)
    assert torch.allclose(found.bound, found.log_weights.logsumexp(1) - math.log(6))
    assert found.acceptance.isnan().all()


def test_a_guide_that_is_the_posterior_has_no_variance() -> None:
    event = zoo.Event(1, "real")

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, math.sqrt(0.5)).to_event(1))

    pair = Pair(event, model, guide)
    x, z = simulated(pair, 20, seed=0)
    annealer = Annealer(pair, x, chains=4, temperatures=5)
    truth = dist.Normal(0.0, math.sqrt(2.0)).log_prob(x[:, 0]).double()
    for found in (annealer.forward(seed=1), annealer.backward(z, seed=2)):
        assert torch.allclose(found.bound, truth, atol=1e-4)
        assert float(found.log_weights.std()) == pytest.approx(float(truth.std()), rel=0.2)
        assert torch.allclose(found.ess, torch.full((20,), 4.0, dtype=torch.float64), atol=1e-4)


def test_chains_do_not_depend_on_each_other() -> None:
    """Step sizes are fixed by the pilot run: a kernel that adapts to its chains would fail here."""
    pair, _ = CASES["shifted"]
    x, _ = simulated(pair, 2, seed=0)
    annealer = Annealer(pair, x, chains=4, temperatures=6, leapfrogs=4)
    sizes = [each.clone() for each in annealer.sizes]
    start = torch.randn(8, L)
    far = start + 20 * (torch.arange(8) % 4 > 0).float()[:, None]
    near, moved = (annealer.forward(seed=3, start=each).log_weights for each in (start, far))
    assert torch.allclose(near[:, 0], moved[:, 0], atol=1e-5)
    assert (near[:, 1:] - moved[:, 1:]).abs().min() > 1
    assert all(map(torch.equal, sizes, annealer.sizes))


@pytest.mark.thorough
def test_dequantised_data_are_bounded_by_quadrature() -> None:
    """log P(x) of two integers is the integral of a flow's density over a square."""
    torch.manual_seed(0)
    event = zoo.Event(2, 4)
    pair = zoo.build("realnvp", event, {"hidden": 8, "layers": 4})
    x = torch.tensor([[0.0, 3.0], [1.0, 2.0], [3.0, 3.0], [2.0, 0.0]]).repeat(5, 1)
    assert isinstance(pair.extras, HasInitialise)
    pair.extras.initialise(x)
    steps = (torch.arange(200) + 0.5) / 200
    found = Annealer(pair, x, chains=8, temperatures=10, leapfrogs=5).forward(seed=1)
    with pair.evaluating(), torch.no_grad():
        trace = pyro.poutine.trace(pyro.poutine.uncondition(pair.model)).get_trace(x[:1])
        density = trace.nodes["y"]["fn"]
        square = torch.cartesian_prod(steps, steps)
        truth = torch.stack([density.log_prob(each + square).logsumexp(0) for each in x]) - 2 * math.log(200)
    error = found.bound - truth.double()
    assert abs(float(error.mean())) < 0.05
    assert float(error.mean()) < 3 * float(error.std()) / math.sqrt(20) + 1e-3


@pytest.mark.parametrize(
    "name", ["vae", "vae+planar", "vae+iaf", "vae+mixture", "hvae", "ppca", "nice", "vae:prior=mixture"]
)
def test_families_with_continuous_latents_are_enclosed(name: str) -> None:
    torch.manual_seed(0)
    pair = zoo.build(name, zoo.Event((4, 4), 5), small(name.partition(":")[0]))
    assert why_not(pair) == ""
    x, z = simulated(pair, 12, seed=0)
    annealer = Annealer(pair, x, chains=4, temperatures=6, leapfrogs=4)
    gap = annealer.backward(z, seed=2).bound - annealer.forward(seed=1).bound
    assert gap.isfinite().all()
    assert float(gap.mean()) > -3 * float(gap.std()) / math.sqrt(12)


@pytest.mark.thorough
def test_a_path_that_is_too_long_is_not_annealed() -> None:
    event, settings = zoo.Event((4, 4), 5), small("ddpm")
    assert why_not(zoo.build("ddpm", event, settings)) == ""
    assert "a path of 17 steps" in why_not(zoo.build("ddpm", event, settings | {"timesteps": 17}))
    assert "5,616 latent dimensions" in why_not(zoo.build("ddpm", event, settings | {"timesteps": 350}))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gan", "implicit"), ("independent", "no latents"), ("vae+vmf", "surface"), ("ssvae", "records")],
)
def test_what_cannot_be_annealed_is_said(name: str, reason: str) -> None:
    event = zoo.Event.parse("x=4x4:5,y=:3@label") if name == "ssvae" else zoo.Event((4, 4), 5)
    pair = zoo.build(name, event, small(name))
    assert reason in why_not(pair)
    with pytest.raises(ZooError, match=f"cannot be annealed: .*{reason}"):
        Annealer(pair, pair.event.zeros(2))


@pytest.mark.thorough
def test_chunks_are_put_together_in_order() -> None:
    """Where the guide is the posterior, each bound is the datum's own evidence, however data are cut."""
    [form] = [each for each in closed_forms() if each.name == "linear Gaussian, 2 latents, guide right"]
    x, z = simulated(form.pair, 5, seed=0)
    for memory in (1, 2**30):
        for found in anneal(form.pair, x, z, chains=4, temperatures=3, leapfrogs=2, memory=memory):
            assert found.log_weights.shape == (5, 4)
            assert torch.allclose(found.bound, form.evidence(x), atol=1e-3)
    alone, *none = anneal(form.pair, x, chains=4, temperatures=3, leapfrogs=2)
    assert torch.allclose(alone.bound, form.evidence(x), atol=1e-3)
    assert none == []
