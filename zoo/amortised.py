"""What the guides of the shelf share: latents drawn site by site from distributions that networks make of ``x``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo.event import Event

MakeSite = Callable[[int, int], nn.Module]


class Amortised(nn.Module):
    """The guide q(z1, ..., zL | x) = prod_l q(z_l | x, z_1, ..., z_(l-1)), in the order of the model's latent sites.

    ``make(inputs, size)`` gives the network of one site: from ``(n, inputs)``, the scaled ``x`` and the latents drawn
    before it, to a distribution of batch shape ``(n,)`` and event shape ``(size,)``, reshaped to the site's own.
    """

    def __init__(self, event: Event, latents: Mapping[str, tuple[int, ...]], make: MakeSite) -> None:
        super().__init__()
        self.event, self.latents = event, dict(latents)
        sizes = [math.prod(shape) for shape in self.latents.values()]
        self.sites = nn.ModuleList(make(event.size + sum(sizes[:i]), size) for i, size in enumerate(sizes))

    def forward(self, x: Tensor) -> None:
        """Draw every latent, given ``x`` of shape ``(n, *event.shape)``."""
        inputs = scaled(self.event, x)
        with pyro.plate("data", len(x)):
            for (name, shape), site in zip(self.latents.items(), self.sites, strict=True):
                z = pyro.sample(name, reshaped(site(inputs), shape))
                inputs = torch.cat([inputs, z.reshape(len(x), -1)], -1)


def scaled(event: Event, x: Tensor) -> Tensor:
    """A network's view of ``x``, shape ``(n, event.size)``: levels spread over [-1, 1], real data as they are."""
    flat = x.reshape(len(x), -1)
    return flat if event.levels is None else flat * (2 / (event.levels - 1)) - 1


def reshaped(vector: Any, shape: tuple[int, ...]) -> Any:
    """The distribution of a vector as one of event shape ``shape``."""
    if vector.event_shape == shape:
        return vector
    # with a cache, or a draw of a flow would come back as a stranger to the transform that made it
    reshape = transforms.ReshapeTransform(vector.event_shape, torch.Size(shape), cache_size=1)
    return dist.TransformedDistribution(vector, [reshape])


def diagonal_normal(loc: Tensor, raw: Tensor) -> TorchDistributionMixin:
    """Independent normals of event shape ``(d,)``; the scale is ``softplus(raw)``, one where ``raw`` is 0.54."""
    return dist.Normal(loc, nn.functional.softplus(raw) + 1e-5).to_event(1)


def flowed(base: TorchDistributionMixin, steps: Sequence[Any]) -> TorchDistributionMixin:
    """``base`` pushed through ``steps``, made anew for every batch, because a transform keeps its last arguments."""
    return dist.TransformedDistribution(base, list(steps)) if steps else base
