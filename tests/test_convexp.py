"""The convolution exponential: its series, inverse and determinant, against the operator as a matrix."""

import math

import pytest
import torch
from draws import perturb
from torch import Tensor

from zoo.errors import ZooError
from zoo.event import Event
from zoo.models.convexp import ConvExp, terms
from zoo.nn.images import Shape
from zoo.pairs.build import build

SHAPES = [(1, 8, 8), (4, 4, 4), (2, 3, 5), (3, 2, 2)]
STEPS = [(shape, padding) for shape in SHAPES for padding in ("zeros", "circular")] + [((1, 1, 6), "zeros")]


def step(shape: Shape, padding: str = "zeros", norm: float = 1.0) -> ConvExp:
    """In float64, with a kernel of the greatest norm."""
    made = ConvExp(shape, norm, padding).double()
    perturb([made.raw], 3 * norm)
    return made


def operator(made: ConvExp) -> Tensor:
    """M, column by column: what the convolution makes of each basis vector."""
    basis = torch.eye(math.prod(made.shape), dtype=torch.float64).unflatten(1, made.shape)
    return made.convolve(made.kernel(), basis).flatten(1).T


@pytest.mark.parametrize("norm", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(("shape", "padding"), STEPS)
@torch.no_grad()
def test_it_is_the_exponential_of_the_operator(shape: Shape, padding: str, norm: float) -> None:
    made = step(shape, padding, norm)
    h = torch.randn(7, math.prod(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = h @ torch.matrix_exp(operator(made)).T
    torch.testing.assert_close(made(h)[0], expected, rtol=0, atol=1e-13 * math.exp(norm))
    torch.testing.assert_close(made.inverse(expected), h, rtol=0, atol=1e-13 * math.exp(2 * norm))


@pytest.mark.parametrize(("shape", "padding"), STEPS)
def test_the_log_determinant_is_the_trace_and_that_of_autograds_jacobian(shape: Shape, padding: str) -> None:
    made = step(shape, padding)
    h = torch.randn(2, math.prod(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logdet = made(h)[1]
    assert abs(float(logdet[0].detach())) > 0.01
    jacobian = torch.autograd.functional.jacobian(lambda v: made(v[None])[0][0], h[0])
    torch.testing.assert_close(logdet[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=0, atol=1e-10)
    torch.testing.assert_close(logdet, operator(made).trace().expand(2), rtol=0, atol=1e-12)


def test_on_a_torus_it_moves_with_the_image() -> None:
    made = step((2, 4, 6), "circular")
    h = torch.randn(3, 2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = made(h.roll((1, 2), (2, 3)).flatten(1))[0].unflatten(1, (2, 4, 6))
    torch.testing.assert_close(moved, made(h.flatten(1))[0].unflatten(1, (2, 4, 6)).roll((1, 2), (2, 3)))


def test_on_a_torus_of_one_row_the_trace_would_be_wrong_so_it_is_refused() -> None:
    with pytest.raises(ZooError, match="two or more"):
        ConvExp((1, 1, 6), padding="circular")
    with pytest.raises(ZooError, match="padding"):
        build("convexp", Event((4, 4), 3), {"padding": "reflect"})


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_the_operators_norm_is_held(shape: Shape) -> None:
    made = step(shape, norm=0.7)
    assert float(operator(made).abs().sum(1).max()) <= 0.7 + 1e-12
    assert float(made.kernel().abs().sum((1, 2, 3)).max()) == pytest.approx(0.7)
    made.raw *= 1e-3
    assert torch.equal(made.kernel(), made.raw)  # a small kernel is left as it is


@pytest.mark.parametrize("norm", [0.1, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("epsilon", [1e-7, 2e-16])
def test_the_series_ends_at_rounding_error_and_not_long_after(norm: float, epsilon: float) -> None:
    def left(count: int) -> float:
        return math.fsum(norm**k / math.factorial(k) for k in range(count, 120))

    count = terms(norm, epsilon)
    assert left(count) <= epsilon
    assert left(count - 1 - math.ceil(norm)) > epsilon


def test_one_kernel_reaches_no_further_than_the_image() -> None:
    assert build("convexp", Event(5, "real")).extras.steps[0].raw.shape == (1, 1, 1, 3)
