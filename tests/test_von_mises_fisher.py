"""The von Mises-Fisher distribution against closed forms and numerical integration, in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch import Tensor
from torch.distributions import kl_divergence

from zoo.distributions.von_mises_fisher import (
    SphereUniform,
    VonMisesFisher,
    angle_slope,
    log_area,
    log_bessel,
    log_peak,
    mean_length,
)
from zoo.seeding import seeded

KAPPAS = [1e-3, 0.5, 3.0, 40.0, 1e3, 1e4]


def vmf(kappa: float, m: int, dtype: torch.dtype = torch.float64) -> VonMisesFisher:
    mu = torch.zeros(m, dtype=dtype)
    mu[0], mu[1] = 0.6, -0.8
    return VonMisesFisher(mu, torch.tensor(kappa, dtype=dtype))


def integral(kappa: float, m: int, power: int) -> float:
    """int (1 - cos t)^power exp(kappa (cos t - 1)) over the sphere, by adaptive quadrature over the angle t."""

    def density(t: float) -> float:
        return float((1 - math.cos(t)) ** power * math.sin(t) ** (m - 2) * math.exp(kappa * (math.cos(t) - 1)))

    width = min(math.pi, 40 * math.sqrt(m / kappa))
    value, _ = integrate.quad(density, 0, width, epsabs=0, epsrel=1e-11, limit=500)
    return float(value) * math.exp(log_area(m - 1))


@pytest.mark.parametrize("v", [0.0, 0.5, 1.0, 7.0, 7.5, 31.0])
def test_bessel_functions_agree_with_scipy(v: float) -> None:
    kappa = torch.tensor([0.01, 0.7, 5.0, 60.0, 1e3, 1e4], dtype=torch.float64)
    expected = np.log(special.ive(v, kappa.numpy())) - v * np.log(kappa.numpy())
    usable = np.isfinite(expected)
    assert usable.sum() >= 4
    assert np.allclose(log_bessel(kappa, v).numpy()[usable], expected[usable], rtol=0, atol=1e-8)


@pytest.mark.parametrize("m", [2, 3, 16])
@pytest.mark.parametrize("kappa", KAPPAS)
def test_normaliser_and_divergence_agree_with_numerical_integration(kappa: float, m: int) -> None:
    """KL(vMF || U) = E[log p] + log area, both expectations from one-dimensional integrals."""
    total, fall = integral(kappa, m, 0), integral(kappa, m, 1)
    fn, k = vmf(kappa, m), torch.tensor(kappa, dtype=torch.float64)
    assert float(log_peak(k, m)) == pytest.approx(-math.log(total), abs=1e-7)
    assert float(mean_length(k, m)) == pytest.approx(1 - fall / total, abs=1e-8)
    expected = -kappa * fall / total - math.log(total) + log_area(m)
    like = torch.zeros(m, dtype=torch.float64)
    assert float(kl_divergence(fn, SphereUniform(like))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_overflows_at_great_concentration(dtype: torch.dtype) -> None:
    kappa = torch.tensor([0.0, 1e-6, 1.0, 1e4, 1e6], dtype=dtype, requires_grad=True)
    mu = torch.nn.functional.normalize(torch.ones(5, 16, dtype=dtype), dim=-1)
    fn = VonMisesFisher(mu, kappa)
    with seeded(0):
        z = fn.rsample((100,))
    (fn.log_prob(z).sum() + fn.entropy().sum() + z[..., 0].sum()).backward()
    assert fn.log_prob(z).isfinite().all()
    assert kappa.grad.isfinite().all()
    assert torch.allclose(z.norm(dim=-1), torch.ones_like(z[..., 0]), atol=1e-5)
    double = VonMisesFisher(mu.double(), kappa.double())
    assert torch.allclose(fn.entropy().double(), double.entropy(), atol=1e-3)
    assert torch.allclose(fn.log_prob(z).double(), double.log_prob(z.double()), atol=0.1, rtol=1e-4)


@pytest.mark.parametrize("m", [2, 3, 16])
@pytest.mark.parametrize("kappa", KAPPAS)
def test_draws_have_the_moments_of_the_density(kappa: float, m: int) -> None:
    """w = mu·z has mean A, and E[w^2] = 1 - (m - 1) A / kappa; E[z] = A mu."""
    fn, n = vmf(kappa, m), 20_000
    with seeded(1):
        z = fn.sample((n,))
    down = (z - fn.mu).square().sum(-1) / 2  # 1 - w
    A = mean_length(fn.kappa, m)
    assert abs(down.mean() - (1 - A)) < 4.5 * down.std() / math.sqrt(n)
    square, expected = down.square(), 1 - 2 * A + 1 - (m - 1) * A / fn.kappa
    assert abs(square.mean() - expected) < 4.5 * square.std() / math.sqrt(n) + 1e-12
    assert ((z.mean(0) - fn.mean).abs() < 5 * z.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("m", [2, 3, 16])
@pytest.mark.parametrize("kappa", [0.5, 40.0, 1e4])
def test_gradients_of_draws_are_those_of_the_expectation(kappa: float, m: int) -> None:
    """d/dkappa E[w] = A'(kappa) = 1 - A^2 - (m - 1) A / kappa, unbiased, and its spread is small."""
    n = 20_000
    k = torch.full((n,), kappa, dtype=torch.float64, requires_grad=True)
    mu = vmf(kappa, m).mu
    with seeded(2):
        w = (VonMisesFisher(mu, k).rsample() * mu).sum(-1)
    (slopes,) = torch.autograd.grad(w.sum(), k)
    one = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(mean_length(one, m), one)
    assert abs(slopes.mean() - expected) < 4.5 * slopes.std() / math.sqrt(n)
    assert slopes.std() < 5 * expected


@pytest.mark.parametrize("kappa", [0.3, 5.0, 200.0, 1e4])
def test_the_slope_of_an_angle_is_exact_in_three_dimensions(kappa: float) -> None:
    """There w has the distribution function (e^(kappa w) - e^(-kappa)) / (e^kappa - e^(-kappa))."""
    u = torch.linspace(1e-6, 1 - 1e-6, 401, dtype=torch.float64)

    def down(k: Tensor) -> Tensor:
        """1 - w at the share u above it."""
        return -torch.log1p(u * torch.expm1(-2 * k)) / k

    k = torch.full_like(u, kappa, requires_grad=True)
    (expected,) = torch.autograd.grad(down(k).sum(), k)
    with torch.no_grad():
        theta = 2 * (down(k) / 2).sqrt().asin()
        slope = angle_slope(theta, k, 3) * theta.sin()  # of 1 - w
    assert torch.allclose(slope, expected, rtol=1e-6, atol=1e-9)
