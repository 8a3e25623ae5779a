"""The two-level VAE, and the two parts of the ELBO that it is judged by."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from draws import data
from pyro import poutine
from torch import Tensor
from torch.distributions import kl_divergence

from zoo.data import Dataset
from zoo.event import Event
from zoo.metrics.bounds import particle_parts
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_weights, traced, weight_parts
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded

EVENT = Event((2, 2), 5)
X = data(EVENT, 6)
SMALL = {"top": 2, "bottom": 3, "hidden": 16}


def hvae(event: Event = EVENT) -> tuple[Pair, Any]:
    pair = build("hvae", event, SMALL, seed=1).train(False)
    for module in pair.modules.values():
        module.double()
    return pair, pair.extras


def test_both_layers_are_drawn_from_the_top_down() -> None:
    can = capabilities(build("hvae", EVENT, SMALL))
    assert can.latents == {"z2": (2,), "z1": (3,)}
    assert (can.likelihood, can.lossless) == ("bound", True)
    pair, _ = hvae()
    for program in (pair.model, pair.guide):
        with seeded(0):
            trace = poutine.trace(program).get_trace(X)
        assert [name for name in trace.nodes if name in ("z1", "z2")] == ["z2", "z1"]
        z2 = trace.nodes["z2"]["value"]
        with seeded(0):
            moved = poutine.trace(poutine.condition(program, {"z2": z2 + 1})).get_trace(X)
        assert (moved.nodes["z1"]["fn"].mean != trace.nodes["z1"]["fn"].mean).any(), "z1 depends on z2"


def test_a_layer_that_is_switched_off_costs_nothing() -> None:
    """With a shift of 0 and a factor of 1 the guide's z1 is the model's own, whatever z2 is."""
    pair, made = hvae()
    with torch.no_grad():
        made.guide_bottom.out.weight.zero_()
        made.guide_bottom.out.bias.zero_()
    with pair.evaluating(), seeded(0):
        model_trace, guide_trace = traced(pair, X)
    ours, own = guide_trace.nodes["z1"]["fn"], model_trace.nodes["z1"]["fn"]
    assert kl_divergence(ours.base_dist, own.base_dist).abs().max() < 1e-4


def test_the_divergence_of_z1_depends_on_shift_and_factor_alone() -> None:
    """KL = sum (c^2 + d^2 - 1) / 2 - log c, whatever the model's m and s."""
    pair, made = hvae()
    with pair.evaluating(), seeded(0):
        model_trace, guide_trace = traced(pair, X)
    q, p = guide_trace.nodes["z1"]["fn"].base_dist, model_trace.nodes["z1"]["fn"].base_dist
    d, c = (q.mean - p.mean) / p.stddev, q.stddev / p.stddev
    with pair.evaluating():
        for parameter in made.between.parameters():
            parameter.add_(0.3)
        again = poutine.trace(poutine.condition(pair.guide, {"z2": guide_trace.nodes["z2"]["value"]})).get_trace(X)
        loc, scale = made.conditional(guide_trace.nodes["z2"]["value"])
    q = again.nodes["z1"]["fn"].base_dist
    assert torch.allclose((q.mean - loc) / scale, d, atol=1e-8)
    assert torch.allclose(q.stddev / scale, c, atol=1e-8)


def gaussian(shift: float, scale: float) -> Pair:
    """z ~ N(0, 1), x_d ~ N(z, 1), with a guide N(shift, scale^2) that does not depend on x."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_tensor(shift), scale))

    return Pair(Event((2,), "real"), model, guide)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.5, 0.4)])
def test_the_elbo_splits_into_divergence_and_reconstruction(shift: float, scale: float) -> None:
    x = torch.tensor([[0.5, -1.0], [2.0, 0.3]], dtype=torch.float64)
    parts = particle_parts(gaussian(shift, scale), x, 20_000).mean(-1)
    kl = (scale**2 + shift**2 - 1) / 2 - math.log(scale)
    reconstruction = ((x - shift) ** 2).sum(1) / 2 + scale**2 + math.log(2 * math.pi)
    assert torch.allclose(-parts[0], reconstruction, atol=0.08)
    assert torch.allclose(-parts[1], torch.full_like(parts[1], kl), atol=0.05)


@pytest.mark.parametrize("name", ["hvae", "vae", "ppca", "realnvp", "independent"])
def test_the_parts_add_up_to_the_weights(name: str) -> None:
    pair, x = build(name, EVENT), X.float()
    with pair.evaluating():
        with seeded(3):
            whole = log_weights(pair, x)
        with seeded(3):
            reconstruction, latents = weight_parts(pair, x)
    assert torch.allclose(reconstruction + latents, whole, atol=1e-5)
    assert latents.any() == (name not in ("realnvp", "independent")), "a dequantised datum is not a latent"


def scored(pair: Pair, x: Tensor) -> dict[str, Score]:
    run = TrainedRun(pair, Dataset("made", pair.event, x, x, x, "made up"), 0, [])
    return {score.metric: score for score in evaluate("likelihood", [run], Settings(particles=30))}


def test_a_collapsed_posterior_shows() -> None:
    """Where the guide is the prior, kl is zero and all of the ELBO is reconstruction; elsewhere they add up to it."""
    x = torch.randn(20, 2)
    collapsed, informative = scored(gaussian(0.0, 1.0), x), scored(gaussian(0.7, 0.5), x)
    assert collapsed["kl"].value == pytest.approx(0, abs=1e-6)
    for scores in (collapsed, informative):
        values = [scores[metric].value for metric in ("elbo", "kl", "reconstruction")]
        assert None not in values
        assert values[0] == pytest.approx(sum(value or 0.0 for value in values[1:]), abs=1e-6)
        assert scores["kl"].unit == scores["reconstruction"].unit == "nats"
    assert (informative["kl"].value or 0.0) > 0.3


def test_without_latents_there_is_no_split() -> None:
    for name in ("realnvp", "independent"):
        scores = scored(build(name, EVENT), X.float())
        assert {scores[metric].status for metric in ("kl", "reconstruction")} == {"skipped"}
