"""Pairs whose evidence is known, by which the evaluators check themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.seeding import seeded


@dataclass(frozen=True)
class ClosedForm:
    """A pair with what its evaluators should find.

    Args:
        name: what it is, in a few words.
        pair: the programs.
        evidence: log p(x) of data ``(n, *event.shape)``: shape ``(n,)``, in nats.
    """

    name: str
    pair: Pair
    evidence: Callable[[Tensor], Tensor]


def closed_forms() -> Iterator[ClosedForm]:
    """Every closed form: linear Gaussians, integers by quadrature, a mixture by enumeration, a flow of one number."""
    for size, dimensions in ((2, 8), (10, 64)):
        for shift, wide, word in ((0.0, 1.0, "right"), (0.87, 1.0, "shifted"), (0.87, 1.5, "shifted, too wide")):
            yield _linear_gaussian(size, dimensions, shift, wide, f"linear Gaussian, {size} latents, guide {word}")
    for size in (1, 2):
        yield _counts(size, f"counts by quadrature over {size} latent{'s' if size > 1 else ''}")
    yield _mixture()
    yield _flow()


def _linear_gaussian(size: int, dimensions: int, shift: float, wide: float, name: str) -> ClosedForm:
    """x | z ~ N(W z, s^2 I) with orthogonal columns of W, so that a guide of independent normals can be right."""
    with seeded(0):
        weights = torch.linalg.qr(torch.randn(dimensions, size))[0] * torch.linspace(0.7, 2.0, size)
    noise = 0.5
    spread = (1 + weights.square().sum(0) / noise**2).rsqrt()

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weights.T, noise).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean = spread.square() * (x @ weights) / noise**2
            pyro.sample("z", dist.Normal(mean + shift * spread, wide * spread).to_event(1))

    covariance = weights @ weights.T + noise**2 * torch.eye(dimensions)
    evidence = dist.MultivariateNormal(torch.zeros(dimensions, dtype=torch.float64), covariance.double())
    return ClosedForm(name, Pair(Event(dimensions, "real"), model, guide), lambda x: evidence.log_prob(x.double()))


def _counts(size: int, name: str) -> ClosedForm:
    """x_i | z ~ Binomial(4, sigmoid(w_i z + b_i)), summed over z by Gauss-Hermite quadrature."""
    with seeded(size):
        weights, bias = 1.5 * torch.randn(6, size), torch.randn(6)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(size), 1.0).to_event(1))
            pyro.sample("x", dist.Binomial(4, logits=z @ weights.T + bias).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean = (x - 4 * bias.sigmoid()) @ weights / 20
            pyro.sample("z", dist.Normal(mean, 0.6).to_event(1))

    def evidence(x: Tensor) -> Tensor:
        places, masses = (torch.from_numpy(each) for each in np.polynomial.hermite_e.hermegauss(60))
        z = torch.cartesian_prod(*[places] * size).reshape(-1, size)
        log_mass = torch.cartesian_prod(*[masses.log()] * size).reshape(-1, size).sum(1) - size / 2 * math.log(
            2 * math.pi
        )
        each = dist.Binomial(4, logits=z @ weights.double().T + bias.double()).to_event(1)
        return (each.log_prob(x.double()[:, None]) + log_mass).logsumexp(1)

    return ClosedForm(name, Pair(Event(6, 5), model, guide), evidence)


def _mixture() -> ClosedForm:
    """Coins of three kinds: the kind is summed by enumeration, here by hand."""
    shares, sides = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([[0.9, 0.2, 0.6], [0.1, 0.8, 0.3], [0.5, 0.6, 0.9]])

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            kind = pyro.sample("kind", dist.Categorical(shares))
            pyro.sample("x", dist.Bernoulli(sides[kind]).to_event(1), obs=x)

    def evidence(x: Tensor) -> Tensor:
        ones = sides.double().log() @ x.double().T + (1 - sides.double()).log() @ (1 - x.double()).T
        return (shares.double().log()[:, None] + ones).logsumexp(0)

    return ClosedForm("mixture of coins, by enumeration", Pair(Event(3, "binary"), model), evidence)


def _flow() -> ClosedForm:
    """x = sinh(z) of a normal z, whose density follows from the slope."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            asinh = dist.transforms.ComposeTransform([_Sinh()])
            density = dist.TransformedDistribution(dist.Normal(x.new_zeros(1), 1.0), asinh).to_event(1)
            pyro.sample("x", density, obs=x)

    def evidence(x: Tensor) -> Tensor:
        z = x.double().asinh()[:, 0]
        return -0.5 * z.square() - 0.5 * math.log(2 * math.pi) - z.cosh().log()

    return ClosedForm("flow of one number", Pair(Event(1, "real"), model), evidence)


class _Sinh(torch.distributions.Transform):
    """x = sinh(z)."""

    domain = torch.distributions.constraints.real
    codomain = torch.distributions.constraints.real
    bijective = True
    sign = 1

    def _call(self, x: Tensor) -> Tensor:
        return x.sinh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.asinh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.cosh().log()
