"""The lowest floor: every value is equally likely."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import likelihood, parameters_per_entry
from zoo.event import Event
from zoo.pairs.registry import family


@family("uniform", group="floor", supports=("binary", "levels"), recipe={"steps": 0})
class Uniform(nn.Module):
    """All K levels are equally likely in each of the D dimensions, whatever the data.

        x_d ~ Uniform{0, ..., K-1}    d = 1 ... D        log p(x) = -D log K

    Exact, in nats; without parameters, so it is not trained. A model that does worse has learnt nothing.

    Args:
        event: any shape, binary or of K levels.

    Reference:
        Cover & Thomas 2006, Elements of Information Theory, section 2.6: log K is the largest entropy of K levels.
    """

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event

    def model(self, x: Tensor) -> Any:
        flat = torch.zeros(len(x), *self.event.shape, parameters_per_entry(self.event), device=x.device)
        with pyro.plate("data", len(x)):
            return pyro.sample("x", likelihood(self.event, flat), obs=x)
