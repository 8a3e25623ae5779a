"""Integer discrete flow."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions import Levels, LogisticMixture, level_counts
from zoo.errors import ZooError
from zoo.event import Event
from zoo.integers import Arrange, Blocks, Chain, IntegerTransformed, Shift, coarse_to_fine
from zoo.nets import MLP
from zoo.registry import family


class Mixtures(nn.Module):
    """Mixtures of discretised logistics, one for each of ``size`` entries, given ``inputs`` other entries.

    From ``(n, inputs)``, integers, to batch shape ``(n,)``, event shape ``(size,)``. The components start evenly
    spread over the levels, with the weights of the training data's counts.
    """

    centres: Tensor

    def __init__(self, inputs: int, size: int, levels: int, components: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.size, self.levels, self.components = size, levels, components
        self.net = MLP(inputs, (hidden, hidden), 3 * size * components, dropout) if inputs else None
        if self.net:
            nn.init.normal_(self.net.out.weight, std=0.01)
            nn.init.zeros_(self.net.out.bias)
        self.bias = nn.Parameter(torch.zeros(size, 3, components))
        self.register_buffer("centres", torch.linspace(0, levels - 1, components), persistent=False)
        self.register_buffer("level", torch.arange(levels)[:, None, None], persistent=False)

    def initialise(self, counts: Tensor) -> None:
        """Start from how often each level occurs in each entry, shape ``(size, levels)``."""
        width = self.centres[1] - self.centres[0]
        near = (1 - (self.level[..., 0] - self.centres).abs() / width).clamp(min=0)
        self.bias[:, 0] = (counts @ near + 1).log()

    def forward(self, x: Tensor) -> Any:
        """The mixtures' masses as one categorical distribution for each entry."""
        parameters = self.bias.expand(len(x), *self.bias.shape)
        if self.net:
            parameters = parameters + self.net(x * (2 / (self.levels - 1)) - 1).reshape(parameters.shape)
        weight, loc, log_scale = parameters.unbind(-2)
        spread = (self.levels - 1) / 4
        mixture = LogisticMixture(weight, self.centres + spread * loc, log_scale.clamp(-5, 3).exp(), self.levels)
        masses = mixture.log_prob(self.level[..., 0].to(x.dtype).unsqueeze(-1)).movedim(0, -1)
        return Levels(logits=masses).to_event(1)
