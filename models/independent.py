"""A floor for every model: independent dimensions, fitted by counting."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import level_counts, likelihood, parameters_per_entry
from zoo.event import Event
from zoo.pairs.registry import family

SMALLEST_DEVIATION = 1e-3
"""The least standard deviation of a real dimension, in the data's units."""


@family("independent", group="floor", recipe={"steps": 0})
class Independent(nn.Module):
    """Independent dimensions: what a model gains over this floor, it gains by modelling dependence.

        x_d ~ Categorical(p_d)    p_dk = (n_dk + c) / (n + c K)    integer data: n_dk counts level k in dimension d
        x_d ~ Normal(m_d, s_d)    mean and standard deviation      real data

    Exact, in nats. `initialise` fits it in closed form, so there are no training steps; before, it is uniform or
    standard normal.

    Args:
        event: any shape, any support.
        pseudocount: c, added to each count so that levels absent from the training data keep some mass.

    Reference:
        Bishop 2006, Pattern Recognition and Machine Learning, sections 2.2.1 and 2.3.4.
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
        if self.event.levels is None:
            deviation = x.std(0, correction=0).clamp(min=SMALLEST_DEVIATION)
            self.parameters_.copy_(torch.stack([x.mean(0), deviation.log()], -1))
            return
        counts = (level_counts(self.event.levels, x) + self.pseudocount).log()
        logits = counts - counts.logsumexp(-1, keepdim=True)
        self.parameters_.copy_(logits if self.event.support == "levels" else logits[..., 1:] - logits[..., :1])
