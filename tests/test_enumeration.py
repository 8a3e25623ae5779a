"""Summed latents: the sums equal those by hand, the forward algorithm and Pyro's own, in every part of the zoo."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from summed import (
    CASES,
    CENTRES,
    EMISSIONS,
    PLANE,
    START,
    STEPS,
    TRANSITIONS,
    WEIGHTS,
    Program,
    Semi,
    forward_algorithm,
    hmm,
    marked,
    mixture,
    mixture_evidence,
    pixels,
)
from torch import Tensor

from zoo import Dataset, Event, Pair, engine, fit
from zoo.codec.lossless import why_not
from zoo.engine.objectives import elbo, importance_weighted, mean_field_elbo
from zoo.errors import ContractError, ZooError
from zoo.metrics.bounds import bounds
from zoo.pairs.enumeration import misread_sites
from zoo.pairs.pair import no_guide
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob, log_weights, weight_parts
from zoo.runs.evaluation import TrainedRun, evaluate
from zoo.seeding import seeded


@pytest.mark.parametrize("model", [mixture, config_enumerate(mixture), config_enumerate(mixture, default="sequential")])
@pytest.mark.parametrize("guide", [no_guide, lambda x: marked(x.new_zeros(len(x), 3))], ids=["left out", "marked"])
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_mixture_is_exact(model: Program, guide: Program, n: int) -> None:
    pair, x = Pair(PLANE, model, guide), torch.randn(n, 2)
    can = capabilities(pair)
    assert (can.likelihood, can.latents, dict(can.enumerated)) == ("exact", {}, {"k": 3})
    assert torch.allclose(log_prob(pair, x), mixture_evidence(x), atol=1e-5)
    assert torch.allclose(log_weights(pair, x), mixture_evidence(x), atol=1e-5)
    reconstruction, latents = weight_parts(pair, x)
    assert torch.allclose(reconstruction, mixture_evidence(x), atol=1e-5)
    assert torch.equal(latents, torch.zeros(n))


def test_factors_that_contradict_each_other_by_hundreds_of_nats_are_summed() -> None:
    """Exponentials of either vanish in float32 for every value of k; those of their product do not."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.5))
            pyro.sample("a", dist.Normal(40 * k, 1.0), obs=x[:, 0])
            pyro.sample("b", dist.Normal(40 - 40 * k, 1.0), obs=x[:, 1])

    x = torch.tensor([[0.0, 0.0]])
    weights = log_weights(Pair(PLANE, model), x)
    assert torch.allclose(weights, torch.tensor(-800 - math.log(2 * math.pi)), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_a_latent_of_each_pixel_is_summed_in_its_plate(n: int) -> None:
    """Even where there are as many pixels as data."""
    pair, x = Pair(Event(4, "real"), pixels), torch.randn(n, 4)
    expected = (WEIGHTS.log() + dist.Normal(CENTRES[:, 0], 1.0).log_prob(x[..., None])).logsumexp(-1).sum(-1)
    assert torch.allclose(log_prob(pair, x), expected, atol=1e-5)


def test_a_hidden_markov_model_gives_the_forward_algorithm() -> None:
    pair, x = Pair(Event(STEPS, "binary"), hmm), torch.randint(2, (6, STEPS)).float()
    assert set(pair.structure.enumerated) == {f"s{t}" for t in range(STEPS)}
    assert torch.allclose(log_weights(pair, x), forward_algorithm(x), atol=1e-5)


@pytest.mark.thorough
def test_the_evaluation_says_how_the_value_is_exact() -> None:
    for pair, x, summed in (
        (Pair(PLANE, mixture), torch.randn(20, 2), "k"),
        (
            Pair(Event(STEPS, "binary"), hmm),
            torch.randint(2, (20, STEPS)).float(),
            "s0, s1, s2, s3, s4, ... (12 latents)",
        ),
    ):
        run = TrainedRun(pair, Dataset("made up", pair.event, x, x, x, "made up"), 0, [])
        scores = {score.metric: score for score in evaluate("likelihood", [run])}
        exact = log_prob(pair, x)
        assert scores["nats"].value == pytest.approx(-float(exact.mean()), rel=1e-5)
        for metric in ("nats", "bits_per_dim"):
            assert (scores[metric].kind, scores[metric].reason) == ("exact", f"exact by enumeration of {summed}")
        assert scores["elbo"].status == "skipped"


def test_samples_of_a_hidden_markov_model_are_put_together() -> None:
    with seeded(0):
        drawn = sample(Pair(Event(STEPS, "binary"), hmm), 3000)
    occupied, rates = START, []
    for _ in range(STEPS):
        rates.append(occupied @ EMISSIONS)
        occupied = occupied @ TRANSITIONS
    assert torch.allclose(drawn.mean(0), torch.stack(rates), atol=0.05)


def test_a_subsampled_plate_does_not_scale_the_loss() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", 1000, subsample=x):
            k = pyro.sample("k", dist.Categorical(WEIGHTS))
            pyro.sample("x", dist.Normal(CENTRES[k], 1.0).to_event(1), obs=x)

    x = torch.randn(6, 2)
    assert torch.allclose(elbo()(Pair(PLANE, model), x, 1.0)[1], -mixture_evidence(x).mean(), atol=1e-5)


def test_a_scale_of_what_is_summed_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(WEIGHTS))
            with poutine.scale(scale=0.5):
                pyro.sample("x", dist.Normal(CENTRES[k], 1.0).to_event(1), obs=x)

    with pytest.raises(ContractError, match=r"depends on a summed latent has a scale; move poutine\.scale off it"):
        elbo()(Pair(PLANE, model), torch.randn(6, 2), 1.0)


def test_parameters_of_a_marked_method_are_found() -> None:
    semi = Semi(depends=False)
    pair = Pair(PLANE, config_enumerate(semi.model), semi.left_out)
    assert len(pair.parameters()) == len(list(semi.parameters()))


def summing(model: Program, guide: Program) -> Program:
    """``model`` with marks at what the guide leaves out, as `TraceEnum_ELBO` wants them."""
    guided = poutine.trace(guide).get_trace(torch.zeros(2, 2))
    return poutine.infer_config(model, lambda s: {"enumerate": None if s["name"] in guided else "parallel"})


@pytest.mark.parametrize(("model", "guide"), CASES)
def test_loss_and_gradients_are_those_of_trace_enum_elbo(model: Program, guide: Program) -> None:
    pair, x, for_pyro = Pair(PLANE, model, guide), torch.randn(6, 2), summing(model, guide)
    with seeded(1):
        ours, loss = elbo()(pair, x, 1.0)
    with seeded(1), pair.scope():
        theirs = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(for_pyro, guide, x) / len(x)
    assert torch.allclose(loss, theirs, atol=1e-5)
    gradients = (torch.autograd.grad(each, pair.parameters(), allow_unused=True) for each in (ours, theirs))
    for mine, pyros in zip(*gradients, strict=True):
        assert (mine is None) == (pyros is None)
        assert mine is None or torch.allclose(mine, pyros, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(("model", "guide"), CASES)
def test_the_step_is_recorded(model: Program, guide: Program) -> None:
    pair, x = Pair(PLANE, model, guide), torch.randn(6, 2)
    losses, gradients = [], []
    for mode in ("eager", "traced"):
        step = engine.compile(pair, elbo(2), mode=mode)
        with seeded(1):
            losses.append(step(x, 0.7))
        assert step.reason == ""
        gradients.append([torch.zeros(()) if p.grad is None else p.grad.clone() for p in pair.parameters()])
    assert torch.allclose(*losses)
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("model", "guide"), CASES)
def test_weights_are_unbiased(model: Program, guide: Program) -> None:
    """With all latents summed or integrated on a grid, p(x) is the mean of the weights."""
    pair, x = Pair(PLANE, model, guide), torch.tensor([[0.5, -0.5]])
    found = bounds(pair, x, 4000)
    sizes = torch.linspace(-6, 6, 61)
    z = torch.cartesian_prod(sizes, sizes)
    exact = grid_evidence(model, x, z)
    error = float((1 / found.ess).sqrt())
    assert abs(float(found.importance) - exact) < 5 * error + 1e-3


def grid_evidence(model: Program, x: Tensor, z: Tensor) -> float:
    """log p(x) by a sum over k and flag, and a grid for z: by conditioning alone, without enumeration."""
    names = {name for name, site in poutine.trace(model).get_trace(x).nodes.items() if site["type"] == "sample"}
    total = []
    for k in range(3):
        for flag in range(2 if "flag" in names else 1):
            n = len(z) if "z" in names else 1
            one_hot = torch.eye(3)[k].expand(n, 3) if "z" in names else torch.tensor([k])
            values = {"k": one_hot, "z": z, "flag": torch.tensor([float(flag)])}
            given = poutine.condition(model, {name: value for name, value in values.items() if name in names})
            trace = poutine.trace(given).get_trace(x.expand(n, 2))
            trace.compute_log_prob()
            sites = [trace.nodes[name]["log_prob"] for name in ("k", "z", "flag", "x") if name in names]
            cell = 2 * math.log(12 / 60) if "z" in names else 0.0
            total.append((sum(sites) + cell).logsumexp(0))
    return float(torch.stack(total).logsumexp(0).detach())


@pytest.mark.parametrize(("model", "guide"), CASES)
def test_parts_add_up_to_the_weights(model: Program, guide: Program) -> None:
    pair, x = Pair(PLANE, model, guide), torch.randn(6, 2)
    with seeded(0):
        reconstruction, latents = weight_parts(pair, x)
    with seeded(0):
        weights = log_weights(pair, x)
    assert torch.allclose(reconstruction + latents, weights, atol=1e-5)
    assert latents.abs().max() > 0


def test_particles_are_averaged_and_warm_up_weighs_the_sampled_latents() -> None:
    semi = Semi(depends=True)
    pair, x = Pair(PLANE, semi.model, semi.left_out), torch.randn(6, 2)
    with seeded(0):
        several = elbo(3)(pair, x, 1.0)[1]
    with seeded(0):
        single = torch.stack([elbo()(pair, x, 1.0)[1] for _ in range(3)])
    assert torch.allclose(several, single.mean())
    with seeded(0):
        reconstruction, latents = weight_parts(pair, x)
    with seeded(0):
        tempered = elbo()(pair, x, 0.25)[1]
    assert torch.allclose(tempered, -(reconstruction + 0.25 * latents).mean(), atol=1e-5)


@pytest.mark.thorough
def test_training_a_mixture_finds_its_weights() -> None:
    def model(x: Tensor) -> None:
        weights = pyro.param("weights", torch.full((2,), 0.5), constraint=dist.constraints.simplex)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(CENTRES[2 * k], 1.0).to_event(1), obs=x)

    with seeded(0):
        x = CENTRES[2 * (torch.rand(600) < 0.8).long()] + torch.randn(600, 2)
    data = Dataset("two", PLANE, x[:500], x[500:550], x[550:], "made up")
    pair = Pair(PLANE, model)
    progress = fit(pair, data, {"steps": 150, "lr": 0.05, "batch": 250, "kl_warmup": 10})
    assert progress.status == "finished"
    with pair.scope():
        assert abs(float(pyro.param("weights").detach()[1]) - 0.8) < 0.06


def recentred(x: Tensor) -> None:
    """Subtracts a mean over data, which under enumeration is a mean over the values of k."""
    with pyro.plate("data", len(x)):
        centres = CENTRES[pyro.sample("k", dist.Categorical(WEIGHTS))]
        pyro.sample("x", dist.Normal(centres - centres.mean(0), 1.0).to_event(1), obs=x)


def test_sites_that_misread_enumerated_values_are_found() -> None:
    assert misread_sites(Pair(PLANE, recentred), torch.randn(5, 2)) == ["x"]
    assert misread_sites(Pair(PLANE, mixture), torch.randn(5, 2)) == []
    assert misread_sites(Pair(Event(4, "real"), pixels), torch.randn(5, 4)) == []
    assert misread_sites(Pair(Event(STEPS, "binary"), hmm), torch.ones(5, STEPS)) == []


@pytest.mark.parametrize(("model", "guide"), CASES)
def test_sites_that_read_them_well_are_not(model: Program, guide: Program) -> None:
    assert misread_sites(Pair(PLANE, model, guide), torch.randn(5, 2)) == []


def test_samples_are_drawn_without_enumeration() -> None:
    with seeded(0):
        drawn = sample(Pair(PLANE, config_enumerate(mixture)), 4000)
    assert drawn.shape == (4000, 2)
    assert torch.allclose(drawn.mean(0), WEIGHTS @ CENTRES, atol=0.15)


def test_a_latent_that_is_not_finite_is_refused() -> None:
    def model(x: Tensor, prior: Any) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", prior)
            pyro.sample("x", dist.Normal(k.sum(-1, keepdim=True).expand(len(x), 2), 1.0).to_event(1), obs=x)

    for prior in (dist.Poisson(torch.ones(1)).to_event(1), dist.Bernoulli(torch.full((3,), 0.5)).to_event(1)):
        pair = Pair(PLANE, lambda x, prior=prior: model(x, prior))
        with pytest.raises(
            ContractError, match=r"'k' is not sampled by the guide, .* cannot be summed: .* is not finite"
        ):
            log_weights(pair, torch.zeros(3, 2))
        with pytest.raises(ContractError, match="cannot be summed"):
            elbo()(pair, torch.zeros(3, 2), 1.0)


def test_a_finite_latent_of_all_data_is_refused() -> None:
    """Its sum couples the data: there is no log-probability of each."""

    def model(x: Tensor) -> None:
        k = pyro.sample("k", dist.Categorical(WEIGHTS))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(CENTRES[k], 1.0).to_event(1), obs=x)

    with pytest.raises(ContractError, match="site 'k' lies outside the data plate"):
        log_weights(Pair(PLANE, model), torch.zeros(3, 2))


def by_rows(x: Tensor) -> None:
    """Runs where there are as many data as values, and nowhere else."""
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(WEIGHTS))
        pyro.sample("x", dist.Normal(CENTRES[k.reshape(-1)], 1.0).to_event(1), obs=x)


def test_a_program_that_counts_from_the_left_is_refused() -> None:
    with pytest.raises(ContractError, match=r"do not run on all values of k at once, .* \(ValueError: .*k.unsqueeze"):
        log_prob(Pair(PLANE, by_rows), torch.zeros(3, 2))


def test_several_monte_carlo_samples_are_no_enumeration() -> None:
    semi = Semi(depends=False)

    def guide(x: Tensor) -> None:
        with poutine.infer_config(config_fn=lambda site: {"num_samples": 5}):
            semi.marked(x)

    assert set(capabilities(Pair(PLANE, semi.model, guide)).latents) == {"k", "z"}


def test_analytic_terms_and_other_objectives() -> None:
    semi = Semi(depends=False)
    pair, x = Pair(PLANE, semi.model, semi.left_out), torch.randn(4, 2)
    with pytest.raises(ZooError, match=r"need every latent sampled by the guide; use elbo\(\)"):
        mean_field_elbo()(pair, x, 1.0)
    with seeded(0):
        loss, _ = importance_weighted(3)(pair, x, 1.0)
    with seeded(0):
        weights = log_weights(pair, x.repeat_interleave(3, 0)).reshape(4, 3)
    assert torch.allclose(loss, (math.log(3) - weights.logsumexp(1)).mean())


def test_a_sum_is_a_lossless_code_and_no_lossy_one() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(WEIGHTS))
            pyro.sample("x", dist.Bernoulli(torch.sigmoid(CENTRES[k])).to_event(1), obs=x)

    pair = Pair(Event(2, "binary"), model)
    can = capabilities(pair)
    assert (can.lossless, can.lossy(pair.event)) == (True, False)
    assert why_not(pair) == ""
