"""RealNVP: where it starts, what it learns, its edges; test_flows.py sweeps the laws of all flows."""

import math

import pytest
import torch

from zoo.data import load_data
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.training.loop import fit


def test_it_starts_as_the_independent_floor() -> None:
    digits = load_data("digits")
    flow, floor = build("realnvp", digits.event), build("independent", digits.event)
    for pair in (flow, floor):
        pair.extras.initialise(digits.train)
    with flow.evaluating():
        bound = log_weights(flow, digits.validation)
    torch.testing.assert_close(bound, log_prob(floor, digits.validation), rtol=0, atol=0.05)


def test_the_edges_are_finite() -> None:
    event = Event(2, 3)
    pair = build("realnvp", event)
    pair.extras.initialise(torch.zeros(10, 2))
    y = torch.cartesian_prod(*[torch.tensor([0.0, 1.0, 2.0, math.nextafter(3, 0), 3.0])] * 2).requires_grad_()
    value = pair.extras.density().log_prob(y)
    value.sum().backward()
    assert value.isfinite().all()
    assert y.grad.isfinite().all()


def test_exact_on_real_data_and_a_bound_on_integers() -> None:
    assert capabilities(build("realnvp", Event(2, "real"))).likelihood == "exact"
    able = capabilities(build("realnvp", Event(2, 3)))
    assert (able.likelihood, set(able.latents), able.lossless) == ("bound", {"y"}, False)


@pytest.mark.thorough
def test_it_learns_the_moons() -> None:
    moons = load_data("moons")
    floor, flow = (
        build("independent", moons.event),
        build("realnvp", moons.event, {"layers": 4, "hidden": 32, "dropout": 0.0}),
    )
    floor.extras.initialise(moons.train)
    progress = fit(flow, moons, {"steps": 200, "lr": 1e-2, "checkpoints": 1}, device="cpu")
    assert progress.best_score < -float(log_prob(floor, moons.validation).mean()) - 0.4
