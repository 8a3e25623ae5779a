"""The floor that a model has to pass: each dimension by itself, fitted by counting."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import level_counts, likelihood, parameters_per_entry
from zoo.event import Event
from zoo.pairs.registry import family

SMALLEST_DEVIATION = 1e-3
"""Real dimensions that hardly vary are given this standard deviation, in the data's units."""


@family("independent", group="floor", recipe={"steps": 0})
class Independent(nn.Module):
    """No dimension knows of another: what a model gains over this, it gains by dependence.

        x_d ~ Categorical(p_d)    p_dk = (n_dk + c) / (n + c K)    integer data: n_dk counts level k in dimension d
        x_d ~ Normal(m_d, s_d)    mean and standard deviation      real data

    Exact (nats) and fitted in closed form by `initialise`, so that there is no step to take; before that, uniform or
    standard normal.

    Args:
        event: any shape, any support.
        pseudocount: c, added to each count so that what training never showed keeps some mass.
    """

    parameters_: Tensor

    def __init__(self, event: Event, *, pseudocount: float = 0.1) -> None:
        super().__init__()
        self.event, self.pseudocount = event, pseudocount
        self.register_buffer("parameters_", torch.zeros(*event.shape, parameters_per_entry(event)))

    def model(self, x: Tensor) -> Any:
        parameters = self.parameters_.expand(len(x), *self.parameters_.shape)
        with pyro.plate("data", len(x)):
            return pyro.sample("x", likelihood(self.event, parameters), obs=x)

    def initialise(self, x: Tensor) -> None:
        """Fit the training data ``x`` of shape ``(n, *event.shape)``."""
        self.parameters_.copy_(
            self._moments(x) if self.event.levels is None else self._log_shares(self.event.levels, x)
        )

    def _log_shares(self, levels: int, x: Tensor) -> Tensor:
        logits = (level_counts(levels, x) + self.pseudocount).log()
        logits = logits - logits.logsumexp(-1, keepdim=True)
        return logits if self.event.support == "levels" else logits[..., 1:] - logits[..., :1]

    def _moments(self, x: Tensor) -> Tensor:
        deviation = x.std(0, correction=0).clamp(min=SMALLEST_DEVIATION)
        return torch.stack([x.mean(0), deviation.log()], -1)
