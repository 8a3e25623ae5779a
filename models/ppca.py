"""Probabilistic principal component analysis."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo.distributions import DiscretisedNormal
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import family


@family(
    "ppca",
    group="prescribed",
    paper="Tipping & Bishop 1999, J. R. Stat. Soc. B 61(3)",
    recipe={"steps": 1500, "batch": 250, "lr": 2e-2, "schedule": "onecycle", "average": 0.99},
)
class PPCA(nn.Module):
    """The linear-Gaussian latent variable model, with its exact posterior as the guide's optimum.

        z ~ N(0, I_L)                             latent, shape (L,)
        y ~ N(W z + mu, s^2 I_D)                  real data: x = y
        x = floor(y)                              integer data; a difference of two normal cdfs, y summed out
        q(z | y) = N(A (y - c), T T')             one covariance for all y; the exact posterior at c = mu,
                                                  A = M^-1 W', T T' = s^2 M^-1, M = W' W + s^2 I_L

    The marginal y ~ N(mu, W W' + s^2 I) is analytic, so on real data the log-likelihood is exact (`log_prob`). On
    integers the likelihood is a mass function, P(x_d | z) = Phi((x_d + 1 - m_d) / s) - Phi((x_d - m_d) / s) with
    m = W z + mu (the edge levels take the tails), the guide sees y = x + 1/2, and the result is a lower bound on
    log P(x), the cost of a lossless code. W, mu, s and the guide are in units of ``unit``, the data's overall
    deviation. Training starts at the data's mean and deviation with a random W; the maximum-likelihood solution,
    unique up to a rotation of W, is reached by SVI or set by `set_closed_form`.

    Args:
        event: any shape, flattened to D dimensions; any support.
        latent: L, at most D - 1.

    Raises:
        ZooError: an event of one dimension.

    Reference:
        Tipping & Bishop 1999, Probabilistic principal component analysis, J. R. Stat. Soc. B 61(3),
        sections 3.1 and 3.2.
    """

    unit: Tensor

    def __init__(self, event: Event, *, latent: int = 16) -> None:
        super().__init__()
        if event.size < 2:
            raise ZooError(f"ppca explains two or more dimensions by fewer latents, got {event}; take another family")
        self.event = event
        size, latent = event.size, min(latent, event.size - 1)
        self.register_buffer("unit", torch.ones(()))
        self.W = nn.Parameter(0.1 * torch.randn(size, latent))
        self.mu = nn.Parameter(torch.zeros(size))
        self.log_s = nn.Parameter(torch.zeros(()))
        self.A = nn.Parameter(torch.zeros(latent, size))
        self.c = nn.Parameter(torch.zeros(size))
        self.T = nn.Parameter(torch.zeros(latent, latent))
        if event.levels is None:
            self.log_prob = self.log_density

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.mu.new_zeros(self.W.shape[1]), 1.0).to_event(1))
            loc = self.unit * (z @ self.W.T + self.mu)
            return pyro.sample("x", self.likelihood(loc.reshape(-1, *self.event.shape)), obs=x)

    def likelihood(self, loc: Tensor) -> TorchDistributionMixin:
        """p(x | z) around W z + mu in the data's units, shape ``(n, *event.shape)``."""
        scale, dims = self.unit * self.log_s.exp(), len(self.event.shape)
        if self.event.levels is None:
            return dist.Normal(loc, scale).to_event(dims)
        return DiscretisedNormal(loc, scale, self.event.levels).to_event(dims)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            y = self.middle(x) / self.unit
            pyro.sample(
                "z",
                dist.MultivariateNormal(
                    (y - self.c) @ self.A.T, scale_tril=self.T.tril(-1) + self.T.diagonal().exp().diag()
                ),
            )

    def log_density(self, y: Tensor) -> Tensor:
        """The marginal log-density of real or dequantised ``y``, ``(n, *event.shape)`` to ``(n,)``, in nats."""
        deviation = self.unit * self.log_s.exp()
        marginal = dist.LowRankMultivariateNormal(
            self.unit * self.mu, self.unit * self.W, (deviation**2).expand(self.event.size)
        )
        return marginal.log_prob(y.flatten(1))

    def middle(self, x: Tensor) -> Tensor:
        """``x`` flattened to ``(n, D)``; for integers the middle of the interval that is rounded down to them."""
        return x.flatten(1) + (0.0 if self.event.levels is None else 0.5)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set mu and ``unit`` to the mean and overall deviation of ``x``, and the guide to the exact posterior."""
        y = self.middle(x)
        self.unit.copy_(y.std(0).square().mean().sqrt())
        self.mu.copy_(y.mean(0) / self.unit)
        self._set_posterior()

    @torch.no_grad()
    def set_closed_form(self, y: Tensor) -> None:
        """Set the maximum-likelihood solution for real or dequantised ``y``, shape ``(n, *event.shape)``.

        W = U (Lambda - s^2 I)^(1/2) with the L largest eigenvalues Lambda of the covariance and their eigenvectors U;
        s^2 is the mean of the other eigenvalues (section 3.2), and the guide is the exact posterior.
        """
        y = y.flatten(1).double()
        values, vectors = torch.linalg.eigh(torch.cov(y.T, correction=0))
        latent = self.W.shape[1]
        variance = values[:-latent].mean()
        top = (values[-latent:] - variance).sqrt()
        self.W.copy_(vectors[:, -latent:] * top / self.unit)
        self.mu.copy_(y.mean(0) / self.unit)
        self.log_s.copy_((variance.sqrt() / self.unit).log())
        self._set_posterior()

    def _set_posterior(self) -> None:
        """Set the guide to the exact posterior p(z | y)."""
        variance = (2 * self.log_s).exp()
        M = self.W.T @ self.W + variance * torch.eye(self.W.shape[1], dtype=self.W.dtype, device=self.W.device)
        self.A.copy_(torch.linalg.solve(M, self.W.T))
        self.c.copy_(self.mu)
        factor = torch.linalg.cholesky(variance * torch.linalg.inv(M))
        self.T.copy_(factor.tril(-1) + factor.diagonal().log().diag())
