"""RealNVP: where it starts, what it learns, its edges; the laws of all flows are swept in test_flows.py."""

import math

import pytest
import torch
from torch import Tensor

from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_prob, log_weights, sample
from zoo.training.loop import fit

EVENTS = [Event(2, "real"), Event((3, 3), "real"), Event(2, "binary"), Event((2, 3), 5)]


def data(event: Event, n: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if event.levels is None:
        return 3 + 2 * torch.randn(n, *event.shape, generator=generator, dtype=torch.float64)
    return torch.randint(event.levels, (n, *event.shape), generator=generator).double()


def wild(event: Event, strength: float = 0.2) -> Pair:
    """A flow in float64 that is far from the identity."""
    pair = build("realnvp", event, {"layers": 4, "hidden": 16})
    pair.extras.double().eval()
    pair.extras.initialise(data(event))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return pair


def test_masses_of_integers_sum_to_one() -> None:
    torch.manual_seed(0)
    pair, particles = wild(Event(2, 3)), 4000
    everything = torch.cartesian_prod(*[torch.arange(3, dtype=torch.float64)] * 2)
    with torch.no_grad():
        weights = log_weights(pair, everything.repeat(particles, 1)).exp().reshape(particles, -1)
    stderr = float(weights.var(0).sum().div(particles).sqrt())
    assert stderr < 0.02
    assert float(weights.mean(0).sum()) == pytest.approx(1, abs=4 * stderr)


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
    assert y.grad is not None
    assert y.grad.isfinite().all()


def test_noise_that_rounds_up_is_still_in_its_bin(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = build("realnvp", Event(2, 17))
    x = torch.full((4, 2), 16.0)
    monkeypatch.setattr(torch, "rand", lambda shape, **kinds: torch.full(shape, 1 - 2.0**-24))
    assert log_weights(pair, x).isfinite().all()


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_samples(event: Event) -> None:
    x = sample(wild(event), 100)
    assert x.shape == (100, *event.shape)
    assert x.isfinite().all()
    if event.levels:
        assert set(x.unique().tolist()) <= set(range(event.levels))


def test_exact_on_real_data_and_a_bound_on_integers() -> None:
    assert capabilities(build("realnvp", Event(2, "real"))).likelihood == "exact"
    able = capabilities(build("realnvp", Event(2, 3)))
    assert (able.likelihood, set(able.latents), able.lossless) == ("bound", {"y"}, True)


def test_it_learns_the_moons() -> None:
    moons = load_data("moons")
    floor, flow = (
        build("independent", moons.event),
        build("realnvp", moons.event, {"layers": 4, "hidden": 32, "dropout": 0.0}),
    )
    floor.extras.initialise(moons.train)
    progress = fit(flow, moons, {"steps": 200, "lr": 1e-2, "checkpoints": 1}, device="cpu")
    assert progress.best_score < -float(log_prob(floor, moons.validation).mean()) - 0.4


def test_one_dimension_is_refused() -> None:
    with pytest.raises(ZooError, match="two or more dimensions"):
        build("realnvp", Event(1, "real"))
