"""Rational-quadratic splines: increasing, smooth, inverted in closed form; and roots with implicit gradients."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.flows.bisection import increasing_root
from zoo.flows.splines import RationalQuadratic
from zoo.seeding import seeded

BINS = 5


class Spline:
    """A spline with its numbers, of shape ``(..., 3 K - 1)``."""

    def __init__(self, numbers: Tensor, bound: float) -> None:
        self.numbers, self.made = numbers, RationalQuadratic((numbers.shape[-1] + 1) // 3, bound)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.made.forward(x, self.numbers)

    def inverse(self, y: Tensor) -> Tensor:
        return self.made.inverse(y, self.numbers)[0]


def spline(seed: int, scale: float, n: int = 400) -> Spline:
    with seeded(seed):
        return Spline((scale * torch.randn(3 * BINS - 1)).double().expand(n, -1), 3.0)


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_a_spline_increases_and_inverts(seed: int, scale: float) -> None:
    made = spline(seed, scale)
    x = torch.linspace(-4, 4, 400).double()
    y, log_slope = made(x)
    assert (y.diff() > 0).all()
    assert log_slope.isfinite().all()
    assert torch.allclose(made.inverse(y), x, rtol=0, atol=1e-8)
    assert torch.allclose(made(made.inverse(x))[0], x, rtol=0, atol=1e-8)


def test_its_slope_is_continuous_also_where_it_ends() -> None:
    x = torch.linspace(-3.01, 3.01, 20_001).double()
    log_slope = spline(1, 1.0, len(x))(x)[1]
    assert log_slope.diff().abs().max() < 50 * (x[1] - x[0])


def test_outside_and_without_numbers_it_is_the_identity() -> None:
    x = torch.tensor([-50.0, -3.0, 3.0, 7.0]).double()
    y, log_slope = spline(2, 2.0, 4)(x)
    assert torch.equal(y, x)
    assert not log_slope.any()
    inside = torch.linspace(-2.9, 2.9, 7)
    y, log_slope = Spline(torch.zeros(7, 3 * BINS - 1), 3.0)(inside)
    assert torch.allclose(y, inside, atol=1e-5)
    assert torch.allclose(log_slope, torch.zeros(7), atol=1e-5)


def test_a_root_has_the_gradient_of_the_implicit_function() -> None:
    a = torch.linspace(-3, 3, 9).double().requires_grad_()

    def cubic(s: Tensor) -> Tensor:
        return s**3 + s - a

    bound = a.detach().abs() + 1
    root = increasing_root(cubic, lambda s: 3 * s**2 + 1, -bound, bound)
    assert torch.allclose(root**3 + root, a, rtol=0, atol=1e-12)
    (found,) = torch.autograd.grad(root.sum(), a)
    assert torch.allclose(found, 1 / (3 * root**2 + 1))
