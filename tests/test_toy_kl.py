"""The divergence from the true density of a toy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.data import load_data
from zoo.data.toys import draw_moons, draw_rings, moons_log_density, rings_log_density
from zoo.evaluations.toy_kl import FRESH
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score


class Truth:
    """The true density times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def log_prob(self, x: Tensor) -> Tensor:
        return rings_log_density(x.double()) + math.log(self.factor)


def kl(name: str, family: str = "independent", factor: float | None = None) -> Score:
    data = load_data(name)
    pair = build(family, data.event)
    if factor is not None:
        pair = Pair(data.event, pair.extras.model, extras=Truth(factor))
    (score,) = evaluate("toy_kl", [TrainedRun(pair, data, 0, [], unchecked=factor is not None)])
    return score


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_kl_of_a_scaled_truth_is_minus_its_log(factor: float) -> None:
    assert kl("rings", factor=factor).value == pytest.approx(-math.log(factor), abs=1e-4)


def test_kl_of_another_density_is_positive() -> None:
    score = kl("rings")
    assert score.value > 10 * score.stderr > 0


def test_unknown_truths_and_implicit_models_are_skipped() -> None:
    assert "density of digits is not known" in kl("digits").reason
    assert "no density" in kl("rings", "gan").reason
    assert "up to a constant" in kl("rings", "ebm").reason
    assert {kl("digits").status, kl("rings", "gan").status, kl("rings", "ebm").status} == {"skipped"}


@pytest.mark.thorough
def test_a_bound_on_the_likelihood_bounds_the_divergence_from_above() -> None:
    data, at = load_data("moons"), Settings(particles=8)
    pair = build("ppca", data.event, {"latent": 1})
    without_log_prob = Pair(data.event, pair.extras.model, pair.extras.guide)
    exact, bound = (evaluate("toy_kl", [TrainedRun(each, data, 0, [])], at)[0] for each in (pair, without_log_prob))
    assert (exact.kind, bound.kind) == ("estimate", "upper bound")
    assert bound.value > exact.value - 4 * math.hypot(exact.stderr, bound.stderr)


@pytest.mark.thorough
def test_the_density_of_the_moons_is_that_of_their_draws() -> None:
    """It integrates to one, and its mean log over draws is minus its entropy by the same grid."""
    axes = torch.linspace(-1.8, 2.8, 231).double(), torch.linspace(-1.3, 1.8, 156).double()
    points = torch.cartesian_prod(*axes)
    log_density, cell = moons_log_density(points), 0.02**2
    assert float(log_density.exp().sum() * cell) == pytest.approx(1, abs=1e-5)
    drawn = moons_log_density(draw_moons(4000, torch.Generator().manual_seed(0)).double())
    entropy = -float((log_density.exp() * log_density).sum() * cell)
    assert -float(drawn.mean()) == pytest.approx(entropy, abs=4 * float(drawn.std()) / 4000**0.5)


def test_the_draws_are_not_the_training_data() -> None:
    train = load_data("rings", seed=0).train
    drawn = draw_rings(100, torch.Generator().manual_seed(FRESH))
    assert not torch.isin(drawn, train).all(1).any()
