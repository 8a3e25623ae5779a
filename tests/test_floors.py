"""The floors, against counts."""

import math

import pytest
import torch
from draws import every
from torch import Tensor

from zoo.data import load_data
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob
from zoo.training.loop import fit


def fitted(name: str, event: Event, x: Tensor) -> Pair:
    pair = build(name, event)
    if name != "uniform":
        pair.extras.initialise(x)
    return pair


@pytest.mark.parametrize(("name", "nats"), [("uniform", 181.33), ("independent", 106.31)])
def test_floor_on_digits(name: str, nats: float) -> None:
    digits = load_data("digits")
    pair = build(name, digits.event)
    assert fit(pair, digits, {"steps": 0}, device="cpu").status == "finished"
    assert -float(log_prob(pair, digits.test).mean()) == pytest.approx(nats, abs=0.005)
    assert capabilities(pair).likelihood == "exact"


@pytest.mark.parametrize("name", ["uniform", "independent"])
@pytest.mark.parametrize("levels", [2, 3])
def test_masses_sum_to_one(name: str, levels: int) -> None:
    x = every(Event(3, levels)).float()
    pair = fitted(name, Event(3, levels), x[: levels + 3])
    assert float(log_prob(pair, x).exp().sum()) == pytest.approx(1, abs=1e-6)


def test_independent_counts_with_a_pseudocount() -> None:
    pair = fitted("independent", Event(1, 3), torch.tensor([[0.0], [0.0], [2.0]]))
    shares = log_prob(pair, torch.tensor([[0.0], [1.0], [2.0]])).exp()
    torch.testing.assert_close(shares, torch.tensor([2.1, 0.1, 1.1]) / 3.3)


def test_independent_counts_intensities_as_expected_values() -> None:
    pair = fitted("independent", Event(1, "binary"), torch.tensor([[0.25], [0.75], [1.0], [0.0]]))
    assert float(log_prob(pair, torch.ones(1, 1)).exp()) == pytest.approx(0.5)


def test_independent_normals_have_the_moments() -> None:
    x = torch.randn(50, 2, 2) * torch.tensor([1.0, 3.0]) + 5
    pair = fitted("independent", Event((2, 2), "real"), x)
    expected = torch.distributions.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x).sum((1, 2))
    torch.testing.assert_close(log_prob(pair, x), expected)


def test_a_constant_dimension_stays_finite() -> None:
    pair = fitted("independent", Event(2, "real"), torch.ones(5, 2))
    assert log_prob(pair, torch.ones(1, 2)).isfinite().all()


def test_the_counts_are_saved_with_the_weights() -> None:
    x = torch.tensor([[0.0], [0.0], [2.0]])
    first, second = fitted("independent", Event(1, 3), x), build("independent", Event(1, 3))
    assert not torch.equal(log_prob(first, x), log_prob(second, x))
    second.load(first.state())
    assert torch.equal(log_prob(first, x), log_prob(second, x))


def test_samples_follow_the_counts() -> None:
    torch.manual_seed(0)
    pair = fitted("independent", Event(1, 3), torch.tensor([[0.0], [0.0], [2.0]]))
    share = (sample(pair, 4000) == 0).float().mean()
    assert float(share) == pytest.approx(2.1 / 3.3, abs=4 * math.sqrt(0.25 / 4000))
