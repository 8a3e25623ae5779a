"""Is a log-probability of vectors normalised, and that of its draws? A test that an honest one passes in any dimension.

    E g(x) / exp log_prob(x) <= 1, x ~ p        E exp log_prob(x) / g(x) <= 1, x ~ g        for every density g

Means over independent batches are independent, so the mean of their product is at most 1 as well: by Markov's
inequality the product exceeds c with a probability of at most 1 / c, whatever the dimension and the tails. The power
depends on how close g is to p: here a mixture of normals of the draws' mean and covariance, or their entries'
frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BATCHES, EACH = 20, 200
"""Independent batches, and draws in each."""
DRAWS = 2 * BATCHES * EACH
"""Draws that are asked for: half of them fit g."""
SURE = 1e6
"""Odds at which a log-probability is taken to be wrong."""
NARROW, WIDE = (0.5, 0.95), (1.0, 2.0, 16.0)
"""Standard deviations of the normals by which the first and the second mean are taken, in those of the draws."""
FLAT = 1e-8
"""Share of the largest eigenvalue of the draws' correlations below which they have no volume."""

LogProb = Callable[[Tensor], Tensor]


class Normals:
    """A mixture of normals of one mean, whose covariances are multiples of that of some draws."""

    def __init__(self, draws: Tensor, scales: tuple[float, ...]) -> None:
        self.mean, self.scales = draws.mean(0), draws.new_tensor(scales)
        self.root = torch.linalg.cholesky(torch.atleast_2d(draws.T.cov()))

    def sample(self, shape: torch.Size) -> Tensor:
        scale = self.scales[torch.randint(len(self.scales), shape, device=self.mean.device)]
        noise = torch.randn(*shape, len(self.mean), dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + scale[:, None] * (noise @ self.root.T)

    def log_prob(self, x: Tensor) -> Tensor:
        white = torch.linalg.solve_triangular(self.root, (x - self.mean).T, upper=False)
        parts = -0.5 * white.square().sum(0)[:, None] / self.scales**2 - len(self.mean) * self.scales.log()
        constant = len(self.mean) / 2 * math.log(2 * math.pi) + self.root.diagonal().log().sum()
        return parts.logsumexp(1) - math.log(len(self.scales)) - constant


@dataclass(frozen=True)
class Evidence:
    """Of one direction: the log of the product of means, which exceeds log `SURE` if the log-probability is wrong."""

    total: float

    @property
    def wrong(self) -> bool:
        return self.total > math.log(SURE)

    @property
    def off(self) -> float:
        """By how many nats the log-probability is off, if it is wrong: at least so many."""
        return self.total / BATCHES

    @property
    def unseen(self) -> float:
        """An error of so many nats more would have been seen."""
        return (math.log(SURE) - self.total) / BATCHES


class Frequencies:
    """Independent integers by their frequencies among some draws, one added to each count."""

    def __init__(self, draws: Tensor) -> None:
        self.low = draws.min(0).values
        counts = torch.nn.functional.one_hot((draws - self.low).long()).sum(0) + 1.0
        self.entries = torch.distributions.Categorical(counts)

    def sample(self, shape: torch.Size) -> Tensor:
        return self.low + self.entries.sample(shape)

    def log_prob(self, x: Tensor) -> Tensor:
        index, top = x - self.low, self.entries.probs.shape[1] - 1
        inside = ((index >= 0) & (index <= top)).all(1)
        logs: Tensor = self.entries.log_prob(index.clamp(0, top)).sum(1)
        return logs.double().where(inside, -math.inf)


def evidence(claimed: LogProb, draws: Tensor, discrete: bool) -> tuple[Evidence, Evidence] | None:
    """The evidence that a log-probability is too small, and that it is too great.

    Args:
        claimed: log-probabilities of vectors, ``(n, d)`` to ``(n,)``; minus infinity, or NaN, outside the support.
        draws: independent draws of what it claims to be of, shape ``(DRAWS, d)``.
        discrete: the draws are integers.

    Returns:
        None for draws that have no volume, such as those on a sphere.
    """
    draws = draws.double()
    fitted, tested = draws.split(len(draws) // 2)
    narrow: Normals | Frequencies
    wide: Normals | Frequencies
    if discrete:
        narrow = wide = Frequencies(fitted)
    elif _has_volume(fitted):
        narrow, wide = Normals(fitted, NARROW), Normals(fitted, WIDE)
    else:
        return None
    drawn = wide.sample(torch.Size([len(tested)]))
    return (
        _evidence(narrow.log_prob(tested) - claimed(tested.float()).double()),
        _evidence((claimed(drawn.float()).double() - wide.log_prob(drawn)).nan_to_num(nan=-math.inf)),
    )


def _evidence(logs: Tensor) -> Evidence:
    return Evidence(float((logs.reshape(BATCHES, -1).logsumexp(1) - math.log(len(logs) // BATCHES)).sum()))


def _has_volume(draws: Tensor) -> bool:
    """Whether draws lie on no plane and no sphere."""
    if not draws.isfinite().all() or (draws.std(0) == 0).any():
        return False
    centred = (draws - draws.mean(0)) / draws.std(0)
    values = torch.linalg.eigvalsh(centred.T @ centred)
    length = draws.norm(dim=1)
    on_a_sphere = draws.shape[1] > 1 and bool(length.std() < 1e-5 * length.mean())
    return bool(values[0] > FLAT * values[-1]) and not on_a_sphere
