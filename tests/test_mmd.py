"""MMD² and its standard error, by simulation in both regimes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo import Event
from zoo.metrics.mmd import MMD, features, mmd2
from zoo.seeding import seeded


def simulate(shift: float, m: int, n: int, times: int) -> tuple[Tensor, Tensor]:
    """Values and standard errors of many estimates."""
    with seeded(0):
        draws = [mmd2(torch.randn(m, 4).double() + shift, torch.randn(n, 4).double()) for _ in range(times)]
    return torch.tensor([draw.value for draw in draws]), torch.tensor([draw.stderr for draw in draws])


@pytest.mark.thorough
@pytest.mark.parametrize(("m", "n"), [(150, 150), (60, 200)])
def test_equal_distributions(m: int, n: int) -> None:
    values, errors = simulate(0.0, m, n, 150)
    assert float(values.mean().abs()) < 4 * float(values.std()) / math.sqrt(150), "unbiased"
    assert float((values.abs() < 3 * errors).double().mean()) > 0.97
    assert 0.8 < float(errors.mean() / values.std()) < 1.4


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_different_distributions(shift: float) -> None:
    values, errors = simulate(shift, 150, 100, 150)
    assert float((values / errors).mean()) > 3
    assert 0.8 < float(errors.mean() / values.std()) < 1.25


def test_the_estimate_does_not_depend_on_the_units() -> None:
    with seeded(0):
        a, b = torch.randn(50, 3).double() + 1, torch.randn(40, 3).double()
    one, thousand = mmd2(a, b), mmd2(1000 * a, 1000 * b)
    assert one.value == pytest.approx(thousand.value)
    assert one.stderr == pytest.approx(thousand.stderr)


def test_constant_data_have_a_finite_distance() -> None:
    same = torch.zeros(10, 2).double()
    assert mmd2(same, same) == MMD(0.0, 0.0)
    assert mmd2(same + 1, same).value == pytest.approx(2)


def test_features_scale_levels_and_leave_reals() -> None:
    x = torch.full((2, 2, 2), 4.0)
    assert torch.equal(features(Event((2, 2), 5), x), torch.ones(2, 4).double())
    assert torch.equal(features(Event((2, 2), "real"), x), torch.full((2, 4), 4.0).double())
