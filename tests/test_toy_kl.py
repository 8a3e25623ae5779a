"""The divergence from the true density of a toy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.data import load_data
from zoo.data.toys import draw_rings, rings_log_density
from zoo.evaluations.toy_kl import FRESH
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.runs.evaluation import TrainedRun, evaluate
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


def test_unknown_truths_and_bounds_are_skipped() -> None:
    assert "density of moons is not known" in kl("moons").reason
    assert "exact likelihood" in kl("rings", "gan").reason


def test_the_draws_are_not_the_training_data() -> None:
    train = load_data("rings", seed=0).train
    drawn = draw_rings(100, torch.Generator().manual_seed(FRESH))
    assert not torch.isin(drawn, train).all(1).any()
