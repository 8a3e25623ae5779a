"""Annealed importance sampling of log Z, of densities that are known up to a constant.

Chains follow a distribution's path (`zoo.distributions.Unnormalised`) from its base, b = 0, to b = 1:

    w = prod_t f_t(x_(t-1)) / f_(t-1)(x_(t-1)),    E w = Z

so the log of the mean weight is at most log Z in expectation. It makes log p(x) too great: the estimate by forward
chains is optimistic. Chains that follow the path back from exact draws of p have E w = 1 / Z: the estimate by backward
chains is conservative. It is no bound where the draws they start from are not exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.distributions import Unnormalised
from zoo.metrics.bounds import relative_error
from zoo.pairs.pair import Pair
from zoo.pairs.sites import energies, random_sites
from zoo.pairs.traces import traced
from zoo.seeding import seeded


@dataclass(frozen=True)
class LogZ:
    """An estimate of log Z in nats, its standard error, and the effective number of its chains."""

    value: float
    stderr: float
    ess: float


@dataclass(frozen=True)
class Normaliser:
    """What is known of the log Z of a pair: estimates from both sides, and its exact value where there is one."""

    forward: LogZ
    backward: LogZ
    exact: float | None


def estimate_normaliser(pair: Pair, *, chains: int, temperatures: int, seed: int) -> Normaliser:
    """Anneal log Z from both sides; of a pair with several energies, the sum over them.

    Args:
        pair: has energies (`zoo.pairs.traces.Capabilities.energies`).
        chains, temperatures, seed: as of `forward_log_z`.
    """
    with pair.evaluating():
        model_trace, _ = traced(pair, pair.example[:1].to(pair.device))
        densities = energies(random_sites(model_trace)).values()
        known = [float(fn.log_normaliser()) for fn in densities if fn.normalised]
    both = (
        [work(fn, chains=chains, temperatures=temperatures, seed=seed + index) for fn in densities]
        for index, work in enumerate((forward_log_z, backward_log_z))
    )
    forward, backward = (
        LogZ(sum(z.value for z in found), math.hypot(*(z.stderr for z in found)), min(z.ess for z in found))
        for found in both
    )
    return Normaliser(forward, backward, sum(known) if len(known) == len(densities) else None)


def forward_log_z(fn: Unnormalised, *, chains: int, temperatures: int, seed: int) -> LogZ:
    """log Z by chains from the base: at most log Z in expectation.

    Args:
        fn: the density.
        chains: from exact draws of the base.
        temperatures: T, steps of the path.
        seed: of all noise.

    Example:
        >>> import zoo
        >>> machine = zoo.build("rbm", zoo.Event(6, "binary"), {"hidden": 4}).extras.machine()
        >>> found = forward_log_z(machine, chains=100, temperatures=50, seed=0)
        >>> abs(found.value - machine.log_normaliser().item()) < 0.1
        True

    Reference:
        Neal 2001, Statistics and Computing 11; Salakhutdinov & Murray 2008, ICML.
    """
    with torch.no_grad(), seeded(seed):
        weights, x = torch.zeros(chains, dtype=torch.float64), fn.base_sample(chains)
        for before, after in _steps(temperatures):
            weights += fn.rise(x, before, after).double().cpu()
            x = fn.move(x, after)
    return _summary(weights, 1)


def backward_log_z(fn: Unnormalised, *, chains: int, temperatures: int, seed: int) -> LogZ:
    """log Z by chains back to the base, from ``fn.settled``: at least log Z in expectation if these are exact draws.

    Args:
        fn: the density.
        chains, temperatures, seed: as of `forward_log_z`.

    Reference:
        Burda et al. 2015, Accurate and conservative estimates of MRF log-likelihood using reverse annealing, AISTATS.
    """
    with torch.no_grad(), seeded(seed):
        weights, x = torch.zeros(chains, dtype=torch.float64), fn.settled(chains)
        for before, after in reversed(_steps(temperatures)):
            x = fn.move(x, after)
            weights -= fn.rise(x, before, after).double().cpu()
    return _summary(weights, -1)


def _steps(temperatures: int) -> list[tuple[float, float]]:
    return [(t / temperatures, (t + 1) / temperatures) for t in range(temperatures)]


def _summary(weights: Tensor, sign: int) -> LogZ:
    total, chains = weights.logsumexp(0), len(weights)
    ess = (2 * total - (2 * weights).logsumexp(0)).exp()
    error = relative_error(ess, chains)
    return LogZ(sign * float(total - math.log(chains)), float(error), float(ess))
