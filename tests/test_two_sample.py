"""Sample quality on samples with known faults."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.metrics.two_sample import Share, c2st, precision_recall
from zoo.seeding import seeded


def clusters(centres: list[float], n: int = 300) -> Tensor:
    """Points around alternating centres in the plane."""
    middle = torch.tensor(centres).repeat(n)[:n, None]
    return (middle + 0.3 * torch.randn(n, 2)).double()


@pytest.fixture(autouse=True)
def same_seed() -> object:
    with seeded(0):
        yield


@pytest.mark.thorough
def test_as_good_as_data() -> None:
    samples, data = clusters([0, 5]), clusters([0, 5])
    accuracy = c2st(samples, data)
    assert abs(accuracy.value - 0.5) < 4 * accuracy.stderr
    assert min(share.value for share in precision_recall(samples, data)) > 0.85


def test_forgotten_mode_costs_recall_only() -> None:
    precision, recall = precision_recall(clusters([0]), clusters([0, 5]))
    assert precision.value > 0.85
    assert recall.value == pytest.approx(0.5, abs=0.05)


def test_invented_mode_costs_precision_only() -> None:
    precision, recall = precision_recall(clusters([0, 5]), clusters([0]))
    assert precision.value == pytest.approx(0.5, abs=0.05)
    assert recall.value > 0.85


@pytest.mark.thorough
def test_samples_far_from_data() -> None:
    samples, data = clusters([20]), clusters([0])
    assert c2st(samples, data).value > 0.99
    assert [share.value for share in precision_recall(samples, data)] == [0, 0]


@pytest.mark.thorough
def test_the_classifier_sees_more_than_means() -> None:
    signs = torch.randint(0, 2, (400, 1)) * 2.0 - 1
    data = (signs * torch.ones(400, 2)).double() + 0.1 * torch.randn(400, 2).double()
    independent = torch.stack([data[torch.randperm(400), 0], data[:, 1]], 1)
    assert c2st(independent, data).value > 0.7


@pytest.mark.thorough
def test_unequal_numbers_do_not_raise_the_accuracy() -> None:
    accuracy = c2st(clusters([0], 500), clusters([0], 50))
    assert abs(accuracy.value - 0.5) < 0.12


def test_shares_carry_a_binomial_error() -> None:
    assert Share(0.5, 100).stderr == pytest.approx(0.05)
    assert Share(1.0, 100).stderr == 0
