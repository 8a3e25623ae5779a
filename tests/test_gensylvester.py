"""Generalised Sylvester flow: an orthogonal basis, a triangular residual, an iteration that contracts."""

import pytest
import torch
from draws import perturb
from torch import Tensor
from torch.autograd.functional import jacobian

from zoo.errors import ZooError
from zoo.event import Event
from zoo.models.gensylvester import SylvesterResidual, settle
from zoo.pairs.build import build

SIZES = [2, 5, 24]


def step(size: int, strength: float = 0.5) -> SylvesterResidual:
    """In float64, far from the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(size)
        made = SylvesterResidual(torch.randperm(size), 32, 0.9, 0.0).double().eval()
    perturb(made.parameters(), strength, seed=size + 4)
    return made


def data(size: int, n: int) -> Tensor:
    return 2 * torch.randn(n, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES)
def test_the_basis_is_orthogonal(size: int) -> None:
    basis = step(size).basis()
    assert (basis - torch.eye(size)).abs().max() > 0.1
    torch.testing.assert_close(basis.T @ basis, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_the_residual_is_autoregressive_with_bounded_slopes(size: int) -> None:
    made, u = step(size, 3.0), data(size, 4)
    slopes = made.residual(u)[1]
    assert slopes.abs().max() < 0.9
    for one, own in zip(u, slopes, strict=True):
        slope = jacobian(lambda v: made.residual(v[None])[0][0], one)
        assert (slope.triu(1) == 0).all()
        assert slope.tril(-1).abs().max() > 0.9  # below the diagonal they are free
        torch.testing.assert_close(slope.diagonal(), own, rtol=0, atol=1e-10)


def test_the_iteration_contracts_in_a_weighted_norm() -> None:
    """|f(u) - f(w)| <= (1 + slope) / 2 |u - w| in max |u_i| / c^i, c from the slopes below the diagonal."""
    made, size = step(5), 5
    pairs = data(size, 4000)
    u, w = pairs.chunk(2)
    with torch.no_grad():
        f, g = made.residual(u)[0], made.residual(w)[0]
    steepest = max(float(jacobian(lambda v: made.residual(v[None])[0][0], one).abs().max()) for one in u[:50])
    c = 1 + 4 * steepest / (1 - 0.9)  # twice what the geometric series needs
    weight = c ** torch.arange(size, dtype=torch.float64)
    ratio = ((f - g) / weight).abs().amax(1) / ((u - w) / weight).abs().amax(1)
    assert 0.01 < float(ratio.max()) < 0.95
    assert float(((f - g).abs().amax(1) / (u - w).abs().amax(1)).max()) > 1  # not in the plain norm


def test_rows_that_do_not_converge_are_not_a_number() -> None:
    slopes = torch.tensor([[0.5], [-0.9], [1.5], [-1.0]], dtype=torch.float64)
    point = settle(lambda u: 1 - slopes * u, torch.full((4, 2), 0.3, dtype=torch.float64))
    torch.testing.assert_close(point[:2], (1 / (1 + slopes[:2])).expand(2, 2), rtol=0, atol=1e-9)
    assert point[2:].isnan().all()


@pytest.mark.parametrize("slope", [0.0, 1.0, -0.5])
def test_slopes_that_may_not_contract_are_refused(slope: float) -> None:
    with pytest.raises(ZooError, match="between 0 and 1"):
        build("gensylvester", Event(3, "real"), {"slope": slope})
