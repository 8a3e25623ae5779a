"""The Gaussian marginal of a linear model of normal latents, read off its programs, and its conditionals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.sites import entries_of, random_sites
from zoo.pairs.traces import capabilities, log_prob
from zoo.seeding import seeded

PROBES = 8
"""Draws on which a marginal is compared with the pair's own log-probability."""
TOLERANCE = 1e-3
"""Of the difference, relative to 1 + |log p|; float32 sums of hundreds of terms differ by less."""


@dataclass(frozen=True)
class Gaussian:
    """N(mean, covariance) of flattened data: shapes ``(D,)`` and ``(D, D)``, float64, on the CPU."""

    mean: Tensor
    covariance: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Of flattened data ``(n, D)``, in nats: shape ``(n,)``."""
        found: Tensor = dist.MultivariateNormal(self.mean, self.covariance).log_prob(x.double().cpu())
        return found

    def log_prob_of(self, x: Tensor, seen: Tensor) -> Tensor:
        """Of the entries ``seen``, bool ``(n, D)``, of flattened data: shape ``(n,)``, in nats."""
        found = torch.zeros(len(x), dtype=torch.float64)
        for pattern in seen.unique(dim=0):
            if pattern.any():
                rows = (seen == pattern).all(1)
                part = Gaussian(self.mean[pattern], self.covariance[pattern][:, pattern])
                found[rows] = part.log_prob(x.cpu()[rows][:, pattern])
        return found

    def conditionals(self, x: Tensor) -> Tensor:
        """log p(x_d | all other entries) for each entry of flattened data: ``(n, D)``, in nats.

        With the precision P: x_d | rest ~ N(x_d - (P (x - mean))_d / P_dd, 1 / P_dd).
        """
        precision = torch.linalg.inv(self.covariance)
        own = precision.diagonal()
        away = (x.double().cpu() - self.mean) @ precision / own
        found: Tensor = dist.Normal(torch.zeros_like(away), own.rsqrt()).log_prob(away)
        return found

    def given(self, x: Tensor, missing: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        """Draws and mean of data whose ``missing`` entries follow their distribution given the others.

        Args:
            x: flattened data ``(n, D)``; missing entries may be anything.
            missing: bool, ``(n, D)``.
            draws: for each datum.

        Returns:
            Shapes ``(draws, n, D)`` and ``(n, D)``.
        """
        x = x.double().cpu()
        drawn, mean = x.expand(draws, *x.shape).clone(), x.clone()
        for pattern in missing.unique(dim=0):
            rows, seen = (missing == pattern).all(1), ~pattern
            if not pattern.any():
                continue
            across = self.covariance[pattern][:, seen]
            weights = torch.linalg.solve(self.covariance[seen][:, seen], across.T).T
            middle = self.mean[pattern] + (x[rows][:, seen] - self.mean[seen]) @ weights.T
            factor = torch.linalg.cholesky(self.covariance[pattern][:, pattern] - weights @ across.T)
            noise = torch.randn(draws, int(rows.sum()), int(pattern.sum()), dtype=torch.float64)
            mean[rows.nonzero(), pattern.nonzero().T] = middle
            drawn[:, rows.nonzero(), pattern.nonzero().T] = middle + noise @ factor.T
        return drawn, mean


def gaussian_marginal(pair: Pair) -> Gaussian | None:
    """The marginal of real data whose model is linear and Gaussian; ``None`` if it is not.

    It is computed from the prior, the mean at 0 and at each unit vector and the noise, and accepted where it agrees
    with the pair's own exact log-probability on draws of the model.
    """
    if pair.event.fields or pair.event.levels is not None or capabilities(pair).likelihood != "exact":
        return None
    with pair.evaluating(), seeded(0):
        found = _linear(pair)
        if found is None:
            return None
        x = sample(pair, PROBES)
        x = torch.cat([x, x + x.std(0)])
        own, ours = log_prob(pair, x).double().cpu(), found.log_prob(x.flatten(1))
    return found if bool(((own - ours).abs() <= TOLERANCE * (1 + own.abs())).all()) else None


def _linear(pair: Pair) -> Gaussian | None:
    """The marginal that a linear model would have."""
    x = torch.zeros(1, *pair.event.shape, device=pair.device)
    sites = dict(random_sites(poutine.trace(pair.model).get_trace(x)))
    observed = [name for name, site in sites.items() if site["is_observed"]]
    latents = {name: site for name, site in sites.items() if name not in observed}
    if len(observed) != 1 or not all(isinstance(entries_of(site["fn"]), dist.Normal) for site in sites.values()):
        return None
    priors = [_moments(site["fn"], 1) for site in latents.values()]
    sizes = [loc.shape[1] for loc, _ in priors]
    n = 1 + sum(sizes)
    points = torch.cat([torch.zeros(1, n - 1), torch.eye(n - 1)]).to(pair.device).split(sizes, 1) if latents else ()
    given = {
        name: part.reshape(n, *site["value"].shape[1:])
        for (name, site), part in zip(latents.items(), points, strict=True)
    }
    trace = poutine.trace(poutine.condition(pair.model, given)).get_trace(x.expand(n, *x.shape[1:]))
    loc, scale = _moments(trace.nodes[observed[0]]["fn"], n)
    factor = loc[1:] - loc[:1]
    mean, deviation = (torch.cat([loc.new_zeros(1, 0), *(each[i] for each in priors)], 1)[0] for i in (0, 1))
    covariance = factor.T @ (deviation.square()[:, None] * factor) + scale[0].square().diag()
    back = pair.layout.places[observed[0]].argsort()
    return Gaussian((loc[0] + mean @ factor)[back], covariance[back][:, back])


def _moments(fn: Any, n: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a normal distribution of n data, each of shape ``(n, size)``, float64, on the CPU."""
    normal = entries_of(fn)
    expanded = (getattr(normal, name).expand(normal.batch_shape) for name in ("loc", "scale"))
    loc, scale = (each.reshape(n, -1).double().cpu() for each in expanded)
    return loc, scale
