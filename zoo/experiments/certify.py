"""The evaluators measured by pairs whose evidence is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from zoo.metrics.ais import anneal, simulated, why_not
from zoo.metrics.bounds import bounds, log_probs
from zoo.metrics.closed_forms import ClosedForm, closed_forms
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities
from zoo.seeding import seeded

LARGEST_ERROR = 4.0
"""In standard errors: larger ones are a fault of the evaluator."""
ROUNDING = 1e-3
"""Nats by which float32 may be off whatever the standard error."""


@dataclass(frozen=True)
class Certified:
    """What an evaluator finds of a closed form: means over data, in nats.

    Args:
        name: of the closed form.
        method: the evaluator.
        truth: the mean evidence.
        found: what the evaluator says of it.
        stderr: of ``found - truth``, over data.
        side: -1 for a lower bound, 1 for an upper one, 0 for an exact value.
    """

    name: str
    method: str
    truth: float
    found: float
    stderr: float
    side: int

    @property
    def errors(self) -> float:
        """``found - truth`` in standard errors."""
        return (self.found - self.truth) / max(self.stderr, ROUNDING)

    @property
    def holds(self) -> bool:
        """Whether a bound is on its side of the truth, and an exact value at it, but for noise."""
        wrong = abs(self.errors) if self.side == 0 else -self.side * self.errors
        return wrong <= LARGEST_ERROR


def certify(data: int = 100, particles: int = 64, chains: int = 16, temperatures: int = 30) -> Iterator[Certified]:
    """Every closed form by every evaluator that applies: exact values, the bound of particles, annealed brackets.

    Args:
        data: of each closed form, drawn by its model.
        particles: of the bound.
        chains, temperatures: see `zoo.metrics.ais.Annealer`.

    Example:
        >>> rows = list(certify(data=20, particles=8, chains=2, temperatures=3))
        >>> len(rows), all(row.holds for row in rows)
        (26, True)
    """
    for form in closed_forms():
        if why_not(form.pair):
            with seeded(0):
                x = sample(form.pair, data)
            yield _row(form, "exact value", form.evidence(x), log_probs(form.pair, x), 0)
            continue
        x, z = simulated(form.pair, data, seed=0)
        truth = form.evidence(x)
        assert capabilities(form.pair).likelihood == "bound"
        yield _row(form, f"bound of {particles} particles", truth, bounds(form.pair, x, particles).importance, -1)
        below, above = anneal(form.pair, x, z, chains=chains, temperatures=temperatures, seed=1)
        yield _row(form, "annealed, from below", truth, below.bound, -1)
        yield _row(form, "annealed, from above", truth, above.bound, 1)


def _row(form: ClosedForm, method: str, truth: Tensor, found: Tensor, side: int) -> Certified:
    error = found.double() - truth.double()
    stderr = float(error.std()) / math.sqrt(len(error))
    return Certified(form.name, method, float(truth.double().mean()), float(found.double().mean()), stderr, side)
