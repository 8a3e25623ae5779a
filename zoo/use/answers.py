"""What a trained model answers, with its error and its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zoo.scores import Kind
from zoo.use.batches import Array, Batch


@dataclass(frozen=True)
class LogProb:
    """Log-probabilities of n data, in nats.

    ``value`` has shape ``(n,)``, ``stderr`` is the Monte Carlo error of each, 0 where it is exact; ``kind`` is
    ``exact`` or ``lower bound``; ``of`` says what is scored: ``p(x)``, or ``p(x | c)`` where c is given.
    ``remark`` says so if the model's run was not checked against the laws without which a number is wrong, or which
    columns lie on a grid, so that a density of them is bounded.
    """

    value: Array
    stderr: Array
    kind: Kind
    of: str
    remark: str = ""


@dataclass(frozen=True)
class Encoding:
    """The latents of n data, side by side in a vector of d numbers.

    ``mean`` and ``deviation`` of the approximate posterior, shape ``(n, d)``, are those of ``draws``, shape
    ``(draws, n, d)``. Of a flow z is a function of x: there is one draw, and the deviation is 0.
    """

    mean: Array
    deviation: Array
    draws: Array


@dataclass(frozen=True)
class Imputed:
    """Data with their missing entries drawn.

    ``draws`` are complete data, shape ``(draws, n, *event.shape)``, with the entries that were observed as they were;
    ``mean`` is the expected datum, shape ``(n, *event.shape)``: of levels, numbers within their range. ``kind`` says
    whether the draws are from the model's conditional distribution itself or by importance resampling; ``ess``, shape
    ``(n,)``, is the effective number of its particles: near 1, the draws are not to be trusted.
    """

    draws: Batch
    mean: Batch
    kind: Literal["exact", "importance-resampled"]
    ess: Array
