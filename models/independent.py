"""A floor for every model: independent dimensions, fitted by counting."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import level_counts, likelihood, parameters_per_entry
from zoo.errors import UnfitError
from zoo.event import Event, Field
from zoo.pairs.declarations import SUPPORTS
from zoo.pairs.registry import family

SMALLEST_DEVIATION = 1e-3
"""The least standard deviation of a real dimension, in the data's units."""


@family("independent", group="floor", supports=(*SUPPORTS, "record"), recipe={"steps": 0})
class Independent(nn.Module):
    """Independent dimensions: what a model gains over this floor, it gains by modelling dependence.

        x_d ~ Categorical(p_d)    p_dk = (n_dk + c) / (n + c K)    integer data: n_dk counts level k in dimension d
        x_d ~ Normal(m_d, s_d)    mean and standard deviation      real data

    Exact, in nats. `initialise` fits it in closed form, so there are no training steps; before, it is uniform or
    standard normal.

    Args:
        event: any shape, any support; or a record whose fields are all observed.
        pseudocount: c, added to each count so that levels absent from the training data keep some mass.

    Raises:
        UnfitError: a record with a label or with a field that is given.

    Reference:
        Bishop 2006, Pattern Recognition and Machine Learning, sections 2.2.1 and 2.3.4.
    """

    def __init__(self, event: Event, *, pseudocount: float = 0.1) -> None:
        super().__init__()
        if other := [str(field) for field in event.parts if field.role != "observed" or field.length]:
            raise UnfitError(f"independent takes records whose fields are all observed, got {', '.join(other)}")
        self.event, self.pseudocount = event, pseudocount
        for field in event.parts:
            blank = torch.zeros(*field.event.shape, parameters_per_entry(field.event))
            self.register_buffer(self.buffer(field), blank)

    def model(self, x: Tensor, **others: Tensor) -> Any:
        """Draw each field, observing them; ``x`` is the main field unless another one has that name."""
        names = [field.name for field in self.event.parts]
        values = {"x" if "x" in names else self.event.main.name: x, **others}
        with pyro.plate("data", len(x)):
            for field in self.event.parts:
                parameters = self.get_buffer(self.buffer(field))
                fn = likelihood(field.event, parameters.expand(len(x), *parameters.shape))
                value = values[field.name]
                found = pyro.sample(field.name, fn, obs=value.reshape(-1, *field.event.shape))
        return found

    def buffer(self, field: Field) -> str:
        """The name of a field's parameters."""
        return f"parameters_{field.name}" if self.event.fields else "parameters_"

    def initialise(self, x: Tensor) -> None:
        """Fit the training data ``x`` of shape ``(n, *event.shape)``."""
        for name, value in self.event.unpack(x).items():
            field = next(field for field in self.event.parts if field.name == name)
            assert value is not None  # no field is a label
            fitted = self.fitted(field.event, value.reshape(-1, *field.event.shape))
            self.get_buffer(self.buffer(field)).copy_(fitted)

    def fitted(self, event: Event, x: Tensor) -> Tensor:
        """The parameters of data of one array."""
        if event.levels is None:
            deviation = x.std(0, correction=0).clamp(min=SMALLEST_DEVIATION)
            return torch.stack([x.mean(0), deviation.log()], -1)
        counts = (level_counts(event.levels, x) + self.pseudocount).log()
        logits = counts - counts.logsumexp(-1, keepdim=True)
        return logits if event.support == "levels" else logits[..., 1:] - logits[..., :1]
